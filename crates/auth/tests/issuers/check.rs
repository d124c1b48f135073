//! Metadata and key sets, each fetched once from a real server.

use rig_auth::{Audience, CheckedIssuer, IssuerConfig, KeysFrom, check_issuer};

use crate::keys::{SigningKey, key_set};
use crate::stub::{Page, Stub};

fn config(issuer: &str) -> IssuerConfig {
    IssuerConfig::new("kc", issuer, Audience::Any)
}

fn config_with_keys(stub: &Stub) -> IssuerConfig {
    let mut config = config(&stub.origin);
    config.keys = KeysFrom::Uri(format!("{}/keys", stub.origin).parse().unwrap());
    config
}

#[tokio::test]
async fn i02_metadata_of_an_issuer_with_one_slash_more_is_not_used() {
    let stub = Stub::start().await;
    stub.set("/keys", Page::json(key_set(&[&SigningKey::new("a")])));
    for (configured, served) in [("", "/"), ("/", "")] {
        let (configured, served) =
            (format!("{}{configured}", stub.origin), format!("{}{served}", stub.origin));
        stub.set_metadata(&served, &format!("{}/keys", stub.origin));
        let error = check_issuer(&config(&configured)).await.unwrap_err();
        assert!(error.starts_with(&format!("{}/.well-known/openid-configuration: ", stub.origin)), "{error}");
        assert!(
            error.contains(&format!("{served:?}")) && error.contains(&format!("{configured:?}")),
            "{error}"
        );
        assert_eq!(stub.count("/keys"), 0, "nothing of it is used");
    }
}

#[tokio::test]
async fn i02_the_place_of_rfc_8414_is_asked_if_the_other_has_nothing() {
    let stub = Stub::start().await;
    let (a, b) = (SigningKey::new("a"), SigningKey::new("b"));
    let issuer = format!("{}/realms/main", stub.origin);
    let (first, second) = (
        "/realms/main/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/realms/main",
    );
    let keys = format!("{}/keys?tenant=secret", stub.origin);
    stub.set(second, Page::json(serde_json::json!({"issuer": issuer, "jwks_uri": keys}).to_string()));
    let mut set: serde_json::Value = serde_json::from_str(&key_set(&[&a, &b])).unwrap();
    set["keys"].as_array_mut().unwrap().push(serde_json::json!({"kty": "oct", "k": "AA"}));
    stub.set("/keys?tenant=secret", Page::json(set.to_string()));
    let checked = check_issuer(&config(&issuer)).await.unwrap();
    let CheckedIssuer { metadata, key_set, keys, skipped } = checked;
    assert_eq!(metadata, Some(format!("{}{second}", stub.origin)));
    assert_eq!(key_set, format!("{}/keys", stub.origin), "without the query");
    assert!(keys.len() == 2 && keys[0].starts_with("kid \"a\", thumbprint "), "{keys:?}");
    assert!(skipped.len() == 1 && skipped[0].starts_with("keys[2]: "), "{skipped:?}");
    assert_eq!((stub.count(first), stub.count(second)), (1, 1));

    stub.set(second, Page::status(404));
    let error = check_issuer(&config(&issuer)).await.unwrap_err();
    assert_eq!(error, format!("{0}{first} and {0}{second}: 404 Not Found", stub.origin));
    // Any other answer of the first place is its answer.
    for status in [204, 301, 401, 403, 500, 503] {
        stub.set(first, Page::status(status));
        let error = check_issuer(&config(&issuer)).await.unwrap_err();
        assert!(error.contains(first) && error.contains(&format!("status {status}")), "{error}");
    }
    assert_eq!(stub.count(second), 2);
}

