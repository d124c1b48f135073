//! The HTTP client.

use std::process::Command;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Uri};
use rig_auth::{ProviderAccess, ProviderClient, RequestError, RequestLimits};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::stub::{Page, Stub};

const LIMITS: RequestLimits = RequestLimits { within: Duration::from_secs(5), bytes: 1000 };

fn client(stub: &Stub) -> ProviderClient {
    let issuer = Some(stub.origin.parse().unwrap());
    ProviderClient::new(ProviderAccess { issuer, ..ProviderAccess::default() })
}

fn uri(stub: &Stub, path: &str) -> Uri {
    format!("{}{path}", stub.origin).parse().unwrap()
}

#[tokio::test]
async fn requests_say_what_they_want_and_return_any_status() {
    let stub = Stub::start().await;
    stub.set("/page", Page::json("{}").with("etag", "\"1\"").with("cache-control", "max-age=5"));
    let client = client(&stub);
    let answer = client.get(&uri(&stub, "/page"), "application/json", None, LIMITS).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"{}"[..]));
    assert_eq!(answer.headers()["cache-control"], "max-age=5");
    let etag = HeaderValue::from_static("\"1\"");
    let answer = client.get(&uri(&stub, "/page"), "a/b", Some(&etag), LIMITS).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().len()), (304, 0));
    let answer = client.get(&uri(&stub, "/none?x=1"), "a/b", None, LIMITS).await.unwrap();
    assert_eq!(answer.status(), 404);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic eA=="));
    client.post_form(&uri(&stub, "/form"), headers.clone(), "a=b", LIMITS).await.unwrap();
    client.post_json(&uri(&stub, "/json"), headers, "[1]", LIMITS).await.unwrap();

    let seen = stub.seen();
    let header = |at: usize, name: &str| seen[at].headers.get(name).map(String::as_str);
    assert_eq!(header(0, "accept"), Some("application/json"));
    assert_eq!(header(0, "if-none-match"), None);
    assert_eq!(header(1, "if-none-match"), Some("\"1\""));
    assert_eq!(header(0, "host"), Some(&stub.origin["http://".len()..]));
    assert!(header(0, "user-agent").unwrap().starts_with("rig/"), "some servers refuse those without");
    assert_eq!(seen[2].path, "/none?x=1");
    assert_eq!((seen[3].method.as_str(), seen[3].body.as_str()), ("POST", "a=b"));
    assert_eq!(header(3, "content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!((header(4, "content-type"), seen[4].body.as_str()), (Some("application/json"), "[1]"));
    assert_eq!(header(4, "authorization"), Some("Basic eA=="));
    assert_eq!(stub.connections(), 1, "one connection for all");
}

#[tokio::test]
async fn i07_answers_are_bounded() {
    let stub = Stub::start().await;
    let client = client(&stub);
    let chunked = |size: usize| {
        let body = "x".repeat(size);
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n")
            .into_bytes()
    };
    for (path, page, expected) in [
        ("/full", Page::json("x".repeat(1000)), Ok(1000)),
        ("/large", Page::json("x".repeat(1001)), Err(RequestError::TooLarge(1000))),
        ("/chunked", Page::Raw(chunked(1000)), Ok(1000)),
        ("/large-chunked", Page::Raw(chunked(1001)), Err(RequestError::TooLarge(1000))),
        ("/zipped", Page::json("{}").with("content-encoding", "gzip"), Err(RequestError::Encoded)),
        ("/plain", Page::json("{}").with("content-encoding", "identity"), Ok(2)),
    ] {
        stub.set(path, page);
        let answer = client.get(&uri(&stub, path), "a/b", None, LIMITS).await;
        assert_eq!(answer.map(|answer| answer.body().len()), expected, "{path}");
    }
    for (path, page) in [
        ("/cut", Page::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}".to_vec())),
        ("/closed", Page::Raw(Vec::new())),
        ("/garbage", Page::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
        (
            "/headers",
            Page::Raw(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)).into_bytes()),
        ),
    ] {
        stub.set(path, page);
        let error = client.get(&uri(&stub, path), "a/b", None, LIMITS).await.unwrap_err();
        assert!(matches!(error, RequestError::Unreachable(_)), "{path}: {error}");
        assert!(!error.to_string().is_empty() && error.to_string().len() < 400, "{path}: {error}");
    }
}

