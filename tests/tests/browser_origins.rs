//! A real browser with pages of several origins and sites: what each of them may do.

use std::path::Path;
use std::process::Command;

use rig_tests::*;
use serde_json::{Value, json};

/// Runs a story in `tests/browser` and returns its lines.
fn story(name: &str, arguments: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    assert!(folder.join("node_modules/playwright-core").exists(), "npm ci --prefix {}", folder.display());
    let output = Command::new("node").arg(folder.join(name)).args(arguments).output();
    let output = output.expect("node is installed");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{lines}\n{}", String::from_utf8_lossy(&output.stderr));
    lines
}

#[test]
fn f61_f62_the_browser_of_an_operator_is_no_confused_deputy() {
    let gateway = Gateway::start(&[]);
    let lines = story("operator.js", &[&gateway.internal().port().to_string()]);
    // A browser may lose the answer to a request whose body the gateway has not read.
    let lines = lines.replace(" lost\n", " 403\n");
    let mut expected = String::new();
    for (host, form) in [
        ("evil.test", "application/x-www-form-urlencoded"),
        ("localhost", "multipart/form-data"),
        ("127.0.0.1", "text/plain"),
    ] {
        expected += &format!("{host}: form {form} 403\n");
        expected += &format!("{host}: text 403\n{host}: read nothing\n");
    }
    expected += "link: swagger-ui 200\npage: operations shown\npage: json basic 201\npage: read basic 200\n";
    expected += "page: form basic 403\nlink: /v4/sessions 403\nlink: /metrics 403\nframe: swagger-ui 403\n";
    expected += "typed: /v4/sessions 200\nrebound: 421\n";
    assert_eq!(lines, expected);
    let is_revoked = |id: &str| gateway.ask_internal(&Request::get(format!("/v3/session-blacklist/{id}")));
    assert_eq!((is_revoked("victim").status, is_revoked("own").status), (404, 200));
}

/// Starts a gateway that serves TLS as well; the folder holds its certificate.
fn over_tls(settings: &[(&str, &str)]) -> (Gateway, Folder) {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["rig.test".to_owned()]).expect("a certificate");
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| folder.join(name));
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    std::fs::write(&chain, made.cert.pem()).expect("a file");
    let tls = [("HTTPS_CERTFILE", chain.as_str()), ("HTTPS_KEYFILE", key.as_str())];
    (Gateway::start(&[settings, &tls].concat()), folder)
}

#[test]
fn f09_f43_f44_f55_i36_a_cookie_is_worth_nothing_to_other_pages() {
    let pages = unused_address().port().to_string();
    let cors = format!("http://app.test:{pages}");
    // A browser takes it from this origin only, over TLS, and for all of its paths.
    let cookie = "__Host-jwt";
    let (gateway, _folder) = over_tls(&[("JWT_COOKIE", cookie), ("CORS", &cors), ("EXTRACTORS", EXTRACTORS)]);
    // The token brings one subscription, which shows whether the token was used.
    let key = jsonwebtoken::EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    let token = signed(&claims("s1", "bob"), jsonwebtoken::Algorithm::HS256, &key);
    let port = gateway.port("inbound_tls").port().to_string();
    let lines = story("cookies.js", &[&port, &pages, cookie, &token]);
    let may = |name: &str, without: u8| {
        format!(
            "{name}: stream: subscribed 1\n{name}: stream without cookies: subscribed {without}\n\
             {name}: socket: subscribed 1\n{name}: socket with the page's token: subscribed 1\n\
             {name}: subprotocol a: closed 1006\n\
             {name}: subprotocol of CloudEvents: subscribed 1 cloudevents.json\n\
             {name}: token as a subprotocol: subscribed 1 rig\n\
             {name}: poll: 200 \"ok\"\n{name}: next poll: connected\n{name}: publish: 202\n{name}: subscribe: 400\n"
        )
    };
    let may_not = "evil: stream: closed\nevil: stream without cookies: closed\nevil: socket: closed 1006\n\
                   evil: socket with the page's token: subscribed 1\nevil: subprotocol a: closed 1006\n\
                   evil: subprotocol of CloudEvents: subscribed 1 cloudevents.json\n\
                   evil: token as a subprotocol: subscribed 1 rig\nevil: poll: nothing\n\
                   evil: next poll: nothing\nevil: publish: not\nevil: subscribe: not\nevil: sandbox: nothing\n";
    // A page always sends its own cookies to its own origin.
    assert_eq!(lines, may("own", 1) + &may("app", 0) + may_not);
}

#[test]
fn f43_f53_pages_of_two_sites_poll_each_their_own_connection() {
    let (gateway, _folder) = over_tls(&[]);
    let lines = story("polls.js", &[&gateway.port("inbound_tls").port().to_string()]);
    let first = "rig.connection.create,rig.subscriptions_set";
    let expected = format!(
        "a: ok\nb: ok\na: {first}\nb: {first}\nsame connection: false\na: subscribe 204\n\
         a: rig.subscriptions_set\nb: \n"
    );
    assert_eq!(lines, expected);
}

#[test]
fn f47_a_page_reads_why_the_proxy_refuses() {
    let endpoints = |path: &str, secured: bool| -> Value {
        let endpoint =
            |method: &str| json!({ "id": method, "method": method, "path_regex": path, "secured": secured });
        ["GET", "POST"].map(endpoint).into_iter().collect()
    };
    let apis = json!([
        api_of("dead", unused_address(), endpoints("/dead", false)),
        api_of("secured", unused_address(), endpoints("/secured", true)),
    ]);
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis.to_string())]);
    let port = gateway.inbound().port().to_string();
    let lines = story("refusals.js", &[&port, "/nowhere", "/dead", "/secured?token=x"]);
    let mut expected = String::new();
    for (path, answer) in [
        ("/nowhere", r#"404 {"message":"Not Found"}"#),
        ("/dead", "502 Bad gateway."),
        (
            "/secured?token=x",
            r#"401 Authentication failed. Bearer error="invalid_token", error_description="Invalid signature""#,
        ),
    ] {
        expected += &format!("GET {path}: {answer}\nPOST {path}: {answer}\n");
    }
    assert_eq!(lines, expected);
}
