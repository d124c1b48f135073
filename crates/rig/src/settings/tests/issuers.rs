//! Settings of identity providers.

use auth::{Audience, KeysFrom, OnWithdrawn};
use identity::LogoutEnds;

use super::*;

/// Returns the mistakes of `ISSUERS`; empty if there is none.
fn mistakes(json: &str) -> String {
    parse(&[], &[("ISSUERS", json)]).err().unwrap_or_default()
}

/// Returns a list of one issuer with these further members.
fn with(members: &str) -> String {
    format!(r#"[{{"id": "kc", "issuer": "https://id.example", "audience": ["gateway"]{members}}}]"#)
}

fn issuers(variables: &[(&str, &str)]) -> IssuerSettings {
    parse(&[], variables).unwrap().rooms.issuers
}

#[test]
fn an_issuer_has_defaults_and_three_members_that_must_be_there() {
    let read = issuers(&[("ISSUERS", &with(""))]);
    let config = &read.issuers.iter().next().unwrap().config;
    assert_eq!((&*config.id, &*config.issuer), ("kc", "https://id.example"));
    assert_eq!(config.audience, Audience::OneOf(vec!["gateway".to_owned()]));
    assert_eq!((&*config.audience_at, &config.keys), ("/aud", &KeysFrom::Discovery));
    assert_eq!((config.leeway, config.max_token_life), (secs(5), secs(86_400)));
    assert_eq!((config.keys_refresh, config.keys_max_stale), (secs(300), secs(3600)));
    assert_eq!(config.on_withdrawn, OnWithdrawn::Disconnect);
    assert!(!read.feeds[0].has_logout() && !read.feeds[0].has_events() && !read.report_internally);
    assert_eq!(
        mistakes("[{}]"),
        "environment issuers[0].id: missing; expected 1 to 32 of the characters a-z 0-9 -\n\
         environment issuers[0].issuer: missing; expected an https:// URL, or http:// of this host\n\
         environment issuers[0].audience: missing; expected a list of the audiences (aud) of which a token must name one; or \"any\"\n"
    );
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_file_has_an_array_of_tables() {
    let folder = Folder::new("issuers");
    let toml = r#"
[[issuers]]
id = "kc"
issuer = "https://id.example/realms/main"
aliases = ["id.example"]
jwks_uri = "https://keys.example/jwks?v=1"
audience = ["gateway", "other"]
audience_at = "/azp"
required = { "/token_use" = "access", "/n" = 1, "/b" = true }
algorithms = ["RS256", "EdDSA"]
types = ["application/AT+jwt"]
session_field = "/sid"
sid_at = "/https:~1~1ns~1sid"
leeway = 0
max_token_life = "366d"
keys_refresh = "24h"
keys_max_stale = "0s"
on_withdrawn = "keep"
logout_ends = "user"
client_ids = ["gateway"]

[[issuers]]
id = "second"
issuer = "http://127.0.0.1:9/"
audience = "any"
"#;
    let file = folder.file("rig.toml", &format!("host = \"h\"\n{toml}"));
    let read = issuers(&[("RIG_CONFIG", &file)]);
    let configs: Vec<_> = read.issuers.iter().map(|issuer| &issuer.config).collect();
    let first = configs[0];
    assert_eq!(first.aliases, ["id.example".into()]);
    assert_eq!(first.keys, KeysFrom::Uri("https://keys.example/jwks?v=1".parse().unwrap()));
    assert_eq!(first.audience_at, "/azp");
    assert_eq!(first.required.len(), 3);
    assert!(first.required.contains(&("/token_use".to_owned(), "access".into())));
    assert_eq!(first.algorithms, "RS256,EdDSA".parse().unwrap());
    assert_eq!(first.types, ["application/AT+jwt"]);
    assert_eq!((first.leeway, first.max_token_life), (Duration::ZERO, secs(366 * 86_400)));
    assert_eq!((first.keys_refresh, first.keys_max_stale), (secs(86_400), Duration::ZERO));
    assert_eq!(first.on_withdrawn, OnWithdrawn::Keep);
    assert_eq!((&*configs[1].issuer, &configs[1].audience), ("http://127.0.0.1:9/", &Audience::Any));
    let feed = &read.feeds[0];
    assert_eq!((&*feed.issuer_id, &feed.client_ids[..]), ("kc", &["gateway".to_owned()][..]));
    assert_eq!((feed.logout_ends, &*feed.session_field), (LogoutEnds::User, "/sid"));
    assert_eq!(feed.aliases, first.aliases);
    assert_eq!((feed.max_token_life, feed.leeway), (first.max_token_life, first.leeway));
    assert_eq!((&*feed.sid_at, &*read.feeds[1].sid_at), ("/https:~1~1ns~1sid", "/sid"));

    // The same in a file of its own, in the environment and in the settings file.
    let own = folder.file("issuers.toml", toml);
    let in_settings = folder.file("other.toml", &format!("issuers = {own:?}"));
    for variables in [("ISSUERS", own.as_str()), ("RIG_CONFIG", in_settings.as_str())] {
        assert_eq!(issuers(&[variables]).issuers.iter().count(), 2, "{variables:?}");
    }
    let json = folder.file("issuers.json", &with(""));
    assert_eq!(issuers(&[("ISSUERS", &json)]).issuers.iter().count(), 1);
}

#[test]
fn one_issuer_fits_the_environment() {
    let url = ("OIDC_ISSUER", "https://id.example/");
    let read =
        issuers(&[url, ("OIDC_AUDIENCE", "a, b"), ("OIDC_SESSION_FIELD", "/sid"), ("OIDC_CLIENT_ID", "c")]);
    let config = &read.issuers.iter().next().unwrap().config;
    assert_eq!((&*config.id, &*config.issuer), ("oidc", "https://id.example/"));
    assert_eq!(config.audience, Audience::OneOf(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((&*read.feeds[0].client_ids[0], &*read.feeds[0].session_field), ("c", "/sid"));
    let any = issuers(&[url, ("OIDC_AUDIENCE", "any")]);
    assert_eq!(any.issuers.iter().next().unwrap().config.audience, Audience::Any);
    assert!(!any.feeds[0].has_logout());
    // Beside others.
    let both = issuers(&[("ISSUERS", &with("")), url, ("OIDC_AUDIENCE", "any")]);
    assert_eq!(both.issuers.iter().count(), 2);

    let told = |variables: &[(&str, &str)]| parse(&[], variables).err().unwrap_or_default();
    assert!(told(&[url]).starts_with("default OIDC_AUDIENCE = \"\": missing"), "{}", told(&[url]));
    for name in ["OIDC_AUDIENCE", "OIDC_SESSION_FIELD", "OIDC_CLIENT_ID"] {
        let told = told(&[(name, "/x")]);
        assert_eq!(told, format!("environment {name} = \"/x\": has no effect without OIDC_ISSUER\n"));
    }
    for (name, wrong) in
        [("OIDC_ISSUER", "http://id.example"), ("OIDC_AUDIENCE", "a,any"), ("OIDC_CLIENT_ID", "a,,b")]
    {
        let others = [url, ("OIDC_AUDIENCE", "a")];
        let mut variables: Vec<_> = others.into_iter().filter(|(other, _)| *other != name).collect();
        variables.push((name, wrong));
        let told = told(&variables);
        assert!(told.starts_with(&format!("environment {name} = {wrong:?}: ")), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let same = told(&[
        ("ISSUERS", &with("").replace("kc", "oidc")),
        ("OIDC_ISSUER", "https://id.example"),
        ("OIDC_AUDIENCE", "a"),
    ]);
    assert!(
        same.contains("its id is that of issuers[0].id")
            && same.contains("its issuer is that of issuers[0].issuer"),
        "{same}"
    );
}

#[test]
fn every_mistake_of_every_issuer_is_told_at_once() {
    let folder = Folder::new("issuer-mistakes");
    let empty = folder.file("empty.pem", "");
    let text = folder.file("text.pem", "hidden");
    let toml = format!(
        r#"
[[issuers]]
id = "Kc"
issuer = "http://id.example"
audience = []
audience_at = "aud"
aliases = [1]
algorithms = ["RS256", "HS256", "none"]
types = "JWT"
required = {{ "token_use" = "access", "/b" = ["x"] }}
leeway = "6m"
max_token_life = "59s"
keys_refresh = -1
keys_max_stale = "8d"
session_field = "~"
on_withdrawn = "Keep"
logout_ends = true
client_ids = [""]
ca_file = {empty:?}
insecure_http = "no"
client_secret = "hidden"
audiense = 1

[[issuers]]
id = "b"
issuer = "https://id.example"
aliases = ["other", "https://id.example"]
audience = ["any", "gateway"]
jwks_uri = "https://me:hidden@id.example"
jwks_file = "/no/such/file"
ca_file = {text:?}

[[issuers]]
id = "b"
issuer = "other"
audience = "any"
jwks_uri = "https://id.example/jwks"
"#
    );
    let file = folder.file("rig.toml", &toml);
    let told = folder.hide(&parse(&["--config", &file], &[]).unwrap_err());
    assert!(!told.contains("hidden"), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn a_list_that_cannot_be_read_is_a_mistake_that_shows_no_table() {
    for (json, reason) in [
        (
            r#"{"id": "hidden"}"#,
            "expected a JSON list of issuers, or the path of a TOML or JSON file with one",
        ),
        (r#"[{"id": "hidden""#, "not JSON: EOF while parsing an object at line 1 column 16"),
        (r#"[{"id": "hidden", "id": "kc"}]"#, "/0/id: given more than once (line 1, column 22)"),
    ] {
        assert_eq!(mistakes(json), format!("environment ISSUERS: {reason}\n"));
    }
    assert_eq!(mistakes(r#"[7, "x", null]"#).lines().count(), 3);
    assert!(
        mistakes(r#"[7]"#).starts_with("environment issuers[0] = \"7\": expected a table"),
        "{}",
        mistakes("[7]")
    );

    let folder = Folder::new("issuer-files");
    for (name, content, expected) in [
        ("a.toml", "[[issuers]]\nid = hidden", "file DIR/a.toml line 2: not TOML: "),
        ("b.toml", "[[issuer]]", "file DIR/b.toml issuers: missing: [[issuers]]"),
        (
            "c.toml",
            "host = \"h\"\n[[issuers]]",
            "file DIR/c.toml host: unknown key; this file contains issuers only",
        ),
        ("d.json", "[", "file DIR/d.json: not JSON: "),
        ("e.json", "[{\"id\": 1}]", "file DIR/e.json issuers[0].id = \"1\": expected 1 to 32"),
        ("f.toml", "[issuers]\nid = 1", "environment ISSUERS = \"DIR/f.toml\": expected a JSON list"),
    ] {
        let told = folder.hide(&mistakes(&folder.file(name, content)));
        assert!(told.starts_with(expected) && !told.contains("hidden"), "{told}");
    }
    assert!(mistakes("/no/such.toml").starts_with("environment ISSUERS = \"/no/such.toml\": No such file"));
}

#[test]
fn there_are_at_most_32_issuers() {
    let list = |count: usize| {
        let one = |n| format!(r#"{{"id": "i{n}", "issuer": "https://id{n}.example", "audience": "any"}}"#);
        format!("[{}]", (0..count).map(one).collect::<Vec<_>>().join(","))
    };
    assert_eq!(mistakes(&list(32)), "");
    assert_eq!(mistakes(&list(33)), "environment ISSUERS: 33 tables; at most 32 are allowed\n");
}

#[test]
fn what_providers_select_by_needs_no_further_setting() {
    let members = r#", "client_ids": ["c"], "events": {"audience": ["a"], "email": "/email"}"#;
    let settings = parse(&[], &[("ISSUERS", &with(members)), ("REVOCATION_CLAIMS", "none")]).unwrap();
    for claim in ["/sub", "/sid", "/email"] {
        let value = "x".parse().unwrap();
        let selector = settings.stored.session.selector(Some("https://id.example"), claim, value);
        assert!(selector.is_ok(), "{claim}: {selector:?}");
    }
}

#[test]
fn a_public_url_is_the_audience_of_revocation_assertions() {
    let read = issuers(&[
        ("PUBLIC_URL", "https://gw.example/base/"),
        ("ISSUERS", &with("")),
        ("OIDC_ISSUER", "https://other.example"),
        ("OIDC_AUDIENCE", "any"),
    ]);
    let urls: Vec<_> = read.feeds.iter().map(|feed| feed.global_revocation_url().unwrap()).collect();
    let url = |id: &str| format!("https://gw.example/base/_rig/v1/issuers/{id}/global-token-revocation");
    assert_eq!(urls, [url("kc"), url("oidc")]);
}

#[test]
fn a_session_is_named_as_in_tokens_of_the_static_key_unless_it_is_said() {
    let read = issuers(&[
        ("JWT_SESSION_FIELD", "/session"),
        ("ISSUERS", &with("")),
        ("OIDC_ISSUER", "https://other.example"),
        ("OIDC_AUDIENCE", "any"),
    ]);
    let fields: Vec<_> = read.feeds.iter().map(|feed| &*feed.session_field).collect();
    assert_eq!(fields, ["/session"; 2]);
}

#[test]
fn an_issuer_may_have_authorities_of_its_own_and_no_tls() {
    let folder = Folder::new("issuer-authorities");
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = folder.file("ca.pem", &identity.cert.pem());
    let members = format!(r#", "ca_file": {file:?}, "insecure_http": true"#);
    let json = with(&members).replace("https://id.example", "http://id.example");
    let read = issuers(&[("ISSUERS", &json)]);
    let config = &read.issuers.iter().next().unwrap().config;
    assert_eq!(config.ca_file.as_deref(), Some(file.as_ref()));
    assert!(config.insecure_http);
    assert!(!issuers(&[("ISSUERS", &with(""))]).issuers.iter().next().unwrap().config.insecure_http);
}

#[test]
fn each_kind_of_subject_has_its_claim() {
    let kinds = ["email", "opaque", "account", "phone_number", "session", "device", "user", "tenant"];
    let members: Vec<_> = kinds.iter().map(|kind| format!(r#""{kind}": "/{kind}""#)).collect();
    let events = format!(r#", "events": {{"audience": ["a"], {}}}"#, members.join(", "));
    let read = issuers(&[("ISSUERS", &with(&events))]);
    let events = read.feeds[0].events.as_ref().unwrap();
    let claims = [
        &events.email,
        &events.opaque,
        &events.account,
        &events.phone_number,
        &events.session,
        &events.device,
        &events.user,
        &events.tenant,
    ];
    for (kind, claim) in kinds.into_iter().zip(claims) {
        assert_eq!(claim.as_deref(), Some(&*format!("/{kind}")));
    }
}

#[test]
fn a_public_url_is_one_that_providers_can_use() {
    let told = |url: &str| parse(&[], &[("PUBLIC_URL", url)]).err().unwrap_or_default();
    for good in ["https://gw.example", "https://gw.example/base/", "http://localhost:4000"] {
        assert_eq!(told(good), "");
    }
    for wrong in ["gw.example", "http://gw.example", "https://gw.example/?a", "https://u:p@gw.example"] {
        assert!(told(wrong).contains("PUBLIC_URL"), "{wrong}");
    }
}

#[test]
fn an_issuer_of_the_static_key_that_is_configured_is_a_warning() {
    let variables = [
        ("JWT_SECRET_KEY", "a-secret-of-sixteen"),
        ("JWT_ISSUER", "https://id.example"),
        ("ISSUERS", &with("")),
    ];
    let warnings = parse(&[], &variables).unwrap().warnings;
    assert!(warnings.iter().any(|text| text.contains("JWT_ISSUER")), "{warnings:?}");
    let others = [variables[0], ("JWT_ISSUER", "https://other.example"), variables[2]];
    assert_eq!(parse(&[], &others).unwrap().warnings, [""; 0]);
}

#[test]
fn events_have_an_audience_and_say_what_they_select() {
    let folder = Folder::new("issuer-events");
    let secret = folder.file("secret", "hidden-in-a-file");
    let toml = |events: &str| {
        format!(
            r#"
[[issuers]]
id = "kc"
issuer = "https://id.example"
audience = "any"
[issuers.events]
{events}

[[issuers]]
id = "other"
issuer = "https://other.example"
audience = "any"
"#
        )
    };
    let good = format!(
        r#"
audience = ["https://gw.example"]
subject_issuers = ["other"]
email = "/email"
user = "/sub"
critical = ["tenant"]
actions = {{ session-revoked = "ignore" }}
verification_state = "s"
bearer_file = {secret:?}
poll_url = "https://id.example/poll"
poll_interval = "10s"
poll_token_url = "https://id.example/token"
poll_client_id = "gw"
poll_client_secret_file = {secret:?}
poll_scope = "ssf.read"
"#
    );
    let file = folder.file("good.toml", &toml(&good));
    let read = issuers(&[("ISSUERS", &file)]);
    let events = read.feeds[0].events.as_ref().unwrap();
    assert_eq!((&*events.audience[0], events.email.as_deref()), ("https://gw.example", Some("/email")));
    assert_eq!(&*events.subject_issuers[0].issuer, "https://other.example");
    assert_eq!(events.actions.len(), 1);
    let poll = events.poll.as_ref().unwrap();
    assert_eq!((&*poll.url, poll.interval), ("https://id.example/poll", secs(10)));
    assert_eq!((&*poll.token_url, &*poll.client_id), ("https://id.example/token", "gw"));
    assert_eq!(
        (poll.client_secret_file.as_path(), poll.scope.as_deref()),
        (secret.as_ref(), Some("ssf.read"))
    );
    assert_eq!(
        (events.verification_state.as_deref(), &events.critical[..]),
        (Some("s"), &["tenant".to_owned()][..])
    );
    assert_eq!(events.bearer_file.as_deref(), Some(secret.as_ref()));
    assert!(read.feeds[1].events.is_none());

    let without = folder.file("without.toml", &toml(&format!("bearer_file = {secret:?}")));
    let told = folder.hide(&parse(&[], &[("ISSUERS", &without)]).unwrap_err());
    assert!(told.contains("issuers[0].events.audience: missing: the audience (aud) of the events"), "{told}");

    let wrong = folder.file(
        "wrong.toml",
        &toml(
            r#"
subject_issuers = ["kc", "none"]
email = "email"
actions = { session-revoked = "kill", no-event = "revoke" }
bearer_file = "hidden-secret"
poll_url = "http://id.example/poll"
poll_client_secret = "hidden"
poll_interval = "0s"
"#,
        ),
    );
    let told = folder.hide(&parse(&[], &[("ISSUERS", &wrong)]).unwrap_err());
    assert!(!told.contains("hidden"), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn an_issuer_is_asked_about_its_tokens_where_that_is_set() {
    let folder = Folder::new("asked");
    let secret = folder.file("secret", "a-test-secret");
    let members = format!(
        r#", "introspection": {{"prefix": "ory_at_", "url": "https://id.example/introspect",
            "client_id": "rig", "client_secret_file": {secret:?}}},
            "status_lists": ["https://id.example/lists/", "http://localhost:9/"]"#
    );
    let read = issuers(&[("ISSUERS", &with(&members))]);
    let config = &read.issuers.iter().next().unwrap().config;
    let introspection = config.introspection.as_ref().unwrap();
    assert_eq!((&*introspection.prefix, &*introspection.client_id), ("ory_at_", "rig"));
    assert_eq!(introspection.url, "https://id.example/introspect");
    let lists = config.status_lists.as_ref().unwrap();
    assert_eq!(lists.prefixes, ["https://id.example/lists/", "http://localhost:9/"]);

    assert_eq!(
        mistakes(&with(r#", "introspection": {"prefix": "a b", "clientid": 1}, "status_lists": "x""#)),
        "environment issuers[0].introspection.prefix = \"a b\": expected what tokens begin with: at most 64 visible ASCII characters; empty for all\n\
         environment issuers[0].introspection.url: missing; expected an https:// URL, or http:// of this host\n\
         environment issuers[0].introspection.client_id: missing; expected a text of 1 to 1024 bytes without control characters\n\
         environment issuers[0].introspection.client_secret_file: missing: the file of the client's secret\n\
         environment issuers[0].introspection.clientid: unknown member; did you mean client_id?\n\
         environment issuers[0].status_lists = \"x\": expected a list of 1 to 16, each an https:// URL, or http:// of this host, that ends in /, without query\n"
    );
    for wrong in
        ["https://id.example", "https://id.example/lists", "https://id.example/?a=/", "http://id.example/"]
    {
        let list = format!(r#", "status_lists": [{wrong:?}]"#);
        assert!(mistakes(&with(&list)).contains("issuers[0].status_lists[0]"), "{wrong}");
    }
}

#[test]
fn the_opaque_tokens_of_two_issuers_begin_differently() {
    let folder = Folder::new("prefixes");
    let secret = folder.file("secret", "a-test-secret");
    let issuer = |id: &str, prefix: &str| {
        format!(
            r#"{{"id": "{id}", "issuer": "https://{id}.example", "audience": "any", "introspection":
                {{{prefix} "url": "https://{id}.example/i", "client_id": "rig", "client_secret_file": {secret:?}}}}}"#
        )
    };
    let both = |a: &str, b: &str| format!("[{},{}]", issuer("a", a), issuer("b", b));
    assert_eq!(mistakes(&both(r#""prefix": "ory_","#, "")), "");
    assert_eq!(
        mistakes(&both("", r#""prefix": "","#)),
        "environment issuers[1].introspection.prefix: the same as issuers[0].introspection.prefix\n"
    );
}
