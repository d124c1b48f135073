//! The input of operators: definitions of APIs, extractors, settings, bodies of the internal port.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rig_tests::*;
use serde_json::{Value, json};

/// Runs the program with this environment only, and stops it if it starts to serve.
fn rig(words: &[&str], variables: &[(&str, &str)], input: &str) -> Output {
    let mut command = Command::new("/usr/bin/timeout");
    command.arg("10").arg(Gateway::binary()).args(words).env_clear().envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("rig has been built");
    // A program that reads no input may have exited already.
    drop(child.stdin.take().expect("stdin is piped").write_all(input.as_bytes()));
    child.wait_with_output().expect("the child is ours")
}

/// Returns both outputs of the program.
fn told(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).expect("UTF-8")
}

/// Returns what `rig check` reports about settings, and whether it accepts them.
fn checked(variables: &[(&str, &str)]) -> (bool, String) {
    let output = rig(&["check"], variables, "");
    (output.status.success(), told(&output))
}

/// A definition whose endpoint has `secured` twice, with different values. Which one counts decides
/// whether it is open.
const TWICE: &str = r#"{"id":"b","name":"n","auth_type":"jwt","auth":{"use_header":true,"header_name":"Authorization"},
"version_data":{"default":{"endpoints":[{"id":"e","path_regex":"/e","method":"GET","secured":true,"secur\u0065d":false}]}},
"proxy":{"target_url":"http://127.0.0.1","port":5555}}"#;

/// The pointer to the second member, with its line and column.
const PLACE: &str = "/version_data/default/endpoints/0/secured: given more than once (line 2, column 112)";

#[test]
fn f06_a_member_that_is_given_twice_is_refused_at_the_internal_port() {
    let gateway = Gateway::start(&[]);
    post_api(&gateway, &definition("a", "kept"));
    for (method, path) in
        [("POST", "/v2/apis"), ("POST", "/v3/apis"), ("PUT", "/v2/apis/a"), ("PUT", "/v3/apis/a")]
    {
        let request = Request::new(method, path).header("content-type", "application/json").body(TWICE);
        let response = gateway.ask_internal(&request);
        assert_eq!(response.status, 400, "{method} {path}: {}", response.text());
        let detail = response.json()["errors"]["detail"].as_str().expect("a detail").to_owned();
        assert_eq!(detail, format!("Bad request: {PLACE}"), "{method} {path}");
    }
    for path in ["/v4/apis", "/v4/apis?dry_run=true"] {
        let response = gateway.ask_internal(&Request::put_json(path, format!("[{TWICE}]")));
        assert_eq!(response.status, 400, "{}", response.text());
        let error = &response.json()["errors"][0];
        assert_eq!(error["pointer"], "/0/version_data/default/endpoints/0/secured", "{error}");
    }
    assert_eq!(api_names(&gateway), ["a=kept"]);

    for body in [
        r#"{"session":"s","session":"t","validityInSeconds":60}"#,
        r#"{"session":"s","validityInSeconds":60,"validityInSeconds":1}"#,
        r#"{"claim":{"pointer":"/sub","value":"a","value":"b"},"validityInSeconds":60}"#,
    ] {
        let response = gateway.ask_internal(&Request::post_json("/v4/revocations", body));
        assert_eq!(response.status, 400, "{body}: {}", response.text());
        assert!(response.text().contains("given more than once"), "{body}: {}", response.text());
    }
    let json = r#"{"sessionId":"s","validityInSeconds":60,"sessionId":"t"}"#;
    for (kind, body) in [
        ("application/json", json),
        ("application/x-www-form-urlencoded", "sessionId=s&validityInSeconds=60&sessionId=t"),
        ("application/x-www-form-urlencoded", "sessionId=s&validityInSeconds=60&session%49d=s"),
    ] {
        for path in ["/v2/session-blacklist", "/v3/session-blacklist"] {
            let request = Request::new("POST", path).header("content-type", kind).body(body);
            let response = gateway.ask_internal(&request);
            assert_eq!(response.status, 400, "{body}: {}", response.text());
            assert!(response.text().contains("/sessionId: given more than once"), "{}", response.text());
        }
    }
    for session in ["s", "t"] {
        let path = format!("/v3/session-blacklist/{session}");
        assert_eq!(gateway.ask_internal(&Request::get(&path)).status, 404, "{session}");
    }
}