#[tokio::test]
async fn i07_a_server_that_does_not_answer_in_time_is_left() {
    let stub = Stub::start().await;
    let client = client(&stub);
    let limits = RequestLimits { within: Duration::from_millis(200), bytes: 1000 };
    // Nothing at all, only the head, and a body that trickles.
    stub.set("/hang", Page::Hang);
    let error = client.get(&uri(&stub, "/hang"), "a/b", None, limits).await.unwrap_err();
    assert_eq!(error, RequestError::Timeout(limits.within));
    assert_eq!(error.to_string(), "no answer within 1 s");
    // A server that accepts no connection.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let there = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
    let error = client.get(&there, "a/b", None, limits).await.unwrap_err();
    assert_eq!(error, RequestError::Timeout(limits.within));
    drop(silent);
    let error = client.get(&there, "a/b", None, LIMITS).await.unwrap_err();
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

/// Servers close idle connections as they like, without a word.
#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_not_used_again() {
    let stub = Stub::start().await;
    stub.set("/page", Page::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec()));
    let client = client(&stub);
    for round in 1..=200 {
        let answer = client.get(&uri(&stub, "/page"), "a/b", None, LIMITS).await;
        assert_eq!(answer.map(|answer| answer.status().as_u16()), Ok(200), "round {round}");
    }
    assert_eq!(stub.connections(), 200);
}

#[tokio::test]
async fn i07_redirects_are_answers_and_are_not_followed() {
    let stub = Stub::start().await;
    stub.set("/target", Page::json("{}"));
    for status in [301, 302, 303, 307, 308] {
        stub.set("/from", Page::status(status).with("location", format!("{}/target", stub.origin)));
        let answer = client(&stub).get(&uri(&stub, "/from"), "a/b", None, LIMITS).await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
    assert_eq!(stub.count("/target"), 0);
}

/// Another host must not lead to this machine, whatever its name resolves to and however its
/// address is written.
#[tokio::test]
async fn i16_no_connection_is_made_to_a_forbidden_address() {
    let stub = Stub::start().await;
    let issuer = Some("https://8.8.8.8".parse().unwrap());
    let client = ProviderClient::new(ProviderAccess { issuer, ..ProviderAccess::default() });
    for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let there = format!("https://{host}:{}/", stub.port).parse().unwrap();
        let error = client.get(&there, "a/b", None, LIMITS).await.unwrap_err();
        let start = format!("{} is at ", host.trim_matches(['[', ']']));
        let is_right = |text: &String| text.starts_with(&start) && text.contains(", a loopback address");
        assert!(matches!(&error, RequestError::Forbidden(text) if is_right(text)), "{error}");
    }
    // TLS knows no such names.
    for host in ["2130706433", "0x7f000001", "127.1", "0177.0.0.1"] {
        let there = format!("https://{host}:{}/", stub.port).parse().unwrap();
        let error = client.get(&there, "a/b", None, LIMITS).await.unwrap_err();
        assert_eq!(error, RequestError::Unreachable("invalid dns name".to_owned()), "{host}");
        let there = format!("http://{host}:{}/", stub.port).parse().unwrap();
        let error = client.get(&there, "a/b", None, LIMITS).await.unwrap_err();
        assert!(error.to_string().contains("so https is required"), "{host}: {error}");
    }
    for (there, expected) in [
        ("ftp://8.8.8.8/", "unsupported scheme ftp"),
        ("https://user:pass@8.8.8.8/", "a user name or password in a URI is not supported"),
    ] {
        let error = client.get(&there.parse().unwrap(), "a/b", None, LIMITS).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{there}: {error}");
    }
    assert_eq!(stub.connections(), 0);
}

/// Runs itself with the variables that other clients read.
#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    const NAME: &str = "client::proxies_of_the_environment_are_not_used";
    if std::env::var_os("http_proxy").is_none_or(|proxy| proxy != "http://127.0.0.1:1") {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", NAME, "--nocapture"]);
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            again.env(name, "http://127.0.0.1:1");
        }
        let output = tokio::task::spawn_blocking(move || again.output()).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let stub = Stub::start().await;
    stub.set("/page", Page::json("{}"));
    let answer = client(&stub).get(&uri(&stub, "/page"), "a/b", None, LIMITS).await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// A server closes a connection that was kept open just as it is used again.
#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_no_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut requests = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Answers one request of each connection, and closes it at the next.
            for is_answered in [true, false] {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                requests += 1;
                if is_answered {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                }
                if requests == 3 {
                    return requests;
                }
            }
        }
    });
    let issuer = Some(origin.parse().unwrap());
    let client = ProviderClient::new(ProviderAccess { issuer, ..ProviderAccess::default() });
    let uri = origin.parse().unwrap();
    for _ in 0..2 {
        let answer = client.get(&uri, "a/b", None, LIMITS).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
    }
    assert_eq!(server.await.unwrap(), 3, "the second was sent twice");
}
