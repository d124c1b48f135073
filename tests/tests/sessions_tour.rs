//! Runs the tour of docs/sessions.md literally, except for the ports and the folder of the binary,
//! with a real browser tab.

use std::path::Path;
use std::process::Command;

use rig_tests::*;

/// Returns the commands under the heading `## Tour`.
fn tour(root: &Path) -> String {
    let text = std::fs::read_to_string(root.join("docs/sessions.md")).expect("the document");
    let (_, tour) = text.split_once("## Tour").expect("a heading");
    let (_, commands) = tour.split_once("```sh\n").expect("commands");
    commands.split_once("```").expect("an end").0.to_owned()
}

/// Returns the commands, in which `what` is replaced by `done`, the action of a reader.
fn instead(commands: &str, what: &str, done: &str) -> String {
    assert!(commands.contains(what), "the tour has a step that this test does not expect:\n{commands}");
    commands.replace(what, done)
}

#[test]
fn a_user_is_logged_out_everywhere_while_a_tab_watches() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of the sources");
    let browser = root.join("tests/browser");
    assert!(browser.join("node_modules/playwright-core").exists(), "npm ci --prefix {}", browser.display());
    let gateway = Gateway::start(&[("JWT_SECRET_KEY", "a-secret-only-for-trying-it-out")]);
    let folder = Folder::new();
    // The reader opens the URL and continues when the page shows that it is connected; likewise for
    // the phone.
    let opens = format!(
        "node tests/browser/watch.js \"file://$PWD/docs/watch.html?gateway=http://{}#$LAPTOP\" > \"$TAB\" &\n\
         until grep -q connected \"$TAB\"; do kill -0 $!; done",
        gateway.inbound()
    );
    let phone = "--data-urlencode \"jwt=$PHONE\" &";
    let commands = tour(root);
    let commands = instead(&commands, "echo \"file://$PWD/docs/watch.html#$LAPTOP\"", &opens);
    let waits = "--data-urlencode \"jwt=$PHONE\" > \"$STREAM\" &\n\
                 until grep -q subscriptions_set \"$STREAM\"; do kill -0 $!; done";
    let commands = instead(&commands, phone, waits)
        .replace("localhost:4000", &gateway.inbound().to_string())
        .replace("target/quick/rig", &Gateway::binary().to_string_lossy());
    for name in ["tab", "stream"] {
        std::fs::write(folder.join(name), "").expect("a temporary file");
    }
    let output = Command::new("timeout")
        .args(["60", "bash", "-euc", &commands])
        .current_dir(root)
        .env("RIG_API", format!("http://{}", gateway.internal()))
        .envs([("TAB", folder.join("tab")), ("STREAM", folder.join("stream"))])
        .output()
        .expect("bash, curl and node are installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");

    let read = |name| std::fs::read_to_string(folder.join(name)).expect("what was seen");
    assert_eq!(read("tab"), "connected\nthe session was ended\nrefused: this tab stays out\n");
    let stream = read("stream");
    let events: Vec<_> = stream.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(events, ["rig.connection.create", "rig.subscriptions_set", "rig.session_killed"]);
    let expected = [
        "\nalice-laptop  1 ",
        "\nalice-phone   1 ",
        "\nalice-laptop: not revoked, 1 connection\n",
        "greeting",
        "\nwould terminate 2 connections; the last of their tokens is good for ",
        "\nin force; 2 connections terminated in ",
        "\nalice-out: /sub=alice issued up to ",
        "HTTP/1.1 400 Bad Request",
        "event: rig.subscriptions_set",
        "\nalice-out   /sub=alice issued up to ",
        "lost her phone\n",
        "lifted: alice-out\n",
    ];
    let mut rest = format!("\n{said}");
    for part in expected {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is missing, or too early:\n{said}"));
        // The next part may begin on the same line.
        rest.drain(..at + part.trim_end().len());
    }
}
