//! Settings of a cluster.

use super::kind::ValueKind;
use super::*;

const COOKIE: (&str, &str) = ("NODE_COOKIE", "0123456789abcdef0123456789abcdef");
const NATS: (&str, &str) = ("CLUSTER_NATS", "nats://127.0.0.1:4222");

/// Returns the mistakes; empty if there is none.
fn mistakes(variables: &[(&str, &str)]) -> String {
    parse(&[], variables).err().unwrap_or_default()
}

#[test]
fn a_node_is_alone_unless_nats_is_named() {
    assert!(parse(&[], &[]).unwrap().cluster.is_none());
    let settings = parse(&[], &[NATS, COOKIE]).unwrap();
    assert_eq!(settings.warnings, [""; 0]);
    let cluster = settings.cluster.unwrap();
    assert_eq!((&cluster.nats.cluster[..], cluster.nats.replicas), ("rig", 3));
    assert_eq!(cluster.nats.access.servers, ["nats://127.0.0.1:4222"]);
    assert_eq!(cluster.node, None);
    assert_eq!(cluster.hold, Duration::from_secs(10));
    assert_eq!(cluster.wait, Duration::from_millis(16_030));
}

#[test]
fn a_cluster_needs_a_disk_and_a_long_cookie() {
    assert!(mistakes(&[NATS, COOKIE, ("DATA_DIR", "memory")]).contains("DATA_DIR"));
    assert!(mistakes(&[NATS]).contains("NODE_COOKIE"));
    let told = mistakes(&[NATS, ("NODE_COOKIE", "short-and-secret")]);
    assert!(told.contains("environment NODE_COOKIE: ") && !told.contains("short"), "{told}");
    assert!(mistakes(&[NATS, COOKIE, ("NODE_COOKIE_OLD", "short")]).contains("NODE_COOKIE_OLD"));
    let told = mistakes(&[NATS, COOKIE, ("NODE_COOKIE_OLD", COOKIE.1)]);
    assert!(told.contains("NODE_COOKIE_OLD: the same as NODE_COOKIE") && !told.contains(COOKIE.1), "{told}");
    // Without a cluster, both are as before.
    assert_eq!(mistakes(&[("DATA_DIR", "memory"), ("NODE_COOKIE", "short")]), "");
}

#[test]
fn several_nodes_without_nats_are_a_mistake_unless_they_are_meant_to_be_alone() {
    for name in ["DISCOVERY_TYPE", "DNS_NAME", "NODE_HOST"] {
        let told = mistakes(&[(name, "x")]);
        assert!(told.contains("CLUSTER=single") && told.contains(name), "{told}");
        assert_eq!(mistakes(&[(name, "x"), ("CLUSTER", "single")]), "");
        assert_eq!(mistakes(&[(name, "x"), NATS, COOKIE]), "");
    }
    let folder = Folder::new("of-a-cluster");
    let file = folder.file("some", "x");
    for setting in table::of_cluster() {
        let value = match (setting.kind, setting.default) {
            (ValueKind::File, _) => &file,
            (ValueKind::Time { .. }, "") => "10s",
            (_, "") => COOKIE.1,
            (_, default) => default,
        };
        let told = mistakes(&[(setting.name, value)]);
        assert!(told.contains(&format!("missing, but {} is set", setting.name)), "{told}");
        assert!(!mistakes(&[(setting.name, "")]).contains("missing, but"), "{}", setting.name);
    }
    assert!(table::of_cluster().count() > 15);
    assert!(mistakes(&[("CLUSTER", "several")]).contains("expected single"));
}

#[test]
fn a_short_lease_is_a_warning_and_a_shorter_one_a_mistake() {
    let warnings = |lease| parse(&[], &[NATS, COOKIE, ("CLUSTER_LEASE", lease)]).unwrap().warnings.join("\n");
    assert_eq!(warnings("12s"), "");
    assert!(warnings("11s").contains("CLUSTER_LEASE"));
    assert!(mistakes(&[NATS, COOKIE, ("CLUSTER_LEASE", "2999ms")]).contains("CLUSTER_LEASE"));
}

#[test]
fn servers_on_other_hosts_need_tls() {
    let server = |server| mistakes(&[("CLUSTER_NATS", server), COOKIE]);
    assert_eq!(server("tls://nats-1:4222,tls://nats-2:4222"), "");
    assert!(server("tls://nats-1:4222,nats://nats-2:4222").contains("CLUSTER_INSECURE"));
    assert_eq!(mistakes(&[("CLUSTER_NATS", "nats://n:1"), COOKIE, ("CLUSTER_INSECURE", "true")]), "");
    assert!(server("nats://127.0.0.1:1,,").ends_with(": an item of the list of servers is empty\n"));
    let told = server("nats://127.0.0.1:1,nats://me:hidden@127.0.0.1:2");
    assert!(told.contains("CLUSTER_NATS") && !told.contains("hidden"), "{told}");
}

#[test]
fn there_is_one_way_to_show_who_one_is() {
    let folder = Folder::new("nats-credentials");
    let file = folder.file("creds", "x");
    let with = |others: &[(&str, &str)]| mistakes(&[&[NATS, COOKIE], others].concat());
    let password = [("CLUSTER_NATS_USER", "u"), ("CLUSTER_NATS_PASSWORD", "hidden")];
    assert_eq!(with(&password), "");
    assert_eq!(with(&[("CLUSTER_NATS_CREDS", &file)]), "");
    let empty = folder.file("empty", "");
    for name in ["CREDS", "NKEY", "CA", "CERT", "KEY"].map(|name| format!("CLUSTER_NATS_{name}")) {
        let told = with(&[(&name, &empty)]);
        assert!(told.contains(&name) && told.contains(": the file is empty"), "{told}");
    }
    assert!(with(&password[..1]).contains("CLUSTER_NATS_PASSWORD"));
    assert!(with(&password[1..]).contains("CLUSTER_NATS_USER"));
    assert!(
        with(&[("CLUSTER_NATS_CREDS", &file), ("CLUSTER_NATS_NKEY", &file)]).contains("CLUSTER_NATS_NKEY")
    );
    let both = with(&[password[0], password[1], ("CLUSTER_NATS_TOKEN", "hidden")]);
    assert!(both.contains("CLUSTER_NATS_TOKEN") && !both.contains("hidden"), "{both}");
    assert!(with(&[("CLUSTER_NATS_CERT", &file)]).contains("CLUSTER_NATS_KEY"));
    assert!(with(&[("CLUSTER_NATS_KEY", &file)]).contains("CLUSTER_NATS_CERT"));
}
