//! Runs the tour of docs/identity.md literally, except for the ports and the folders of the binary
//! and of its data, with two real browsers.

use std::path::Path;
use std::process::Command;

use rig_tests::*;

/// Returns the commands under the heading `## Tour`: those of the three terminals.
fn tour(root: &Path) -> [String; 3] {
    let text = std::fs::read_to_string(root.join("docs/identity.md")).expect("the document");
    let (_, tour) = text.split_once("## Tour").expect("a heading");
    let (tour, _) = tour.split_once("\n## ").expect("another heading");
    let terminals = tour.split("```sh\n").skip(1).map(|block| block.split_once("```").expect("an end").0);
    let terminals: Vec<_> = terminals.map(str::to_owned).collect();
    terminals.try_into().expect("three terminals")
}

/// Returns the commands, in which `what` is replaced by `done`.
fn instead(commands: &str, what: &str, done: &str) -> String {
    assert!(commands.contains(what), "the tour has a step that this test does not expect:\n{commands}");
    commands.replace(what, done)
}

#[test]
fn a_tab_is_terminated_when_its_user_logs_out_at_the_provider() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of the sources");
    let browser = root.join("tests/browser");
    assert!(browser.join("node_modules/playwright-core").exists(), "npm ci --prefix {}", browser.display());
    let [first, second, third] = tour(root);
    assert_eq!(first, "scripts/provider\n");
    let provider = Provider::start_script();

    let settings = instead(&second, "http://127.0.0.1:4500", &provider.issuer());
    let settings = settings.strip_suffix(" scripts/run\n").expect("the command of the gateway");
    let settings: Vec<_> = settings.split(' ').map(|one| one.split_once('=').expect("a variable")).collect();
    let folder = Folder::new();
    let data = folder.join("data");
    let gateway = provider.gateway(&[&settings[..], &[("DATA_DIR", &data)]].concat());

    // The reader opens the page in two browsers, and continues when both are connected.
    let opens = format!(
        "node tests/browser/identity.js {} > \"$TABS\" &\n\
         until [ \"$(grep -c connected \"$TABS\")\" = 2 ]; do kill -0 $!; sleep 0.02; done",
        provider.page()
    );
    let commands = instead(&third, "echo http://localhost:8081/", &opens);
    // The program of the browsers follows the link once the first page shows the event.
    let waits = "until grep -q refused \"$TABS\"; do kill -0 $!; sleep 0.02; done\n# 5.";
    let commands = instead(&commands, "# 5.", waits) + "wait\n";
    let commands = instead(&commands, "localhost:4000", &gateway.inbound().to_string());
    let commands = instead(&commands, "data/audit.log", &format!("{data}/audit.log"));
    let commands = instead(&commands, "target/quick/rig", &Gateway::binary().to_string_lossy());
    std::fs::write(folder.join("tabs"), "").expect("a temporary file");
    let output = Command::new("timeout")
        .args(["60", "bash", "-euc", &commands])
        .current_dir(root)
        .env("RIG_API", format!("http://{}", gateway.internal()))
        .env("TABS", folder.join("tabs"))
        .output()
        .expect("bash, curl and node are installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    let tabs = std::fs::read_to_string(folder.join("tabs")).expect("what was seen");
    assert!(output.status.success(), "{said}\n{tabs}\n{errors}");

    let lines = |name: &str| {
        let lines = tabs.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let tab = [
        "logged in as alice",
        "connected",
        "greeting \"hello\"",
        "session_killed: logged out at the provider",
        "refused: this tab stays out",
    ];
    assert_eq!(lines("tab: "), tab);
    let other = ["logged in as alice", "connected", "greeting \"hello\"", "greeting \"still here\""];
    assert_eq!(lines("private: "), other);
    assert_eq!(provider.next_logout().outcome, "200");
    let id = "issuer/oidc/sid/";
    assert_eq!(said.lines().filter(|line| line.starts_with(id)).count(), 1, "{said}");
    let audit: Vec<_> = said.lines().filter(|line| line.contains(r#""by":"issuer:oidc""#)).collect();
    assert_eq!(audit.len(), 1, "{said}");
}
