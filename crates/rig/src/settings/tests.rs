//! Tests of settings: every source, all mistakes at once, no secret shown.

mod api_access;
#[cfg(feature = "nats")]
mod brokers;
mod cluster;
mod event_size;
mod history;
mod hook;
mod issuers;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kinesis")]
mod kinesis;
mod names_of_others;
#[cfg(not(feature = "kafka"))]
mod no_kafka;
#[cfg(not(feature = "kinesis"))]
mod no_kinesis;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use listener::Limits;
use telemetry::Sampler;

use super::*;
use crate::cli::{self, Invocation};

/// A temporary directory, removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rig-settings-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn hide(&self, text: &str) -> String {
        text.replace(self.0.to_str().unwrap(), "DIR")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn gather(arguments: &[&str], environment: &Environment) -> Given {
    let line = ["rig"].iter().chain(arguments).map(OsString::from);
    let Invocation::Serve(flags) = cli::parse(line) else { panic!("not serve") };
    Given::gather(flags, environment)
}

fn parse(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
    let given = gather(arguments, &environment(variables));
    Settings::parse(given).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn every_row_is_read_and_every_default_is_valid() {
    let mut reader = Reader::new(Given::gather(Flags::default(), &Environment::new()));
    let settings = Settings::read(&mut reader);
    assert_eq!(reader.given.mistakes, []);
    assert_eq!(reader.read, table::all().map(|setting| setting.name).collect());
    assert_eq!(settings.ports.inbound.http, "0.0.0.0:4000".parse().unwrap());
    assert_eq!(settings.ports.internal.http, "127.0.0.1:4010".parse().unwrap());
    assert_eq!(settings.log_level, Level::WARN);
    assert_eq!(settings.rooms.connections.outbox_bytes, 1 << 20);
    assert_eq!(settings.ports.inbound_limits, Limits::default(), "the table and the listener say the same");
}

#[test]
fn every_row_refuses_what_it_does_not_allow() {
    for setting in table::all() {
        let free = matches!(setting.name, "JWT_ISSUER" | "JWT_AUDIENCE" | "NODE_COOKIE" | "HTTPS_KEYFILE_PASS")
                || matches!(setting.name, "HOST" | "JWT_SECRET_KEY" | "OTEL_SERVICE_NAME")
                || matches!(setting.name, "CLUSTER_NATS_USER" | "CLUSTER_NATS_PASSWORD" | "CLUSTER_NATS_TOKEN")
                || matches!(setting.name, "NATS_USER" | "NATS_PASSWORD" | "NATS_TOKEN")
                || is_free_at_kafka(setting.name)
                // Checked only in a cluster.
                || setting.name == "NODE_COOKIE_OLD";
        let told = parse(&[], &[(setting.name, "\u{7f} no such thing")]).err().unwrap_or_default();
        assert_eq!(
            !free,
            told.contains(&format!("environment {}", setting.name)),
            "{} {told:?}",
            setting.name
        );
    }
}

/// Returns whether a setting of Kafka may have any value on its own.
fn is_free_at_kafka(name: &str) -> bool {
    const FREE: [&str; 6] = [
        "KAFKA_LOG_SCHEMA",
        "KAFKA_SASL_SCOPE",
        "KAFKA_SASL_TOKEN_URL",
        "KAFKA_SCHEMA_REGISTRY_PASSWORD",
        "KAFKA_SCHEMA_REGISTRY_USER",
        "KAFKA_SSL_KEYFILE_PASS",
    ];
    // Without Kafka, nothing is read but what would use it.
    let is_unread = cfg!(not(feature = "kafka"))
        && name.contains("KAFKA")
        && !matches!(name, "KAFKA_BROKERS" | "PROXY_KAFKA_RESPONSE_TIMEOUT");
    FREE.contains(&name) || is_unread
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let folder = Folder::new("precedence");
    let file =
        folder.file("rig.toml", "inbound_port = 1\napi_http_port = 2\nhost = \"file\"\njwt_issuer = \"i\"");
    let variables =
        [("RIG_CONFIG", file.as_str()), ("INBOUND_PORT", "3"), ("API_HTTP_PORT", "4"), ("JWT_ISSUER", "")];
    let settings = parse(&["--inbound-port", "5"], &variables).unwrap();
    let ports = [settings.ports.inbound.http, settings.ports.internal.http, settings.ports.inbound.https]
        .map(|address| address.port());
    assert_eq!(ports, [5, 4, 4001]);
    assert_eq!(settings.host, "file");
    let shown = gather(&["--inbound-port", "5"], &environment(&variables)).to_string();
    let shown = folder.hide(&shown);
    assert!(shown.contains("INBOUND_PORT = \"5\" (flag)\n"), "{shown}");
    assert!(shown.contains("API_HTTP_PORT = \"4\" (environment)\n"), "{shown}");
    assert!(shown.contains("HOST = \"file\" (file DIR/rig.toml)\n"), "{shown}");
    assert!(shown.contains("JWT_ISSUER = \"i\" (file DIR/rig.toml)\n"), "{shown}");
    assert!(shown.contains("INBOUND_HTTPS_PORT = \"4001\" (default)\n"), "{shown}");
}

#[test]
fn the_flag_for_the_file_wins_over_its_variable() {
    let folder = Folder::new("config");
    let (one, two) = (folder.file("one", "host = \"one\""), folder.file("two", "host = \"two\""));
    assert_eq!(parse(&["--config", &one], &[("RIG_CONFIG", &two)]).unwrap().host, "one");
    assert_eq!(parse(&[], &[("RIG_CONFIG", "")]).unwrap().host, "localhost");
    let told = parse(&[], &[("RIG_CONFIG", &format!("{one}.toml"))]).unwrap_err();
    assert_eq!(
        folder.hide(&told),
        "file DIR/one.toml: cannot be read: No such file or directory (os error 2)\n"
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let folder = Folder::new("mistakes");
    let file = folder.file(
        "rig.toml",
        r#"
hearbeat_interval = "1s"
zzz = "hidden"
api_tokne = "hidden"
kafka_enabled = true
outbox_bytes = "1KB"
log_level = 1.5
jwt_alg = ["HS256", "none"]
node_cookie = { hidden = 1 }
"#,
    );
    let variables = [
        ("RIG_CONFIG", file.as_str()),
        ("INBOUND_PORT", "70000"),
        ("API_HTTP_PORT", ""),
        ("API_TOKEN", "hidden"),
        ("HTTPS_CERTFILE", "/no/such/file"),
        ("KEEP_ALIVE_TIMEOUT", "forever"),
        ("MAX_CONNECTIONS_PER_MINUTE", "0"),
        ("CORS", "https://example.com/path"),
        ("JWT_SESSION_FIELD", "jti"),
        ("SUBSCRIPTION_CHECK", "ftp://user:hidden@host/"),
        ("EXTRACTORS", "{\"greeting\": {\"name\": {}}}"),
        ("PROXY_CONFIG_FILE", "/x.json"),
    ];
    let arguments = ["--api-bind", "home", "--log-fmt", "xml", "--max-body-bytes=2GiB", "--inbond-port", "1"];
    let told = folder.hide(&parse(&arguments, &variables).unwrap_err());
    assert!(!told.contains("hidden"), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn secrets_are_never_shown() {
    let secrets: Vec<_> = table::all().filter(|setting| setting.secret).collect();
    assert_eq!(secrets.len(), 17);
    let good = "sixteen-characters-or-more";
    let variables: Vec<_> = secrets
        .iter()
        // NATS takes a password or a token, and a web hook needs a file.
        .filter(|setting| {
            !matches!(setting.name, "CLUSTER_NATS_TOKEN" | "NATS_TOKEN" | "REVOCATION_HOOK_URL")
        })
        .map(|setting| match setting.name {
            "OTEL_EXPORTER_OTLP_HEADERS" | "OTEL_EXPORTER_OTLP_TRACES_HEADERS" => {
                (setting.name, "x-key=sixteen-characters-or-more")
            }
            "KAFKA_PROPERTIES" => (setting.name, "client.rack=sixteen-characters-or-more"),
            "KAFKA_SASL" => (setting.name, "plain:user:sixteen-characters-or-more"),
            name => (name, good),
        })
        .chain([("CLUSTER_NATS_USER", "user"), ("NATS_USER", "user"), ("CLUSTER", "single")])
        .chain([("KAFKA_SCHEMA_REGISTRY_USER", "user")])
        .collect();
    let settings = parse(&[], &variables).unwrap();
    let shown = format!("{settings:?}{}", gather(&[], &environment(&variables)));
    assert!(!shown.contains(good), "{shown}");
    assert!(shown.contains("API_TOKEN = set, not shown (environment)\n"), "{shown}");

    let broken = Environment::from([("API_TOKEN".into(), OsString::from_vec(b"hidden\xff".into()))]);
    let told = gather(&["--api-token", "hidden", "--api-token", "hidden"], &broken).mistakes;
    let told: Vec<_> = told.iter().map(Mistake::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(!told.join("").contains("hidden"), "{told:?}");
}

#[test]
fn values_that_are_not_utf8_are_mistakes() {
    let broken = Environment::from([("HOST".into(), OsString::from_vec(b"a\xffb".into()))]);
    let mistakes = Settings::parse(gather(&[], &broken)).unwrap_err();
    assert_eq!(mistakes.to_string(), "environment HOST = \"a\u{fffd}b\": not UTF-8; expected a host name\n");
}

#[test]
fn a_flag_given_twice_is_a_mistake() {
    let told = parse(&["--host", "a", "--host", "b"], &[]).unwrap_err();
    assert_eq!(told, "flag --host = \"b\": given more than once\n");
}

#[test]
fn a_file_that_is_not_toml_is_told_without_its_text() {
    let folder = Folder::new("syntax");
    let file = folder.file("rig.toml", "host = \"a\"\napi_token = hidden\n");
    let told = folder.hide(&parse(&["--config", &file], &[]).unwrap_err());
    assert!(told.starts_with("file DIR/rig.toml line 2: not TOML: "), "{told}");
    assert!(!told.contains("hidden"), "{told}");
}

#[test]
fn a_misspelt_key_is_a_mistake() {
    let folder = Folder::new("misspelt");
    let file = folder.file("rig.toml", "INBOUND_PORT = 1\nouter_space = 2\n");
    let told = folder.hide(&parse(&["--config", &file], &[]).unwrap_err());
    assert_eq!(
        told,
        "file DIR/rig.toml INBOUND_PORT: unknown key; did you mean inbound_port?\n\
         file DIR/rig.toml outer_space: unknown key; rig --help names all of them\n"
    );
}

#[test]
fn parts_that_this_version_lacks_are_warnings() {
    let folder = Folder::new("unsupported");
    let file = folder.file("rig.toml", "firehose_kafka_source_topics = \"s\"\n");
    let variables = [("PROXY_KAFKA_REQUEST_TIMEOUT", "1"), ("PROXY_CONFIG_FILE", "")];
    let warnings = parse(&["--config", &file], &variables).unwrap().warnings;
    assert_eq!(
        warnings.iter().map(|warning| folder.hide(warning)).collect::<Vec<_>>(),
        [
            "file DIR/rig.toml firehose_kafka_source_topics: not supported by this version; ignored",
            "environment PROXY_KAFKA_REQUEST_TIMEOUT: not supported by this version; ignored",
        ]
    );
}

#[test]
fn d18_the_internal_port_is_on_loopback_unless_a_token_guards_it() {
    let address = |variables: &[(&str, &str)]| {
        let settings = parse(&[], variables).unwrap();
        (settings.ports.internal.http.to_string(), settings.warnings.len())
    };
    let token = ("API_TOKEN", "0123456789abcdef");
    assert_eq!(address(&[]), ("127.0.0.1:4010".into(), 0));
    assert_eq!(address(&[token]), ("0.0.0.0:4010".into(), 0));
    assert_eq!(address(&[token, ("API_BIND", "::1")]), ("[::1]:4010".into(), 0));
    assert_eq!(address(&[("API_BIND", "127.0.0.2")]), ("127.0.0.2:4010".into(), 0));
    assert_eq!(address(&[("API_BIND", "0.0.0.0")]), ("0.0.0.0:4010".into(), 1));
}

#[test]
fn certificate_and_key_come_together() {
    let folder = Folder::new("tls");
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = folder.file("cert.pem", &identity.cert.pem());
    let key = folder.file("key.pem", &identity.signing_key.serialize_pem());
    let told = parse(&[], &[("HTTPS_CERTFILE", &certificate)]).unwrap_err();
    assert_eq!(told, "default HTTPS_KEYFILE = \"\": HTTPS_CERTFILE is set: both or neither\n");
    let told = parse(&["--https-keyfile", &key], &[]).unwrap_err();
    assert_eq!(told, "default HTTPS_CERTFILE = \"\": HTTPS_KEYFILE is set: both or neither\n");
    assert!(
        parse(&[], &[("HTTPS_CERTFILE", &certificate), ("HTTPS_KEYFILE", &key)]).unwrap().ports.tls.is_some()
    );
    let folder_as_file = folder.0.to_str().unwrap();
    let told = parse(&[], &[("HTTPS_CERTFILE", folder_as_file), ("HTTPS_KEYFILE", &key)]).unwrap_err();
    assert_eq!(
        folder.hide(&told),
        "environment HTTPS_CERTFILE = \"DIR\": not a regular file; expected a file that can be read\n"
    );
}

#[test]
fn two_ports_cannot_be_the_same() {
    let told = parse(&["--api-http-port", "4000"], &[]).unwrap_err();
    assert_eq!(
        told,
        "flag --api-http-port = \"4000\": INBOUND_PORT is the same port: two ports cannot share one\n"
    );
    assert!(parse(&["--api-http-port", "0", "--inbound-port", "0"], &[]).is_ok());
    assert!(parse(&["--api-https-port", "4000"], &[]).is_ok(), "no certificate: never opened");
    assert!(parse(&["--inbound-bind", "127.0.0.2", "--api-http-port", "4000"], &[]).is_ok());
}

/// A test key, encrypted with the passphrase `right` (openssl pkcs8 -topk8 -v2 aes-256-cbc).
const LOCKED: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjqxwNzkB25dgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEH8DaOHV8rINrVZSbcu6gIkEQF6E
WV5ZyAFbHDN/Qy0Ch+CgRhsH0/o9Lu0rXhiIwq3i6CSVIGD2denI8ZjJLmr1z5MY
ujIUg5+A6QhqCzRiMDM=
-----END ENCRYPTED PRIVATE KEY-----
";

#[test]
fn an_identity_that_cannot_be_used_is_a_mistake_of_its_file() {
    let folder = Folder::new("identity");
    let identities = [(); 2].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
    let certificate = folder.file("cert.pem", &identities[0].cert.pem());
    let other_key = folder.file("key.pem", &identities[1].signing_key.serialize_pem());
    let nothing = folder.file("nothing.pem", "");
    let locked = folder.file("locked.pem", LOCKED);
    let name_of_mistake = |certificate: &str, key: &str, passphrase: &str| {
        let variables =
            [("HTTPS_CERTFILE", certificate), ("HTTPS_KEYFILE", key), ("HTTPS_KEYFILE_PASS", passphrase)];
        let told = parse(&[], &variables).unwrap_err();
        assert!(!told.contains("hidden"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        told.split([':', ' ']).nth(1).unwrap().to_owned()
    };
    assert_eq!(name_of_mistake(&nothing, &other_key, ""), "HTTPS_CERTFILE");
    assert_eq!(name_of_mistake(&certificate, &nothing, ""), "HTTPS_KEYFILE");
    assert_eq!(name_of_mistake(&certificate, &other_key, ""), "HTTPS_KEYFILE");
    assert_eq!(name_of_mistake(&certificate, &locked, ""), "HTTPS_KEYFILE_PASS");
    assert_eq!(name_of_mistake(&certificate, &locked, "hidden"), "HTTPS_KEYFILE_PASS");
    assert_eq!(name_of_mistake(&certificate, &locked, "right"), "HTTPS_KEYFILE", "of another certificate");
}

#[test]
fn a_key_that_cannot_be_used_is_a_mistake_and_is_not_shown() {
    let told = |variables: &[(&str, &str)]| parse(&[], variables).unwrap_err();
    let path = "names a file, which cannot be read: not a regular file";
    assert_eq!(told(&[("JWT_SECRET_KEY", "/etc")]), format!("environment JWT_SECRET_KEY: {path}\n"));
    let kind = "environment JWT_SECRET_KEY: the key is of another kind than ES256 in JWT_ALG needs\n";
    assert_eq!(told(&[("JWT_SECRET_KEY", "hidden"), ("JWT_ALG", "HS256,ES256")]), kind);
    let pem = "-----BEGIN PUBLIC KEY-----\nhidden\n-----END PUBLIC KEY-----";
    let pem = told(&[("JWT_SECRET_KEY", pem), ("JWT_ALG", "ES256")]);
    assert_eq!(
        pem,
        "environment JWT_SECRET_KEY: PEM: line 1: the block PUBLIC KEY is not Base64 as a whole: a part is missing\n"
    );
    let algorithm = told(&[("JWT_SECRET_KEY", "hidden"), ("JWT_ALG", "none")]);
    assert!(algorithm.starts_with("environment JWT_ALG = \"none\": expected "), "{algorithm}");
    assert_eq!(algorithm.lines().count(), 1, "a key is not blamed for a wrong algorithm: {algorithm}");
}

#[test]
fn f71_a_secret_that_begins_like_a_path_is_a_secret() {
    for secret in [
        "/hidden+Base64/secret==",
        "./hidden",
        "/etc/hostname/hidden",
        &format!("/{}", "hidden".repeat(2000)),
    ] {
        let settings = parse(&[], &[("JWT_SECRET_KEY", secret)]).expect("a secret");
        let warnings: Vec<_> =
            settings.warnings.iter().filter(|text| text.contains("JWT_SECRET_KEY")).collect();
        assert_eq!(warnings.len(), 1, "{:?}", settings.warnings);
        assert!(
            warnings[0].contains("JWT_SECRET_KEY_FILE names a file") && !warnings[0].contains("hidden"),
            "{warnings:?}"
        );
    }
    let folder = Folder::new("key-file");
    let file = folder.file("key", "secret\n");
    let settings = parse(&[], &[("JWT_SECRET_KEY_FILE", &file)]).expect("a file with a secret");
    assert!(!settings.warnings.iter().any(|text| text.contains("JWT_SECRET_KEY")), "{:?}", settings.warnings);
    let mistyped = parse(&[], &[("JWT_SECRET_KEY", "/hidden"), ("JWT_ALG", "RS256")]).unwrap_err();
    assert!(mistyped.ends_with("needs; it begins like a path, but there is no such file\n"), "{mistyped}");
    let both = parse(&[], &[("JWT_SECRET_KEY_FILE", &file), ("JWT_SECRET_KEY", "hidden")]).unwrap_err();
    assert!(both.ends_with("/key\": JWT_SECRET_KEY is set: one or the other\n"), "{both}");
    let missing = parse(&[], &[("JWT_SECRET_KEY_FILE", "/no/such/file")]).unwrap_err();
    assert!(missing.contains("JWT_SECRET_KEY_FILE = \"/no/such/file\": No such file"), "{missing}");
}

#[test]
fn f76_a_relative_path_is_told_as_it_was_tried() {
    let here = std::env::current_dir().expect("a folder");
    for name in ["PROXY_CONFIG_FILE", "EXTRACTORS", "HTTPS_CERTFILE", "HTTPS_KEYFILE", "JWT_SECRET_KEY_FILE"]
    {
        let told = parse(&[], &[(name, "proxy/none.json")]).unwrap_err();
        let tried = format!("{}: No such file or directory", here.join("proxy/none.json").display());
        let rig = "(RIG looked in its own folder priv for relative paths)";
        assert!(told.contains(&tried) && told.contains(rig), "{name}: {told}");
        let told = parse(&[], &[(name, "/none.json")]).unwrap_err();
        assert!(!told.contains("RIG looked"), "{name}: {told}");
    }
}

#[test]
fn key_and_extractors_may_come_from_files() {
    let folder = Folder::new("files");
    let key = folder.file("key", "secret\n");
    let good = r#"{"greeting":{"name":{"stable_field_index":0,"event":{"json_pointer":"/data/name"}}}}"#;
    let good = folder.file("good.json", good);
    assert!(parse(&[], &[("JWT_SECRET_KEY", &key), ("EXTRACTORS", &good)]).is_ok());
    let bad = folder.file("bad.json", r#"{"greeting":{"name":{"stable_field_index":0}}}"#);
    let told = folder.hide(&parse(&[], &[("EXTRACTORS", &bad)]).unwrap_err());
    let reason = "/greeting/name/event/json_pointer: expected a JSON Pointer";
    assert_eq!(told, format!("environment EXTRACTORS = \"DIR/bad.json\": {reason}\n"));
    for wrong in ["[]", "{", "DIR/none.json"] {
        let told = parse(&[], &[("EXTRACTORS", wrong)]).unwrap_err();
        assert!(told.starts_with(&format!("environment EXTRACTORS = {wrong:?}: ")), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn each_fault_of_a_definition_is_a_line_with_its_pointer() {
    let folder = Folder::new("apis");
    let endpoint = |regex: &str| format!(r#"{{"id": "e", "path_regex": {regex:?}, "method": "GET"}}"#);
    let api = |regex: &str, port: &str| {
        let versions = format!(r#"{{"default": {{"endpoints": [{}]}}}}"#, endpoint(regex));
        let proxy = format!(r#"{{"target_url": "http://127.0.0.1", "port": {port}}}"#);
        format!(r#"{{"id": "a", "name": "n", "version_data": {versions}, "proxy": {proxy}, "nmae": 1}}"#)
    };
    let good = folder.file("good.json", &format!("[{}]", api("/x", "80")));
    let settings = parse(&[], &[("PROXY_CONFIG_FILE", &good)]).unwrap();
    assert_eq!(settings.warnings, ["PROXY_CONFIG_FILE /0/nmae: unknown; did you mean name?"]);
    assert!(parse(&["--proxy-config-file", &format!(" [{}]", api("/x", "80"))], &[]).is_ok());
    let bad = folder.file("bad.json", &format!("[{}, {}]", api("/x", "\"80\""), api("(", "80")));
    let told = folder.hide(&parse(&[], &[("PROXY_CONFIG_FILE", &bad)]).unwrap_err());
    let lines: Vec<_> = told.lines().collect();
    let source = "environment PROXY_CONFIG_FILE = \"DIR/bad.json\": ";
    assert_eq!(lines[0], format!("{source}/0/proxy/port: must be integer"));
    assert_eq!(lines[1], format!("{source}/1/id: must be unique"));
    assert!(
        lines[2].starts_with(&format!("{source}/1/version_data/default/endpoints/0/path_regex: ")),
        "{told}"
    );
    assert_eq!(lines.len(), 3, "{told}");
    for (wrong, reason) in
        [("{}", "must be list"), ("[", "not JSON: EOF while parsing a list at line 1 column 1")]
    {
        let told = parse(&[], &[("PROXY_CONFIG_FILE", wrong)]).unwrap_err();
        assert_eq!(told, format!("environment PROXY_CONFIG_FILE = {wrong:?}: {reason}\n"));
    }
}

#[test]
fn requests_are_told_of_where_that_can_be_done() {
    let log =
        |places: &str| parse(&[], &[("REQUEST_LOG", places)]).map(|settings| settings.rooms.request_log);
    assert_eq!((log(""), log("console")), (Ok(false), Ok(true)));
    for places in ["console,", "konsole", "console;kafka"] {
        let told = log(places).unwrap_err();
        assert!(told.contains("expected console or kafka, or both"), "{told}");
    }
}

#[test]
fn traces_go_to_a_collector_where_there_is_one() {
    let (base, whole) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let spans = |variables: &[(&str, &str)]| parse(&[], variables).map(|settings| settings.rooms.spans);
    assert!(spans(&[]).unwrap().is_none());
    for (variables, endpoint) in [
        (&[(base, "http://otel:4318")][..], "http://otel:4318/v1/traces"),
        (&[(base, "https://otel/a/")], "https://otel/a/v1/traces"),
        (&[(whole, "http://otel/mine")], "http://otel/mine"),
        (&[(base, "http://otel"), (whole, "http://other/mine")], "http://other/mine"),
    ] {
        assert_eq!(spans(variables).unwrap().unwrap().endpoint, endpoint);
    }
    let more = [
        (base, "http://otel:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20test%3Dkey, x-tenant = b"),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_SERVICE_NAME", "edge"),
    ];
    let config = spans(&more).unwrap().unwrap();
    assert_eq!((&*config.headers["x-key"], &*config.headers["x-tenant"]), ("a test=key", "b"));
    assert_eq!(config.sampler, Sampler { parent_based: false, ratio: 0.25 });
    assert_eq!(config.attributes, [("service.name".to_owned(), "edge".to_owned())]);
    for wrong in [
        (base, "otel:4318"),
        (whole, "grpc://otel:4317"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x=%0a"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "NaN"),
    ] {
        let told = spans(&[wrong]).unwrap_err();
        assert!(told.contains(wrong.0), "{told}");
        assert!(!wrong.0.ends_with("HEADERS") || !told.contains(wrong.1), "{told}");
    }
}
