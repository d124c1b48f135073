//! Settings of reports of revocations.

use journal::Outlet;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const URL: &str = "REVOCATION_HOOK_URL";
const FILE: &str = "REVOCATION_HOOK_SECRET_FILE";

/// Returns the mistakes; empty if there is none.
fn mistakes(variables: &[(&str, &str)]) -> String {
    parse(&[], variables).err().unwrap_or_default()
}

#[test]
fn revocations_are_reported_where_it_is_said() {
    let folder = Folder::new("hook");
    let file = folder.file("secret", &format!("{SECRET}\n"));
    let settings = parse(&[], &[]).unwrap();
    assert!(settings.reports.hook.is_none() && settings.reports.topic.is_none());
    assert_eq!(settings.stored.data.unwrap().outlets, []);
    let hook = [(URL, "https://hooks.example/x"), (FILE, &*file)];
    let settings = parse(&[], &hook).unwrap();
    assert_eq!(settings.reports.hook.unwrap().url.authority(), "hooks.example");
    assert_eq!(settings.stored.data.unwrap().outlets, [Outlet::Hook]);
    let settings = parse(&[], &[&hook[..], &[("DATA_DIR", "memory")]].concat()).unwrap();
    assert!(settings.stored.data.is_none());
    assert_eq!(settings.stored.outlets, [Outlet::Hook]);
}

#[test]
fn mistakes_of_the_web_hook_name_their_setting_and_show_no_secret() {
    let folder = Folder::new("hook-mistakes");
    let file = folder.file("secret", SECRET);
    let url = "https://hooks.example/path";
    for (variables, reason) in [
        (&[(URL, url)][..], "missing, although REVOCATION_HOOK_URL is set"),
        (&[(FILE, &*file)], "missing, although REVOCATION_HOOK_SECRET_FILE is set"),
        (&[(URL, "http://hooks.example/path"), (FILE, &file)], "http to another machine"),
        (&[(URL, "https://me:hidden@hooks.example/path"), (FILE, &file)], "contains credentials"),
        (&[(URL, url), (FILE, "/nowhere/at/all")], "No such file"),
        (&[(URL, url), (FILE, &folder.file("empty", ""))], "the file is empty"),
        (&[(URL, url), (FILE, &folder.file("blank", "\n\n"))], "missing: a line with a secret"),
        (
            &[(URL, url), (FILE, &folder.file("bare", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))],
            "line 1: expected whsec_",
        ),
        (&[(URL, url), (FILE, &folder.file("three", &format!("{SECRET}\n{SECRET}\n{SECRET}")))], "3 secrets"),
        (&[(URL, url), (FILE, &folder.file("binary", "whsec_\u{fffd}"))], "line 1: not Base64"),
    ] {
        let told = mistakes(variables);
        assert!(told.contains(reason), "{told}");
        assert!(told.contains("REVOCATION_HOOK_"), "{told}");
        for secret in ["hidden", "/path", "MfKQ"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}

#[test]
fn the_url_is_not_listed_with_the_settings() {
    let given = gather(&[], &environment(&[(URL, "https://hooks.example/services/T0/B0/x")]));
    let listed = given.to_string();
    assert!(listed.contains("REVOCATION_HOOK_URL = set, not shown") && !listed.contains("T0"), "{listed}");
}

#[test]
#[cfg(feature = "nats")]
fn a_topic_is_one_of_a_broker_that_is_used() {
    let nats = ("NATS_SERVERS", "localhost");
    let topic = |text| parse(&[], &[nats, ("REVOCATION_TOPIC", text)]);
    let settings = topic("nats:revocations.out").unwrap();
    let topic_of = settings.reports.topic.unwrap();
    assert_eq!((topic_of.broker.as_str(), &*topic_of.topic), ("nats", "revocations.out"));
    assert_eq!(settings.stored.data.unwrap().outlets, [Outlet::Topic]);
    for wrong in
        ["revocations", "nats:", "NATS:a", "amqp:a", "nats:a b", "nats:a.*", "nats:>", "nats:a..b", "nats:.a"]
    {
        let told = topic(wrong).err().unwrap_or_default();
        assert!(
            told.contains("REVOCATION_TOPIC") && told.contains("as in kafka:revocations"),
            "{wrong}: {told}"
        );
    }
    let long = format!("nats:{}", "a".repeat(250));
    assert!(topic(&long).is_err() && topic(&long[..long.len() - 1]).is_ok());
    let told = mistakes(&[("REVOCATION_TOPIC", "nats:a")]);
    assert!(told.contains("nats is not configured, or not built in"), "{told}");
}
