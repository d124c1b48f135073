//! Log lines: RIG's settings for level and format, and no terminal escape sequences.

use rig_tests::*;
use serde_json::{Value, json};

#[test]
fn f70_level_and_format_are_case_insensitive() {
    for (level, form, name) in [("WARN", "JSON", "WARN"), ("Warning", "GCL", "WARNING")] {
        let log = Gateway::start(&[("LOG_LEVEL", level), ("LOG_FMT", form)]).end();
        assert!(log.contains(&format!(":\"{name}\"")) && !log.contains("\"starting\""), "{log}");
    }
    // RIG's format for people.
    let mut gateway = std::process::Command::new(Gateway::binary())
        .env_clear()
        .envs([("LOG_FMT", "erlang"), ("LOG_LEVEL", "notice"), ("DATA_DIR", "memory")])
        // No machine has this address, so the start fails.
        .envs([("INBOUND_BIND", "192.0.2.1"), ("API_HTTP_PORT", "0")])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary is there");
    assert_eq!(gateway.wait().expect("it ends").code(), Some(1));
    let mut told = String::new();
    std::io::Read::read_to_string(&mut gateway.stderr.take().expect("piped"), &mut told).expect("UTF-8");
    assert!(told.contains(" INFO rig::serve: starting"), "{told}");
}

#[test]
fn f35_a_log_line_commands_no_terminal() {
    let upstream = Upstream::start();
    let endpoints = json!([{"id": "s", "path_regex": "/.*", "method": "GET", "secured": true}]);
    let name = "shop\u{9b}31m\u{202e}";
    let mut api = upstream.api("shop", &endpoints);
    api["name"] = json!(name);
    let session = "a\u{9b}31m\u{85}\u{2028}\u{202e}\u{7f}\u{1b}[2J";
    for form in ["json", "gcl"] {
        let apis = json!([api]).to_string();
        let gateway =
            Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("REQUEST_LOG", "console"), ("LOG_FMT", form)]);
        assert_eq!(gateway.ask(&Request::get("/x").bearer(&token_of(session))).status, 200);
        let log = gateway.end();
        let line = log.lines().find(|line| line.contains("rig::request")).expect("the request");
        let commands = |letter: char| letter.is_control() || ('\u{2028}'..='\u{202e}').contains(&letter);
        assert!(!log.replace('\n', "").contains(commands), "{log:?}");
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["session"], session);
    }
}