#[tokio::test]
async fn i07_each_bad_answer_is_named() {
    let stub = Stub::start().await;
    let large = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(2 << 20));
    for (page, expected) in [
        (Page::status(500), "status 500 Internal Server Error"),
        (Page::status(404), "status 404 Not Found"),
        (Page::status(204), "status 204 No Content"),
        (Page::status(206), "status 206 Partial Content"),
        (Page::status(304), "status 304 Not Modified"),
        (
            Page::status(302).with("location", "https://login.example/?code=secret"),
            "status 302 Found to https://login.example/; redirects are not followed",
        ),
        (Page::status(301), "status 301 Moved Permanently; redirects are not followed"),
        (Page::json(large), "the answer is larger than 1048576 bytes"),
        (Page::json("{}"), "expected an object with a list in the member keys"),
        (Page::json(r#"{"keys":[]}"#), "no usable key"),
        (Page::json("<html>Sign in</html>"), "expected value at line 1 column 1"),
        (Page::json(""), "EOF while parsing a value"),
        (Page::json(b"\xff\xfe{\0}\0".to_vec()), "line 1"),
        (Page::json(vec![0x1f, 0x8b]).with("content-encoding", "gzip"), "the answer has a content-encoding"),
        (
            Page::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}".to_vec()),
            "end of file before message length",
        ),
    ] {
        stub.set("/keys", page);
        let error = check_issuer(&config_with_keys(&stub)).await.unwrap_err();
        assert!(error.starts_with(&format!("{}/keys: ", stub.origin)), "{error}");
        assert!(error.contains(expected) && !error.contains("secret"), "{error}, expected {expected}");
        assert!(error.len() < 500, "{error}");
    }
}

#[tokio::test]
async fn i07_a_server_that_hangs_costs_five_seconds() {
    let stub = Stub::start().await;
    stub.set("/keys", Page::Hang);
    let begin = std::time::Instant::now();
    let error = check_issuer(&config_with_keys(&stub)).await.unwrap_err();
    assert_eq!(error, format!("{}/keys: no answer within 5 s", stub.origin));
    assert!((4.9..8.0).contains(&begin.elapsed().as_secs_f32()));
}

#[tokio::test]
async fn the_type_and_the_mark_of_an_answer_do_not_matter() {
    let stub = Stub::start().await;
    let set = key_set(&[&SigningKey::new("a")]);
    stub.set("/keys", Page::json(format!("\u{feff}{set}")).with("content-type", "text/html"));
    assert_eq!(check_issuer(&config_with_keys(&stub)).await.unwrap().keys.len(), 1);
    assert_eq!(stub.seen()[0].headers["accept"], "application/json, application/jwk-set+json");
    // At most a megabyte, to the byte.
    let padding = (1 << 20) - set.len();
    stub.set("/keys", Page::json(format!("{set}{}", " ".repeat(padding))));
    assert!(check_issuer(&config_with_keys(&stub)).await.is_ok());
    stub.set("/keys", Page::json(format!("{set}{}", " ".repeat(padding + 1))));
    assert!(check_issuer(&config_with_keys(&stub)).await.is_err());
}

#[tokio::test]
async fn i16_metadata_cannot_send_the_gateway_elsewhere() {
    let stub = Stub::start().await;
    let set = key_set(&[&SigningKey::new("a")]);
    stub.set("/keys", Page::json(set));
    for (jwks_uri, expected) in [
        (
            "https://169.254.169.254/latest/meta-data",
            "169.254.169.254 is at 169.254.169.254, a link-local address",
        ),
        // TLS knows no such names. Without it, they are addresses (src/issuers/address/tests.rs).
        ("https://2852039166/", "https://2852039166/: invalid dns name"),
        ("https://10.0.0.1/keys", "10.0.0.1 is at 10.0.0.1, a private address"),
        ("https://100.64.0.1/keys", "a private address"),
        ("https://[fc00::1]/keys", "a private address"),
        ("https://[fe80::1]/keys", "a link-local address"),
        ("http://localhost:PORT/keys", "localhost is not named by the settings, so https is required"),
        ("http://169.254.169.254/", "so https is required"),
        ("http://user@127.0.0.1:PORT/keys", "a user name or password in a URI is not supported"),
        ("ftp://127.0.0.1/keys", "the member jwks_uri is not an http or https URI"),
        ("/keys", "the member jwks_uri is not an http or https URI"),
        ("file:///etc/passwd", "the member jwks_uri is not an http or https URI"),
    ] {
        stub.set_metadata(&stub.origin, &jwks_uri.replace("PORT", &stub.port.to_string()));
        let mut config = config(&stub.origin);
        for insecure_http in [false, true] {
            config.insecure_http = insecure_http;
            let error = check_issuer(&config).await.unwrap_err();
            assert!(error.contains(expected), "{jwks_uri}: {error}");
        }
    }
    assert_eq!(stub.count("/keys"), 0);
    // The issuer's own host may be on loopback.
    stub.set_metadata(&stub.origin, &format!("{}/keys", stub.origin));
    assert!(check_issuer(&config(&stub.origin)).await.is_ok());
}
