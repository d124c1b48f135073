//! The cookie that the nodes of a cluster share is replaced while they run.

use rig_tests::*;
use serde_json::json;

const OLD: &str = "a-test-cookie-of-thirty-two-bytes";
const NEW: &str = "another-test-cookie-of-32-bytes!!";

/// Starts a node again with these cookies.
fn restart(cluster: &mut Cluster, node: usize, (cookie, older): (&str, &str)) {
    cluster.set(node, "NODE_COOKIE", cookie);
    cluster.set(node, "NODE_COOKIE_OLD", older);
    cluster.stop(node);
    cluster.launch(node);
    cluster.await_ready_of(&[node]);
}

fn revoke(cluster: &Cluster, node: usize, session: &str) {
    let answer = cluster.revoke(node, session);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn nothing_is_lost_with_the_older_cookie() {
    let mut cluster = Cluster::start(ClusterOptions { lease: "3s", ..ClusterOptions::default() });
    revoke(&cluster, 0, "before");
    revoke(&cluster, 0, "lifted");
    let list = json!([definition("x", "one")]).to_string();
    let saved = cluster.gateway(0).ask_internal(&Request::put_json("/v4/apis", list));
    assert_eq!(saved.status, 200, "{}", saved.text());
    for node in 0..3 {
        restart(&mut cluster, node, (OLD, NEW));
    }
    revoke(&cluster, 1, "between");
    restart(&mut cluster, 0, (NEW, OLD));
    // By nodes with either cookie in the first place.
    revoke(&cluster, 0, "by-the-first");
    revoke(&cluster, 2, "by-the-last");
    let lifted = cluster.gateway(0).ask_internal(&Request::new("DELETE", "/v4/revocations/lifted"));
    assert_eq!(lifted.status, 204, "{}", lifted.text());
    for node in [1, 2] {
        restart(&mut cluster, node, (NEW, OLD));
        eventually("it says that it is done", || {
            cluster.gateway(node).log().contains("everything is stored under NODE_COOKIE").then_some(())
        });
    }
    for node in 0..3 {
        restart(&mut cluster, node, (NEW, ""));
    }

    let empty = Folder::new();
    cluster.set(1, "DATA_DIR", &empty.join("data"));
    restart(&mut cluster, 1, (NEW, ""));
    for session in ["before", "between", "by-the-first", "by-the-last"] {
        assert_eq!(cluster.gateway(1).status_of(session), 400, "{session}");
    }
    assert_eq!(cluster.gateway(1).status_of("lifted"), 200);
    assert_eq!(api_names(cluster.gateway(1)), ["x=one"]);
    // An id that was stored under either cookie can be changed.
    for session in ["before", "by-the-last"] {
        let path = format!("/v4/revocations/{session}");
        let lifted = cluster.gateway(1).ask_internal(&Request::new("DELETE", path));
        assert_eq!(lifted.status, 204, "{}", lifted.text());
        assert_eq!(cluster.gateway(0).status_of(session), 200, "{session}");
    }
}
