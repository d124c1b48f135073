//! The program as an operator runs it: its output, and its exit code.

use std::process::{Command, Output};

fn rig(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rig"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).output().expect("rig has been built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn check_prints_the_effective_settings() {
    let output =
        rig(&["check", "--inbound-port", "1"], &[("JWT_SECRET_KEY", "hidden-hidden-hidden-hidden-hidden")]);
    assert_eq!(output.status.code(), Some(0));
    let printed = text(&output.stdout);
    assert!(printed.starts_with("settings are valid\n"), "{printed}");
    assert!(printed.contains("\nINBOUND_PORT = \"1\" (flag)\n"), "{printed}");
    assert!(printed.contains("\nJWT_SECRET_KEY = set, not shown (environment)\n"), "{printed}");
    assert!(!printed.contains("hidden"), "{printed}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn check_warns_of_what_is_allowed_but_dangerous() {
    let output = rig(&["check"], &[("API_BIND", "0.0.0.0"), ("FIREHOSE_KAFKA_HTTP_TARGETS", "1")]);
    assert_eq!(output.status.code(), Some(0));
    let warned = text(&output.stderr);
    assert!(warned.contains("warning: API_BIND = 0.0.0.0 without API_TOKEN"), "{warned}");
    assert!(
        warned.contains("warning: environment FIREHOSE_KAFKA_HTTP_TARGETS: not supported by this version"),
        "{warned}"
    );
}

#[test]
fn mistakes_end_serving_and_checking_alike() {
    for command in [&["--api-bind", "home"][..], &["check", "--api-bind", "home"]] {
        let output = rig(command, &[("INBOUND_PORT", "x")]);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(text(&output.stdout), "");
        assert_eq!(
            text(&output.stderr),
            "flag --api-bind = \"home\": expected an IP address, such as 127.0.0.1 or ::\n\
             environment INBOUND_PORT = \"x\": expected a port from 0 (any free one) to 65535\n"
        );
    }
}

#[test]
fn a_port_in_use_is_named_and_ends_the_program() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket has an address");
    let port = address.port().to_string();
    let output = rig(
        &["--inbound-bind", "127.0.0.1", "--inbound-port", &port],
        &[("API_HTTP_PORT", "0"), ("DATA_DIR", "memory")],
    );
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains(&format!("the inbound port cannot listen on {address}: ")), "{told}");
}

#[test]
fn token_prints_the_token_and_nothing_else() {
    let output = rig(&["token", "--claim", "sub=alice"], &[("JWT_SECRET_KEY", "key")]);
    assert_eq!(output.status.code(), Some(0));
    let printed = text(&output.stdout);
    let token = printed.strip_suffix('\n').expect("one line");
    assert_eq!(token.split('.').count(), 3, "{printed}");
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{printed}");
    assert_eq!(text(&output.stderr), "");
    assert_eq!(rig(&["token"], &[]).status.code(), Some(2));
}

#[test]
fn help_and_version_end_well() {
    for flag in ["--help", "-h", "--version", "-V"] {
        let output = rig(&[flag], &[]);
        assert_eq!(output.status.code(), Some(0), "{flag}");
        assert!(text(&output.stdout).contains("rig"), "{flag}");
    }
}