#[test]
fn f06_a_member_that_is_given_twice_is_refused_in_settings_and_files() {
    let folder = Folder::new();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let apis = format!("[{TWICE}]");
    let extractors =
        r#"{"t":{"f":{"stable_field_index":1,"event":{"json_pointer":"/a","json_pointer":"/b"}}}}"#;
    let in_list = format!("/0{PLACE}");
    for (name, given, place) in [
        ("PROXY_CONFIG_FILE", apis.as_str(), in_list.as_str()),
        ("PROXY_CONFIG_FILE", &file("apis.json", &apis), &in_list),
        ("EXTRACTORS", extractors, "/t/f/event/json_pointer: given more than once (line 1, column 77)"),
        (
            "EXTRACTORS",
            &file("extractors.json", extractors),
            "/t/f/event/json_pointer: given more than once (line 1, column 77)",
        ),
    ] {
        let (valid, told) = checked(&[(name, given)]);
        assert!(!valid && told.contains(place), "{name} {given}: {told}");
    }
    for map in ["claims", "forward_claims", "response_headers"] {
        let members = if map == "claims" { r#""/a":1,"/a":2"# } else { r#""x-a":"/b","x-a":"/c""# };
        let list = apis.replace(r#""secur\u0065d":false"#, &format!(r#""{map}":{{{members}}}"#));
        let (valid, told) = checked(&[("PROXY_CONFIG_FILE", &list)]);
        let place = format!("/0/version_data/default/endpoints/0/{map}/");
        assert!(!valid && told.contains(&place) && told.contains("given more than once"), "{told}");
    }
    // TOML itself forbids duplicate keys (v1.0.0, "Keys"), quoted or not.
    for text in
        ["log_level = \"info\"\nlog_level = \"debug\"\n", "log_level = \"info\"\n\"log_level\" = \"debug\"\n"]
    {
        let (valid, told) = checked(&[("RIG_CONFIG", &file("rig.toml", text))]);
        assert!(!valid && told.contains("line 2: not TOML: duplicate key"), "{told}");
    }
}

#[test]
fn f06_a_member_that_is_given_twice_is_refused_in_what_was_stored_and_by_the_command_line() {
    let folder = Folder::new();
    let data = folder.join("data");
    let mut gateway = Gateway::start(&[("DATA_DIR", &data)]);
    post_api(&gateway, &definition("a", "n"));
    let imported = rig(
        &["apis", "import", "-"],
        &[("RIG_API", &format!("http://{}", gateway.internal()))],
        &format!("[{TWICE}]"),
    );
    assert!(
        !imported.status.success() && told(&imported).contains("given more than once"),
        "{}",
        told(&imported)
    );
    gateway.terminate();
    gateway.exit_status();
    let stored = Path::new(&data).join("apis.json");
    let text = std::fs::read_to_string(&stored).expect("it was stored");
    std::fs::write(&stored, text.replace(r#""method":"GET""#, r#""method":"GET","method":"PUT""#))
        .expect("a file");
    let ports = [("INBOUND_PORT", "0"), ("API_HTTP_PORT", "0"), ("DATA_DIR", &*data)];
    let refused = rig(&[], &ports, "");
    let place = "/apis/a/document/version_data/default/endpoints/0/method: given more than once";
    assert!(!refused.status.success() && told(&refused).contains(place), "{}", told(&refused));

    for arguments in [["--claims", r#"{"sub":"a","sub":"b"}"#], ["--claim", r#"realm={"sub":"a","sub":"b"}"#]]
    {
        let refused = rig(&[&["token", "--secret", "s"][..], &arguments].concat(), &[], "");
        assert!(
            !refused.status.success() && told(&refused).contains("/sub: given more than once"),
            "{}",
            told(&refused)
        );
    }
}

#[test]
fn f06_a_subscription_with_a_duplicate_member_is_refused() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let twice = r#"[{"eventType":"greeting","oneOf":[{"name":"a","name":"b"}]}]"#;
    let path = format!("/_rig/v1/connection/longpolling?subscriptions={}", encoded(twice));
    let response = gateway.ask(&Request::get(&path));
    assert_eq!(response.status, 400);
    assert!(response.text().contains("/0/oneOf/0/name: given more than once"), "{}", response.text());
}

/// Returns a definition of this service whose endpoint has this method and pattern.
fn definition_of(service: &Upstream, method: &str, regex: &str) -> Value {
    let mut api =
        api_of("a", service.address(), json!([{ "id": "e", "method": method, "path_regex": regex }]));
    api["proxy"]["use_env"] = json!(false);
    api
}

#[test]
fn f35_a_byte_order_mark_before_definitions_is_no_part_of_them() {
    let folder = Folder::new();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, format!("\u{feff}{text}")).expect("a file");
        path
    };
    let apis = file("apis.json", &format!("[{}]", definition("a", "n")));
    let gateway =
        Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("EXTRACTORS", &file("x.json", EXTRACTORS))]);
    assert_eq!(api_names(&gateway), ["a=n"]);
}

#[test]
fn f35_a_pattern_without_a_leading_slash_causes_a_warning() {
    let mut api = definition("a", "n");
    api["version_data"]["default"]["endpoints"][0]["path_regex"] = json!("foo/bar");
    let list = json!([api]).to_string();
    let (valid, told) = checked(&[("PROXY_CONFIG_FILE", &list)]);
    assert!(valid, "{told}");
    let warning = "endpoints/0/path_regex: matches nothing: paths begin with /";
    assert!(told.contains(warning), "{told}");
    let replaced = Gateway::start(&[]).ask_internal(&Request::put_json("/v4/apis", list));
    assert_eq!(replaced.status, 200, "{}", replaced.text());
    assert!(replaced.json()["warnings"][0].as_str().is_some_and(|text| text.contains(warning)));
}

#[test]
fn f71_a_secret_that_begins_like_a_path_verifies_tokens() {
    for secret in ["/9j+4AAQSkZJRgABAQAAAQ/ABAAD/2wCE==", "./bcdefghijklmnopqrstuvwxyz0123456"] {
        let gateway = Gateway::start_bare(&[("JWT_SECRET_KEY", secret)]);
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes()).expect("a key");
        let token = signed(&claims("s", "bob"), jsonwebtoken::Algorithm::HS256, &key);
        let polled = gateway.ask(&Request::get("/_rig/v1/connection/longpolling").bearer(&token));
        assert_eq!(polled.status, 200, "{}", polled.text());
        assert!(gateway.log().contains("JWT_SECRET_KEY begins like a path"), "{}", gateway.log());
        assert!(!gateway.log().contains(secret), "{}", gateway.log());
    }
    let folder = Folder::new();
    let file = folder.join("key");
    std::fs::write(&file, format!("{KEY}\n")).expect("a file");
    let gateway = Gateway::start_bare(&[("JWT_SECRET_KEY_FILE", &file)]);
    let polled = gateway.ask(&Request::get("/_rig/v1/connection/longpolling").bearer(&token_of("s")));
    assert_eq!(polled.status, 200, "{}", polled.text());
    let (valid, told) = checked(&[("JWT_SECRET_KEY_FILE", &file), ("JWT_SECRET_KEY", "hidden")]);
    assert!(
        !valid && told.contains("JWT_SECRET_KEY is set: one or the other") && !told.contains("hidden"),
        "{told}"
    );
}

