//! The benchmark itself: some seconds of every scenario, with the gateway and the floor alone; and
//! the page that is in the documents.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Seconds; it takes some thirty on an idle machine.
const LONGEST: &str = "180";

/// Scenarios, and the number of runs that each must have.
const SCENARIOS: [(&str, usize); 10] = [
    ("idle", 2),
    ("numbers", 1),
    ("variants", 12),
    ("connect", 2),
    ("fanout", 8),
    ("sustained", 10),
    ("filter", 4),
    ("publish", 2),
    ("slow", 2),
    ("revoke", 2),
];

const PLOTS: [&str; 5] = ["idle.svg", "delivery.svg", "sustained.svg", "filter.svg", "churn.svg"];

/// Removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the test");
        Self(folder)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the benchmark. If it takes too long, SIGTERM makes it stop its servers before it exits.
fn bench(arguments: &[&str], out: &Folder) {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=9", LONGEST, env!("CARGO_BIN_EXE_rig-bench")]).args(arguments).arg(&out.0);
    let output = command.stdin(Stdio::null()).output().expect("timeout is a part of the system");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
}

#[test]
fn every_scenario_runs_and_is_on_the_page() {
    let gateway = Path::new(env!("CARGO_BIN_EXE_rig-bench")).with_file_name("rig");
    assert!(gateway.exists(), "not built: {}; cargo build --package rig", gateway.display());
    let out = Folder::new("smoke");
    bench(&["smoke", "--rig", &gateway.to_string_lossy(), "--out"], &out);

    let raw: Value = serde_json::from_str(&out.read("raw.json")).expect("raw numbers are JSON");
    for (scenario, runs) in SCENARIOS {
        assert_eq!(raw[scenario].as_array().map(Vec::len), Some(runs), "{scenario}");
    }
    assert!(raw["churn"]["visits"].as_u64() > Some(16), "{}", raw["churn"]);
    let page = out.read("table.md");
    assert!(!page.contains("NaN"), "{page}");
    for plot in PLOTS {
        assert!(page.contains(&format!("({plot})")), "the page does not show {plot}");
        assert!(out.read(plot).ends_with("</svg>\n"), "{plot}");
    }
}

/// One part of the measurement of a cluster, which starts and addresses nodes as all others do.
#[test]
fn a_cluster_is_measured_part_by_part() {
    let gateway = Path::new(env!("CARGO_BIN_EXE_rig-bench")).with_file_name("rig");
    let nats = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/nats-server");
    let out = Folder::new("cluster");
    let (gateway, nats) = (gateway.to_string_lossy(), nats.to_string_lossy());
    let programs = ["cluster", "--rig", &gateway, "--nats", &nats];
    for part in ["size", "elsewhere"] {
        bench(&[&programs[..], &["--portion", "0.001", "--only", part, "--out"]].concat(), &out);
    }
    let raw: Value = serde_json::from_str(&out.read("cluster.json")).expect("raw numbers are JSON");
    for (part, figures) in [("size", 1), ("elsewhere", 6)] {
        assert_eq!(raw[part]["figures"]["figures"].as_array().map(Vec::len), Some(figures), "{part}");
    }
    assert!(!out.read("cluster.md").contains("NaN"), "{}", out.read("cluster.md"));
}

/// Logouts of an issuer, at one gateway and at three, and its unknown keys.
#[test]
fn logouts_of_an_issuer_are_measured() {
    let gateway = Path::new(env!("CARGO_BIN_EXE_rig-bench")).with_file_name("rig");
    let nats = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/nats-server");
    let out = Folder::new("identity");
    let (gateway, nats) = (gateway.to_string_lossy(), nats.to_string_lossy());
    let programs = ["identity", "--rig", &gateway, "--nats", &nats];
    for part in ["latency", "rate", "unknown"] {
        bench(&[&programs[..], &["--portion", "0.001", "--only", part, "--out"]].concat(), &out);
    }
    let raw: Value = serde_json::from_str(&out.read("identity.json")).expect("raw numbers are JSON");
    for (part, figures) in [("latency", 8), ("rate", 8), ("unknown", 6)] {
        assert_eq!(raw[part]["figures"]["figures"].as_array().map(Vec::len), Some(figures), "{part}");
    }
    assert!(!out.read("identity.md").contains("NaN"), "{}", out.read("identity.md"));
}

/// Clients that come back, and what the history costs; without callgrind and nchan, which are not
/// everywhere. The earlier build is the same.
#[test]
fn clients_that_come_back_are_measured() {
    let gateway = Path::new(env!("CARGO_BIN_EXE_rig-bench")).with_file_name("rig");
    let out = Folder::new("resume");
    let gateway = gateway.to_string_lossy();
    let programs = ["resume", "--rig", &gateway, "--other", &gateway, "--alone", "--uncounted"];
    bench(&[&programs[..], &["--portion", "0.001", "--out"]].concat(), &out);
    let raw: Value = serde_json::from_str(&out.read("resume.json")).expect("raw numbers are JSON");
    for (part, figures) in [("before", 16), ("kept", 10), ("missed", 10), ("storm", 18)] {
        assert_eq!(raw[part]["figures"]["figures"].as_array().map(Vec::len), Some(figures), "{part}");
    }
    for exact in ["events that were lost", "events that came twice", "gaps"] {
        assert!(out.read("resume.md").contains(&format!("| {exact} | 0 |")), "{}", out.read("resume.md"));
    }
    assert!(!out.read("resume.md").contains("NaN"), "{}", out.read("resume.md"));
}

/// The page and the plots in the documents are what this program makes of the raw numbers.
#[test]
fn the_page_in_the_documents_is_of_its_raw_numbers() {
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance");
    let out = Folder::new("page");
    fs::copy(documents.join("raw.json"), out.0.join("raw.json")).expect("raw numbers in the documents");
    bench(&["report"], &out);
    for name in PLOTS.into_iter().chain(["table.md"]) {
        let committed = fs::read_to_string(documents.join(name)).unwrap_or_default();
        assert!(out.read(name) == committed, "{name}: run `rig-bench report`");
    }
}
