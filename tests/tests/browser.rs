//! A real browser, cross-origin. The page is in `tests/browser`; `npm ci` installs its packages
//! (scripts/test).

use std::path::Path;
use std::process::Command;

use rig_tests::*;

#[test]
fn a_page_of_another_origin_connects_receives_and_is_terminated() {
    let gateway = Gateway::start(&[]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    assert!(folder.join("node_modules/playwright-core").exists(), "npm ci --prefix {}", folder.display());
    let output = Command::new("node")
        .arg(folder.join("story.js"))
        .args([format!("http://{}", gateway.inbound()), format!("http://{}", gateway.internal())])
        .args(["sse", "ws", "lp"].map(token_of))
        .output()
        .expect("node is installed");
    let lines = String::from_utf8_lossy(&output.stdout);
    let set = r#"[{"eventType":"greeting","oneOf":[]}]"#;
    let refusal = |session: &str| {
        format!(
            r#"400 could not parse subscriptions: could not decode JWT: Ignoring blacklisted JWT with ID "{session}"."#
        )
    };
    let story = |transport: &str| {
        format!(
            "{transport}: connected\n{transport}: subscribed 204\n{transport}: set {set}\n{transport}: received {{\"name\":\"bob\"}}\n"
        )
    };
    for (transport, session) in [("sse", "sse"), ("longpolling", "lp")] {
        // The end of the stream and the answer to the blacklisting reach the page in any order.
        let told = ordered(&lines, transport);
        let blacklisted = format!("{transport}: blacklisted 201\n");
        assert!(told.contains(&blacklisted), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
        let expected = format!(
            "{}{transport}: killed\n{transport}: reconnect refused {}\n",
            story(transport),
            refusal(session)
        );
        assert_eq!(told.replace(&blacklisted, ""), expected);
    }
    let told = ordered(&lines, "ws").replace("ws: blacklisted 201\n", "");
    let end = "ws: closed 1000 Session killed.\nws: reconnect refused 1000 Bad request.\n";
    assert_eq!(told, story("ws") + end);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns the lines of one transport, sorted so that the answer to the subscription comes before
/// its effect: the two arrive on different sockets.
fn ordered(lines: &str, transport: &str) -> String {
    let mut lines: Vec<_> =
        lines.lines().filter(|line| line.starts_with(&format!("{transport}: "))).collect();
    let at = |lines: &[&str], word: &str| lines.iter().position(|line| line.contains(word));
    if let (Some(subscribed), Some(set)) = (at(&lines, ": subscribed"), at(&lines, ": set"))
        && set < subscribed
    {
        let line = lines.remove(subscribed);
        lines.insert(set, line);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
