//! RIG's part of the format, with RIG's messages.

use ::auth::TokenSources;
use http::uri::Scheme;
use serde_json::{Value, json};

use super::*;
use crate::definition::{Api, ResponseFrom, TargetConfig};

/// Returns each fault as RIG names it: `group.field: reason`.
fn told(document: &Value) -> Vec<String> {
    let faults = Api::parse(document, &nothing).unwrap_err();
    faults.iter().map(|fault| format!("{}.{}: {}", fault.group, fault.field, fault.reason)).collect()
}

fn without(name: &str) -> Value {
    let mut document = least();
    document.as_object_mut().unwrap().remove(name);
    document
}

#[test]
fn the_faults_of_a_document_are_rigs() {
    let only_id = json!({"id": "x"});
    assert_eq!(
        told(&only_id),
        [
            "api.name: must be string",
            "api.name: must have a length of at least 1",
            "api.proxy: must be present",
            "api.version_data: must be present"
        ]
    );
    assert_eq!(told(&without("proxy")), ["api.proxy: must be present"]);
    assert_eq!(told(&with("/proxy", json!({}))), ["api.proxy: must be present"]);
    assert_eq!(told(&without("version_data")), ["api.version_data: must be present"]);
    assert_eq!(
        told(&with("/version_data", json!({}))),
        [
            "api.version_data: must be present",
            "api.version_data: must have at least one version, e.g. default"
        ]
    );
    assert_eq!(told(&with("/version_data/default/endpoints", json!({}))), ["api.endpoints: must be list"]);
    assert_eq!(told(&with("/proxy/port", json!("80"))), ["api.port: must be integer"]);
    assert_eq!(
        told(&with("/proxy/target_url", json!(""))),
        ["api.target_url: must have a length of at least 1"]
    );
}

#[test]
fn the_faults_of_an_endpoint_are_rigs() {
    assert_eq!(
        told(&with("/version_data/default/endpoints", json!([{}]))),
        [
            "a/.id: must be string",
            "a/.id: must have a length of at least 1",
            "a/.path_regex: must be string",
            "a/.path_regex: must have a length of at least 1",
            "a/.method: must be string",
            "a/.method: must have a length of at least 1"
        ]
    );
    let jwt = r#"must be one of ["jwt"]"#;
    assert_eq!(told(&with(&endpoint("secured"), json!(true))), [format!("a/e.auth_type: {jwt}")]);
    assert_eq!(told(&with(&endpoint("schema"), json!("s"))), ["a/e.target: must be present"]);
    let kafka = told(&with(&endpoint("target"), json!("kafka")));
    assert_eq!(kafka[0], "a/e.topic: must be present");
}

#[test]
fn the_faults_of_auth_are_rigs() {
    let auth = |auth: Value| {
        let mut document = with("/auth_type", json!("jwt"));
        set(&mut document, "/auth", auth);
        document
    };
    assert_eq!(told(&auth(json!({"use_header": true}))), ["a.header_name: must be present"]);
    assert_eq!(told(&auth(json!({"use_query": true}))), ["a.query_name: must be present"]);
    let jwt = r#"must be one of ["jwt"]"#;
    assert_eq!(told(&with("/auth_type", json!("foo"))), [format!("a.auth_type: {jwt}")]);
}

#[test]
fn what_is_a_500_in_rig_is_a_fault() {
    assert_eq!(faults(&json!([])), ["must be object"]);
    assert_eq!(faults(&json!(null)), ["must be object"]);
    assert_eq!(faults(&with("/id", json!(5))), ["/id: must be string"]);
    let mut nameless = without("id");
    set(&mut nameless, "/auth_type", json!("foo"));
    set(&mut nameless, &endpoint("method"), json!(5));
    let groups: Vec<_> = told(&nameless).into_iter().skip(2).collect();
    let jwt = r#"must be one of ["jwt"]"#;
    assert_eq!(groups, [format!("api.auth_type: {jwt}"), "api/e.method: must be string".to_owned()]);
    let empty = faults(&json!({}));
    assert_eq!(empty[..2], ["/id: must be string", "/id: must have a length of at least 1"]);
}

#[test]
fn d24_an_invalid_path_regex_is_refused() {
    let at = endpoint("path_regex");
    for wrong in ["(", "[", "*", "a{2", "(?<n>", "\\"] {
        let told = faults(&with(&at, json!(wrong)));
        assert_eq!(told.len(), 1, "{wrong}: {told:?}");
        assert!(told[0].starts_with(&format!("{at}: ")), "{wrong}: {told:?}");
    }
    // Would take more memory than a gateway has.
    let huge = faults(&with(&at, json!("(?:a{1000}){1000}")));
    assert!(huge[0].starts_with(&at), "{huge:?}");
}

