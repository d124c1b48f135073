//! `rig cluster init`, `check`, `adopt` and `nodes`, with a real nats-server.

use std::process::{Command, Output};

use rig_tests::*;

fn rig(servers: &str, line: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(Gateway::binary());
    command.args(line.split(' ')).env_clear().env("CLUSTER_NATS", servers).env("CLUSTER_NAME", "c");
    command.env("CLUSTER_REPLICAS", "1").envs(variables.iter().copied());
    command.output().expect("rig has been built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Returns the output of a command that succeeded.
fn done(output: &Output) -> String {
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    text(&output.stdout)
}

/// Returns the exit code of a command that failed, its output and its error.
fn failed(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn error(code: i32, told: &str) -> (Option<i32>, String, String) {
    (Some(code), String::new(), told.to_owned())
}

#[test]
fn a_stream_is_created_once_checked_and_adopted() {
    let server = NatsServer::start(NatsOptions::default());
    let rig = |line: &str| rig(&server.url(), line, &[]);
    let missing = "stream RIG_c does not exist; create it once with `rig cluster init`\n";
    for command in ["cluster check", "cluster adopt", "cluster nodes"] {
        assert_eq!(failed(&rig(command)), error(1, missing), "{command}");
    }
    let created = done(&rig("cluster init --recover --max-bytes 64MiB"));
    let waits = "nodes without a log wait for one with a log, or for rig cluster adopt\n";
    assert_eq!(created, format!("the stream is created, on 1 server\n{waits}"));
    assert_eq!(failed(&rig("cluster init")), error(1, "refused: stream RIG_c exists\n"));
    let checked = "the stream is as it has to be, on 1 server, with 0 messages, 0 of 67108864 bytes\n";
    assert_eq!(done(&rig("cluster check")), format!("{checked}not adopted: nodes without a log wait\n"));
    assert_eq!(done(&rig("cluster adopt")), "nodes without a log may join\n");
    assert_eq!(done(&rig("cluster check")), checked);
}

#[test]
fn a_check_names_what_differs() {
    for sync_always in [false, true] {
        let server = NatsServer::start(NatsOptions { sync_always, ..NatsOptions::default() });
        done(&rig(&server.url(), "cluster init", &[]));
        let line = format!("cluster check --monitoring {}", server.monitoring_url());
        let told = rig(&server.url(), &line, &[]);
        if sync_always {
            assert!(done(&told).starts_with("the stream is as it has to be"));
        } else {
            let (code, out, err) = failed(&told);
            assert_eq!((code, err.as_str()), (Some(1), "the stream is not as the nodes need it\n"));
            assert!(out.starts_with("sync_interval is not always"), "{out}");
        }
        let (code, out, _) = failed(&rig(&server.url(), "cluster check", &[("CLUSTER_REPLICAS", "3")]));
        assert_eq!((code, out.as_str()), (Some(1), "num_replicas is 1, but has to be 3\n"));
    }
}

#[test]
fn nodes_are_listed_by_their_beats() {
    let server = NatsServer::start(NatsOptions::default());
    done(&rig(&server.url(), "cluster init", &[]));
    server.store("rig.c.s.beat.n1", "{\"life\":\"abcdefghijkl\",\"applied\":0,\"policy\":\"closed\"}\ncode");
    let listed = done(&rig(&server.url(), "cluster nodes", &[]));
    let mut lines = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let heading = ["NODE", "LIFE", "AGE", "SEQUENCE", "APPLIED", "PENDING", "POLICY", "APIS"];
    assert_eq!(lines.next().expect("a heading"), heading);
    let row = lines.next().expect("a row");
    assert_eq!((&row[..2], &row[3..]), (&["n1", "abcdefghijkl"][..], &["1", "0", "-", "closed", "-"][..]));
}

#[test]
fn settings_are_those_of_the_gateway_and_mistakes_are_told() {
    let server = NatsServer::start(NatsOptions { config: TOKEN, ..NatsOptions::default() });
    done(&rig(&server.url(), "cluster init", &[("CLUSTER_NATS_TOKEN", "t0ken")]));
    let (code, _, told) = failed(&rig("", "cluster check", &[]));
    assert_eq!(code, Some(2));
    assert!(told.contains("CLUSTER_NATS"), "{told}");
    let (code, _, told) = failed(&rig(&server.url(), "cluster init --max-bytes 63MiB", &[]));
    assert!(code == Some(2) && told.contains("--max-bytes") && told.contains("at least 64MiB"), "{told}");
    let (code, _, told) = failed(&rig("nats://10.0.0.1:4222", "cluster init --max-bytes x", &[]));
    assert_eq!(code, Some(2));
    assert!(
        told.contains("nats://10.0.0.1:4222 is not on this host") && told.contains("--max-bytes"),
        "{told}"
    );
}

const TOKEN: &str = "authorization { token: t0ken }";
