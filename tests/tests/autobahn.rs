//! The Autobahn cases of WebSocket conformance, run by kosoku against an echo server over the
//! gateway's own protocol.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Stops the echo server when the test is done.
struct Echo(Child);

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Returns `target/debug`, which holds examples as well as tests.
fn profile() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(2).expect("a test is in target/debug/deps").to_owned()
}

#[test]
fn no_case_fails() {
    let profile = profile();
    let echo = profile.join("examples/ws_echo");
    assert!(echo.exists(), "cargo build -p rig-connection --example ws_echo");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace");
    let kosoku = root.join("target/venv/bin/kosoku");
    assert!(
        kosoku.exists(),
        "scripts/test installs it: python3 -m venv target/venv; pip install kosoku==0.1.0"
    );

    let mut echo = Echo(Command::new(echo).arg("0").stdout(Stdio::piped()).spawn().expect("the echo server"));
    let mut line = String::new();
    BufReader::new(echo.0.stdout.take().expect("stdout is piped")).read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("listening ").expect("the address it listens on");

    let reports = profile.join(format!("autobahn-{}", std::process::id()));
    let output = Command::new(kosoku)
        .args(["-m", "fuzzingclient", "-p", "4", "-x", "9.*", "-o"])
        .args([reports.as_os_str(), address.as_ref()])
        .output()
        .expect("kosoku runs");
    let index = std::fs::read_to_string(reports.join("index.json"))
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let index: Value = serde_json::from_str(&index).expect("the index is JSON");
    std::fs::remove_dir_all(&reports).expect("the folder is ours");
    let cases = index.as_object().and_then(|agents| agents.values().next()).and_then(Value::as_object);
    let cases = cases.expect("one server with its cases");

    let of = |behaviour: &str| {
        let cases = cases.iter().filter(|(_, case)| case["behavior"] == behaviour);
        cases.map(|(id, _)| id.as_str()).collect::<Vec<_>>()
    };
    let failed: Vec<_> = cases
        .iter()
        .filter(|(_, case)| [&case["behavior"], &case["behaviorClose"]].iter().any(|end| **end == "FAILED"))
        .filter(|(id, _)| !is_of_compression(id))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    // Compression is never negotiated: the cases about it, and only these, are not run.
    assert!(of("UNIMPLEMENTED").iter().all(|id| is_of_compression(id)));
    assert!(of("OK").len() >= 240, "{} cases passed", of("OK").len());
}

/// Sections 12 and 13 test permessage-deflate (RFC 7692). Twelve of their cases fail because of a
/// mistake in kosoku.
fn is_of_compression(id: &str) -> bool {
    id.starts_with("12.") || id.starts_with("13.")
}