#[test]
fn b15_targets_and_topics_are_checked_in_the_definition() {
    let told = |members: Value| {
        let mut document = least();
        for (name, value) in members.as_object().unwrap() {
            set(&mut document, &endpoint(name), value.clone());
        }
        match Api::parse(&document, &|_| None) {
            Ok((api, _)) => Ok(api.endpoints[0].broker.clone()),
            Err(faults) => Err(faults.iter().map(ToString::to_string).collect::<Vec<_>>()),
        }
    };
    let kinds = r#"must be one of ["http", "kafka", "kinesis", "nats"]"#;
    for wrong in ["ftp", "Kafka", "KAFKA", "http_async"] {
        assert_eq!(told(json!({"target": wrong})), Err(vec![format!("{}: {kinds}", endpoint("target"))]));
    }
    for broker in ["kafka", "nats", "kinesis"] {
        let missing = vec![format!("{}: must be present", endpoint("topic"))];
        assert_eq!(told(json!({"target": broker})), Err(missing));
        let to = told(json!({"target": broker, "topic": "a.b"})).unwrap().unwrap();
        assert_eq!((to.broker.as_str(), &*to.topic, to.schema), (broker, "a.b", None));
        for topic in ["a b", "a*", "a/>", "", "é\u{7}"] {
            let faults = told(json!({"target": broker, "topic": topic})).unwrap_err();
            assert!(faults[0].starts_with(&endpoint("topic")), "{faults:?}");
        }
    }
    for (broker, topic) in
        [("kafka", ".."), ("kafka", &*"a".repeat(250)), ("kinesis", &"a".repeat(129)), ("nats", "a..b")]
    {
        let faults = told(json!({"target": broker, "topic": topic})).unwrap_err();
        assert!(faults[0].starts_with(&endpoint("topic")), "{faults:?}");
    }
    let with_schema = told(json!({"target": "kafka", "topic": "t", "schema": "s"})).unwrap().unwrap();
    assert_eq!(with_schema.schema.as_deref(), Some("s"));
    let alone = vec![format!("{}: must be present", endpoint("target"))];
    assert_eq!(told(json!({"schema": "s"})), Err(alone));
    let foreign = vec![format!("{}: must not be there: only kafka has schemas", endpoint("schema"))];
    assert_eq!(told(json!({"target": "nats", "topic": "t", "schema": "s"})), Err(foreign));
}

#[test]
fn b16_only_combinations_that_give_an_answer_are_accepted() {
    let from = |target: &str, from: &str| {
        let mut document = with(&endpoint("target"), json!(target));
        set(&mut document, &endpoint("topic"), json!("t"));
        set(&mut document, &endpoint("response_from"), json!(from));
        match Api::parse(&document, &|_| None) {
            Ok((api, _)) => Ok(api.endpoints[0].response_from.as_str()),
            Err(faults) => Err(faults.iter().map(ToString::to_string).collect::<Vec<_>>()),
        }
    };
    let answers = ["http", "http_async", "kafka", "kinesis", "nats"];
    for (target, possible) in [
        ("http", &["http", "http_async", "kafka"][..]),
        ("kafka", &["http", "kafka"]),
        ("kinesis", &["http"]),
        ("nats", &["http", "nats"]),
    ] {
        for answer in answers {
            match from(target, answer) {
                Ok(accepted) => {
                    assert!(accepted == answer && possible.contains(&answer), "{target} {answer}")
                }
                Err(faults) => {
                    assert!(!possible.contains(&answer), "{target} {answer}: {faults:?}");
                    assert!(faults[0].starts_with(&endpoint("response_from")), "{faults:?}");
                }
            }
        }
    }
    assert_eq!(
        from("kafka", "nats").unwrap_err(),
        [format!(
            r#"{}: must be one of ["http", "kafka"] where the target is kafka"#,
            endpoint("response_from")
        )]
    );
    let wrong = r#"must be one of ["http", "http_async", "kafka", "kinesis", "nats"]"#;
    assert_eq!(from("http", "ftp").unwrap_err(), [format!("{}: {wrong}", endpoint("response_from"))]);
}