#[test]
fn f72_a_variable_that_is_not_set_means_localhost() {
    let service = Upstream::start();
    let mut api = definition_of(&service, "GET", "/x");
    api["proxy"] = json!({ "use_env": true, "target_url": "NOT_SET", "port": service.address().port() });
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &json!([api]).to_string())]);
    assert_eq!(gateway.ask(&Request::get("/x")).status, 200);
    let warning = "the environment variable NOT_SET is not set: localhost is the target";
    assert!(gateway.log().contains(warning), "{}", gateway.log());
}

#[test]
fn f75_a_method_may_have_any_case() {
    let service = Upstream::start();
    let list = json!([definition_of(&service, "get", "/x")]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &list)]);
    assert_eq!(gateway.ask(&Request::get("/x")).status, 200);
    let put = |method: &str| {
        let request = Request::put_json("/v3/apis/a", definition_of(&service, method, "/x").to_string());
        assert_eq!(gateway.ask_internal(&request).status, 200);
    };
    put("pOsT");
    assert_eq!(gateway.ask(&Request::new("POST", "/x").body("b")).status, 200);
    assert_eq!(gateway.ask(&Request::get("/x")).status, 404);
    put("brew");
    assert_eq!(gateway.ask(&Request::new("BREW", "/x")).status, 200);
}

#[test]
fn f76_the_error_names_the_absolute_path() {
    for name in ["PROXY_CONFIG_FILE", "EXTRACTORS", "HTTPS_CERTFILE"] {
        let (valid, told) = checked(&[(name, "proxy/none.json")]);
        let tried = std::env::current_dir().expect("a folder").join("proxy/none.json");
        let expected = format!("{}: No such file or directory", tried.display());
        assert!(!valid && told.contains(&expected) && told.contains("RIG looked"), "{name}: {told}");
    }
}

#[test]
fn f78_a_header_that_is_overwritten_causes_a_warning() {
    let mut api = definition("a", "n");
    api["version_data"]["default"]["transform_request_headers"] = json!({ "add_headers": { "Host": "x" } });
    let (valid, told) = checked(&[("PROXY_CONFIG_FILE", &json!([api]).to_string())]);
    let warning = "transform_request_headers/add_headers/Host: has no effect: the gateway sets Host";
    assert!(valid && told.contains(warning), "{told}");
}

#[test]
fn a_definition_without_a_name_is_refused_as_by_rig() {
    let mut api = definition("a", "n");
    api.as_object_mut().expect("an object").remove("name");
    let response = Gateway::start(&[]).ask_internal(&Request::post_json("/v3/apis", api.to_string()));
    assert_eq!(response.status, 400);
    let expected =
        json!({ "api": [{ "name": "must be string" }, { "name": "must have a length of at least 1" }] });
    assert_eq!(response.json(), expected);
}
