//! The benchmark itself: some seconds of each scenario, with the gateway alone.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

/// A field of each line that is to come, which says what was measured.
const SCENARIOS: [&str; 9] = [
    "idle_rss_kib",
    "rss_kib_per_connection",
    "server_microseconds",
    "bystanders",
    "rss_kib_per_connection",
    "server_microseconds",
    "bystanders",
    "bytes_per_revocation",
    "callers",
];

/// Seconds; it takes some ten where the machine has nothing else to do.
const LONGEST: &str = "120";

#[test]
fn every_scenario_gives_one_line_of_json() {
    let bench = env!("CARGO_BIN_EXE_rig-bench");
    let gateway = Path::new(bench).with_file_name("rig");
    assert!(gateway.exists(), "not built: {}; cargo build --package rig", gateway.display());
    // Told to end, the benchmark ends its servers.
    let mut command = Command::new("timeout");
    command.args(["--kill-after=9", LONGEST, bench, "smoke", "--rig"]).arg(gateway).stdin(Stdio::null());
    let output = command.output().expect("timeout is a part of the system");
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{printed}\n{said}", output.status);

    let lines: Vec<Map<String, Value>> =
        printed.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect();
    assert_eq!(lines.len(), SCENARIOS.len(), "{printed}");
    for (line, field) in lines.iter().zip(SCENARIOS) {
        assert!(line.contains_key(field), "no {field}: {line:?}");
    }
}