#[test]
fn defaults_are_filled_in_as_rig_shows_them() {
    let shown = Value::Object(parse(&least()).document);
    let mut expected = least();
    set(&mut expected, "/active", json!(true));
    set(&mut expected, "/auth_type", json!("none"));
    set(&mut expected, "/versioned", json!(false));
    let auth = json!({"use_header": false, "header_name": "", "use_query": false, "query_name": ""});
    set(&mut expected, "/auth", auth);
    assert_eq!(shown, expected);
    assert_eq!(Value::Object(parse(&shown).document), shown);
}

#[test]
fn what_a_gateway_shows_can_be_given_back() {
    let mut shown = least();
    for (name, value) in [
        ("phx_ref", json!("GOq1S6-WY9oJXQBx")),
        ("phx_ref_prev", json!("GOq1S6-WY9oJXQBx")),
        ("node_name", json!("rig@localhost")),
        ("ref_number", json!(7)),
        ("timestamp", json!("2026-11-23T15:12:18.133569Z")),
    ] {
        set(&mut shown, &format!("/{name}"), value);
    }
    assert_eq!(parse(&shown).document, parse(&least()).document);
    assert_eq!(warnings(&shown), [""; 0]);
}

#[test]
fn a_whole_document_of_rig_is_understood() {
    let document = json!({
        "id": "svc", "name": "svc", "auth_type": "jwt", "active": false,
        "auth": {"use_header": true, "header_name": "Authorization", "use_query": true, "query_name": "token"},
        "versioned": false,
        "version_data": {"default": {
            "endpoints": [
                {"id": "open", "method": "GET", "path_regex": "/open/(.+)", "path_replacement": "/up/\\1"},
                {"id": "hd", "method": "GET", "path_regex": "/hdr", "transform_request_headers": true},
                {"id": "sec", "method": "GET", "path_regex": "/secure", "secured": true, "target": "http"},
                {"id": "async", "method": "POST", "path_regex": "/async", "response_from": "http_async"},
            ],
            "transform_request_headers": {"add_headers": {"x-added": "yes"}},
        }},
        "proxy": {"use_env": false, "target_url": "http://127.0.0.1", "port": 5555},
    });
    let api = parse(&document);
    assert_eq!(warnings(&document), [""; 0]);
    assert!(!api.active);
    let sources = TokenSources {
        header: Some(http::header::AUTHORIZATION),
        query: Some("token".to_owned()),
        cookie: None,
        subprotocol: false,
    };
    assert_eq!(api.token_sources, Some(sources));
    let target = TargetConfig { scheme: Scheme::HTTP, host: "127.0.0.1".to_owned(), port: 5555, weight: 1 };
    assert_eq!(api.upstream.targets, [target]);
    assert_eq!(api.endpoints[0].path_replacement.as_deref(), Some("/up/\\1"));
    assert_eq!(api.endpoints[1].add_headers.len(), 1);
    assert_eq!(api.endpoints[0].add_headers, []);
    assert_eq!(
        api.endpoints.iter().map(|endpoint| endpoint.secured).collect::<Vec<_>>(),
        [false, false, true, false]
    );
    assert_eq!(api.endpoints[3].response_from, ResponseFrom::HttpAsync);
}

#[test]
fn a_target_may_be_named_by_the_environment() {
    let mut document = with("/proxy/use_env", json!(true));
    set(&mut document, "/proxy/target_url", json!("SERVICE"));
    let unset =
        "/proxy/target_url: the environment variable SERVICE is not set: localhost is the target, as in RIG";
    assert_eq!(warnings(&document), [unset]);
    let (api, _) = Api::parse(&document, &|_| None).unwrap();
    assert_eq!((&*api.upstream.targets[0].host, api.upstream.targets[0].port), ("localhost", 5555));
    let named = |value: &str| {
        let value = value.to_owned();
        Api::parse(&document, &move |name| (name == "SERVICE").then(|| value.clone()))
    };
    let (api, _) = named("https://service.example").unwrap();
    assert_eq!((&*api.upstream.targets[0].host, api.upstream.targets[0].port), ("service.example", 5555));
    assert_eq!(api.upstream.targets[0].scheme, Scheme::HTTPS);
    // The value may be a secret by mistake.
    let told = format!("{:?}", named("http://me:hidden@host").unwrap_err());
    assert!(!told.contains("hidden"), "{told}");
}

