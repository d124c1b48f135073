//! The definitions of APIs of three nodes: which serve them, and which cannot.

use rig_tests::*;
use serde_json::{Value, json};

/// Puts definitions at a node, in place of a revision.
fn put(cluster: &Cluster, node: usize, list: &Value, revision: Option<u64>) -> Response {
    let query = revision.map(|revision| format!("?revision={revision}")).unwrap_or_default();
    let request = Request::put_json(format!("/v4/apis{query}"), list.to_string());
    cluster.gateway(node).ask_internal(&request)
}

fn revision(cluster: &Cluster, node: usize) -> u64 {
    let list = cluster.gateway(node).ask_internal(&Request::get("/v4/apis"));
    list.header("rig-revision").and_then(|text| text.parse().ok()).expect("a revision")
}

/// Returns the state of each node.
fn states(answer: &Value) -> Vec<&str> {
    answer["nodes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|node| node["state"].as_str().expect("a text"))
        .collect()
}

#[test]
fn an_answer_says_which_nodes_serve_the_definitions() {
    let mut cluster = Cluster::prepare(ClusterOptions::default());
    let upstream = Upstream::start();
    let host = upstream.address().ip().to_string();
    for node in 0..3 {
        if node != 2 {
            cluster.set(node, "SERVICE_HOST", &host);
        }
        cluster.launch(node);
    }
    cluster.await_ready();
    let endpoints = json!([{"id": "e", "path_regex": "/echo", "method": "GET"}]);
    let plain = upstream.api("svc", &endpoints);
    let answer = put(&cluster, 1, &json!([plain]), None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let first = answer.json();
    assert_eq!((&first["cluster"], states(&first)), (&json!("complete"), vec!["served"; 3]), "{first}");
    for node in 0..3 {
        assert_eq!(cluster.gateway(node).ask(&Request::get("/echo")).status, 200, "node {node}");
        assert_eq!(json!(revision(&cluster, node)), first["revision"], "node {node}");
        upstream.next();
    }

    let mut by_variable = plain.clone();
    by_variable["proxy"]["use_env"] = json!(true);
    by_variable["proxy"]["target_url"] = json!("SERVICE_HOST");
    by_variable["version_data"]["default"]["endpoints"][0]["path_regex"] = json!("/other");
    let answer = put(&cluster, 0, &json!([by_variable]), None);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let second = answer.json();
    assert_eq!(
        (&second["cluster"], states(&second)),
        (&json!("refused"), vec!["served", "served", "refused"])
    );
    let refusing = &second["nodes"][2];
    assert_eq!(refusing["revision"], first["revision"], "{second}");
    assert!(refusing["reason"].as_str().expect("a reason").contains("SERVICE_HOST"), "{second}");
    for (node, path) in ["/other", "/other", "/echo"].into_iter().enumerate() {
        assert_eq!(cluster.gateway(node).ask(&Request::get(path)).status, 200, "node {node}");
        upstream.next();
    }
    assert!(cluster.gateway(2).log().contains("API definitions not reloaded, the old ones stay"));
    let metrics = cluster.gateway(2).ask_internal(&Request::get("/metrics")).text();
    assert!(metrics.contains("\nrig_cluster_definitions_refused 1\n"), "{metrics}");
    let nodes = cluster.command(&["nodes"]);
    let nodes = String::from_utf8_lossy(&nodes.stdout).into_owned();
    let refuses = format!("{} (refuses {})", first["revision"], second["revision"]);
    assert!(nodes.contains(&refuses), "{nodes}");

    let answer = put(&cluster, 0, &json!([plain]), None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(states(&answer.json()), ["served"; 3]);
    let begun = (0..3).map(|node| cluster.gateway(node).log());
    assert!(begun.into_iter().all(|log| !log.contains("cannot be read yet")), "each has asked the stream");
}

#[test]
fn of_two_definitions_over_one_revision_one_is_refused() {
    let cluster = Cluster::start(ClusterOptions::default());
    for round in 0..5 {
        let before = revision(&cluster, 0);
        eventually("all nodes serve it", || (revision(&cluster, 1) == before).then_some(()));
        let answers = std::thread::scope(|scope| {
            let put = |node: usize| {
                let cluster = &cluster;
                let list = json!([definition("x", &format!("{round} of {node}"))]);
                scope.spawn(move || put(cluster, node, &list, Some(before)))
            };
            [0, 1].map(put).map(|thread| thread.join().expect("no panic"))
        });
        let winner = usize::from(answers[0].status != 200);
        let statuses = [answers[winner].status, answers[1 - winner].status];
        assert_eq!(statuses, [200, 409], "{} {}", answers[0].text(), answers[1].text());
        assert_eq!(answers[1 - winner].json()["type"], "urn:rig:problem:changed-meanwhile");
        for node in 0..3 {
            assert_eq!(api_names(cluster.gateway(node)), [format!("x={round} of {winner}")], "node {node}");
        }
    }
}

/// Starts a node again without its copy of the definitions, so that it has those of the stream.
fn start_without_copy(cluster: &mut Cluster, node: usize) {
    let copy = cluster.node(node).folder().join("data/apis.cluster");
    cluster.stop(node);
    std::fs::remove_file(copy).expect("there was one");
    cluster.launch(node);
    cluster.await_ready_of(&[node]);
}

#[test]
fn definitions_outlive_the_stream() {
    let mut cluster = Cluster::start(ClusterOptions { lease: "3s", ..ClusterOptions::default() });
    for round in 1..4 {
        let answer = put(&cluster, 0, &json!([definition("x", &round.to_string())]), None);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let before = revision(&cluster, 0);
    // This node learns of the new stream when it starts.
    cluster.stop(2);
    cluster.nats.delete(&cluster.stream());
    cluster.init(&["--recover"]);
    cluster.launch(2);
    cluster.await_ready();
    start_without_copy(&mut cluster, 1);
    for node in 0..3 {
        eventually("the definitions", || (api_names(cluster.gateway(node)) == ["x=3"]).then_some(()));
        assert_eq!(revision(&cluster, node), before, "node {node}");
    }
    let answer = put(&cluster, 1, &json!([definition("x", "4")]), Some(before));
    assert_eq!((answer.status, states(&answer.json())), (200, vec!["served"; 3]), "{}", answer.text());
    for node in 0..3 {
        assert_eq!(api_names(cluster.gateway(node)), ["x=4"], "node {node}");
        start_without_copy(&mut cluster, node);
        assert_eq!(api_names(cluster.gateway(node)), ["x=4"], "node {node} has started again");
    }
}

/// Writes the file of a node, with the API `svc` at these paths.
fn write_file(cluster: &Cluster, node: usize, upstream: &Upstream, paths: &[&str]) {
    let endpoint = |path: &&str| json!({"id": path, "path_regex": path, "method": "GET"});
    let list = match paths {
        [] => json!([]),
        paths => json!([upstream.api("svc", &paths.iter().map(endpoint).collect())]),
    };
    let file = cluster.node(node).folder().join("apis.json");
    // At once, so that no half of it is read.
    std::fs::write(format!("{file}.new"), list.to_string()).expect("the file is written");
    std::fs::rename(format!("{file}.new"), file).expect("the file is replaced");
}

/// Waits until every one of these nodes answers a path with this status.
fn await_status(cluster: &Cluster, nodes: &[usize], path: &str, status: u16) {
    for node in nodes {
        eventually(&format!("{status} for {path} at {node}"), || {
            (cluster.gateway(*node).ask(&Request::get(path)).status == status).then_some(())
        });
    }
}

#[test]
fn a_file_of_one_node_serves_the_cluster() {
    let mut cluster = Cluster::prepare(ClusterOptions::default());
    let upstream = Upstream::start();
    for node in [0, 1] {
        let file = cluster.node(node).folder().join("apis.json");
        cluster.set(node, "PROXY_CONFIG_FILE", &file);
    }
    write_file(&cluster, 0, &upstream, &["/one"]);
    write_file(&cluster, 1, &upstream, &[]);
    for node in 0..3 {
        cluster.launch(node);
    }
    cluster.await_ready();
    await_status(&cluster, &[0, 1, 2], "/one", 200);
    // The file changes.
    write_file(&cluster, 0, &upstream, &["/two"]);
    await_status(&cluster, &[0, 1, 2], "/two", 200);
    await_status(&cluster, &[0, 1, 2], "/one", 404);
    // Its node leaves, and comes back.
    cluster.stop(0);
    await_status(&cluster, &[1, 2], "/two", 200);
    cluster.launch(0);
    cluster.await_ready();
    // Another node has another file: the last one counts.
    write_file(&cluster, 1, &upstream, &["/three"]);
    await_status(&cluster, &[0, 1, 2], "/three", 200);
    await_status(&cluster, &[0, 1, 2], "/two", 404);
    // An operator counts more than any file.
    assert_eq!(cluster.gateway(2).ask_internal(&Request::new("DELETE", "/v3/apis/svc")).status, 204);
    await_status(&cluster, &[0, 1, 2], "/three", 404);
    cluster.stop(0);
    cluster.launch(0);
    cluster.await_ready();
    await_status(&cluster, &[0, 1, 2], "/two", 404);
}

#[test]
fn definitions_of_a_single_node_are_not_lost_without_a_word() {
    let mut cluster = Cluster::prepare(ClusterOptions::default());
    let folder = cluster.node(0).folder().join("data");
    let alone = Gateway::start(&[("DATA_DIR", &folder)]);
    let list = json!([definition("x", "alone")]).to_string();
    assert_eq!(alone.ask_internal(&Request::put_json("/v4/apis", list)).status, 200);
    alone.end();
    cluster.launch(0);
    cluster.await_ready_of(&[0]);
    let log = cluster.gateway(0).log();
    assert!(log.contains("were changed while this node was alone") && log.contains("apis.json"), "{log}");
    assert!(api_names(cluster.gateway(0)).is_empty());
}