#[test]
fn targets_are_hosts_with_or_without_scheme() {
    for (url, scheme, host) in [
        ("localhost", Scheme::HTTP, "localhost"),
        ("127.0.0.1", Scheme::HTTP, "127.0.0.1"),
        ("HTTP://a_b.c-d/", Scheme::HTTP, "a_b.c-d"),
        ("https://[::1]", Scheme::HTTPS, "::1"),
    ] {
        let api = parse(&with("/proxy/target_url", json!(url)));
        let target = &api.upstream.targets[0];
        assert_eq!((&target.scheme, &*target.host, target.port), (&scheme, host, 5555), "{url}");
    }
    for wrong in [
        "ftp://host",
        "http://",
        "http://host/path",
        "http://host?q",
        "http://host#f",
        "http://u@host",
        "http://host:80",
        "http://[::1",
        "http://[v1.x]",
        "ho st",
        "http://häst",
        "://",
        "/",
        "http://a,b",
    ] {
        let told = faults(&with("/proxy/target_url", json!(wrong)));
        assert_eq!(told.len(), 1, "{wrong}: {told:?}");
        assert!(told[0].starts_with("/proxy/target_url: must "), "{wrong}: {told:?}");
    }
}

#[test]
fn ids_are_unique_within_an_api() {
    let one = json!({"id": "e", "path_regex": "/x", "method": "GET"});
    let document = with("/version_data/default/endpoints", json!([one, one, 5]));
    assert_eq!(
        faults(&document),
        [
            "/version_data/default/endpoints/1/id: must be unique",
            "/version_data/default/endpoints/2: must be object"
        ]
    );
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    assert_eq!(warnings(&with("/nmae", json!(1))), ["/nmae: unknown; did you mean name?"]);
    assert_eq!(warnings(&with("/zzz", json!(1))), ["/zzz: unknown"]);
    let told = warnings(&with(&endpoint("secure"), json!(true)));
    assert_eq!(told, [format!("{}: unknown; did you mean secured?", endpoint("secure"))]);
    assert_eq!(
        warnings(&with("/versioned", json!(true))),
        ["/versioned: has no effect: only the version default is served, as in RIG"]
    );
    let told = warnings(&with("/version_data/v2", json!({"endpoints": []})));
    assert_eq!(told, ["/version_data/v2: is not served: only the version default is, as in RIG"]);
}

#[test]
fn f35_a_pattern_that_no_path_matches_is_a_warning() {
    let told = |regex: &str| warnings(&with(&endpoint("path_regex"), json!(regex)));
    for regex in ["foo", "foo/bar", "^foo", "(foo|bar)/x", r"\w+", "[^/]+/x", "(?:a/)?b", "a*", "", "é/.*"] {
        if regex.is_empty() {
            continue;
        }
        assert_eq!(
            told(regex),
            [format!("{}: matches nothing: paths begin with /", endpoint("path_regex"))],
            "{regex}"
        );
    }
    for regex in ["/foo", "^/foo", "(/a|b)", ".*", "(?i)/foo", "[/]x", "a?/b", "\\/a", "(a/)?/b", "[^a]b"] {
        assert_eq!(told(regex), [] as [&str; 0], "{regex}");
    }
}

#[test]
fn f75_a_method_may_be_written_in_any_case() {
    for (given, method) in [("get", "GET"), ("PoSt", "POST"), ("DELETE", "DELETE"), ("brew", "BREW")] {
        let document = with(&endpoint("method"), json!(given));
        assert_eq!(warnings(&document), [] as [&str; 0], "{given}");
        assert_eq!(Api::parse(&document, &nothing).unwrap().0.endpoints[0].method, *method, "{given}");
    }
}

#[test]
fn f78_a_header_that_the_gateway_sets_itself_is_a_warning() {
    let told = |name: &str| {
        warnings(&with(
            "/version_data/default/transform_request_headers",
            json!({"add_headers": {name: "x"}}),
        ))
    };
    let place = "/version_data/default/transform_request_headers/add_headers";
    for name in ["host", "Host", "HOST"] {
        let expected =
            format!("{place}/{name}: has no effect: the gateway sets Host to the name of the target");
        assert_eq!(told(name), [expected]);
    }
    for name in
        ["via", "Forwarded", "X-Forwarded-For", "x-forwarded-host", "x-forwarded-proto", "traceparent"]
    {
        assert!(told(name)[0].starts_with(&format!("{place}/{name}: replaces ")), "{name}: {:?}", told(name));
    }
    for name in ["authorization", "x-real-ip", "user-agent", "accept"] {
        assert_eq!(told(name), [] as [&str; 0], "{name}");
    }
}

#[test]
fn the_examples_of_the_documentation_are_right() {
    let text = include_str!("../../../../../docs/apis.md");
    let examples: Vec<_> =
        text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let list: Value = serde_json::from_str(example).unwrap();
        let (_, found) = crate::Definitions::parse(&list, &nothing).unwrap();
        assert_eq!(found, []);
    }
}
