//! The command line of an operator: `rig sessions`, `session`, `revoke`, `lift`, `revocations`,
//! `completions`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use rig_tests::*;
use serde_json::Value;

/// Runs `rig` with these arguments against an API.
fn rig_at(api: &str, words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(Gateway::binary());
    command.args(words).env_clear().env("RIG_API", api).env("USER", "bob").envs(variables.iter().copied());
    command.stdin(Stdio::null()).output().expect("rig has been built")
}

fn rig(gateway: &Gateway, line: &str) -> Output {
    let words: Vec<_> = line.split(' ').collect();
    rig_at(&format!("http://{}", gateway.internal()), &words, &[])
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Returns the output of a command that succeeded.
fn done(output: &Output) -> String {
    assert_eq!((output.status.code(), err(output).as_str()), (Some(0), ""), "{}", out(output));
    out(output)
}

/// Returns the exit code of a command that failed, and its standard error.
fn failed(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), err(output).trim_end().to_owned())
}

fn connect(gateway: &Gateway, session: &str) -> Sse {
    let mut sse = Sse::connect(gateway.inbound(), &format!("jwt={}", token_of(session)));
    sse.welcome();
    sse
}

/// Starts an API that answers each caller with these bytes.
fn answering(answer: &'static [u8]) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let api = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).expect("a request") > 0);
        stream.write_all(answer).expect("the caller reads");
    });
    (api, thread)
}

#[test]
fn a_session_is_seen_revoked_and_lifted() {
    let gateway = Gateway::start(&[]);
    let mut sse = connect(&gateway, "alice-laptop");
    let listed = done(&rig(&gateway, "sessions"));
    assert!(listed.starts_with("SESSION       CONNECTIONS  SINCE"), "{listed}");
    assert!(listed.contains("\nalice-laptop  1            20"), "{listed}");
    let shown = done(&rig(&gateway, "session alice-laptop"));
    assert!(shown.starts_with("alice-laptop: not revoked, 1 connection\nCONNECTION  TRANSPORT"), "{shown}");
    assert!(shown.contains("sse") && shown.contains("127.0.0.1:"), "{shown}");

    let would = done(&rig(&gateway, "revoke --session alice-laptop --for 2h --dry-run"));
    assert!(
        would.starts_with("would terminate 1 connection; the last of their tokens is good for "),
        "{would}"
    );
    let said = done(&rig(&gateway, "revoke --session alice-laptop --for 2h --id r1 --reason stolen"));
    let (first, second) = said.split_once('\n').expect("two lines");
    assert!(first.starts_with("in force; 1 connection terminated in ") && first.ends_with(" ms"), "{said}");
    assert!(second.starts_with("r1: session alice-laptop, until 20"), "{said}");
    assert!(second.ends_with("; a restart of the gateway forgets it\n"), "the log is in memory: {said}");
    sse.expect_kill();
    let again = done(&rig(&gateway, "revoke --session alice-laptop --for 2h --id r1"));
    assert!(
        again.starts_with("in force since 20") && again.contains("; 1 connection terminated then"),
        "{again}"
    );

    let listed = done(&rig(&gateway, "revocations"));
    assert!(listed.contains("\nr1          session alice-laptop  revoke  "), "{listed}");
    assert!(listed.contains("bob  stolen\n"), "{listed}");
    assert_eq!(done(&rig(&gateway, "session alice-laptop")), "alice-laptop: revoked, 0 connections\n");
    assert_eq!(done(&rig(&gateway, "lift r1 --dry-run")), "would lift: session alice-laptop\n");
    assert_eq!(done(&rig(&gateway, "lift r1")), "lifted: r1\n");
    connect(&gateway, "alice-laptop");
}

#[test]
fn claims_tokens_and_disconnecting() {
    let gateway = Gateway::start(&[]);
    let mut sse = connect(&gateway, "s1");
    let said = done(&rig(&gateway, "revoke --session s1 --disconnect"));
    assert!(said.starts_with("disconnected; 1 connection terminated in "), "{said}");
    while sse.raw().is_some() {}
    let said = done(&rig(&gateway, "revoke --claim /sub=alice --issued-up-to now --for 10m --id r2"));
    assert!(said.contains("\nr2: /sub=alice issued up to "), "{said}");

    let mut sse = connect(&gateway, "s2");
    let api = format!("http://{}", gateway.internal());
    let revoke = |stdin: &[u8]| {
        let mut child = Command::new(Gateway::binary())
            .args(["revoke", "--jwt", "-", "--api", &api])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rig has been built");
        child.stdin.take().expect("stdin is piped").write_all(stdin).expect("rig reads");
        child.wait_with_output().expect("rig exits")
    };
    let (code, told) = failed(&revoke(&[b'x'; 20_000]));
    assert_eq!((code, told.as_str()), (Some(2), "standard input is longer than a token"));
    let (code, told) = failed(&revoke(b"\xff"));
    assert!(code == Some(2) && told.starts_with("standard input: "), "{told}");
    let said = done(&revoke(format!("{}\n", token_of("s2")).as_bytes()));
    assert!(
        said.starts_with("in force; 1 connection terminated in ") && said.contains(": session s2, "),
        "{said}"
    );
    sse.expect_kill();
    let (code, told) = failed(&rig(&gateway, "revoke --jwt hidden"));
    assert_eq!((code, told.as_str()), (Some(4), "refused: jwt: Invalid signature"));
}

#[test]
fn json_is_that_of_the_api() {
    let gateway = Gateway::start(&[]);
    let _sse = connect(&gateway, "s1");
    let of_api = gateway.ask_internal(&Request::get("/v4/sessions")).text();
    assert_eq!(done(&rig(&gateway, "sessions --json")), of_api + "\n");
    let receipt: Value =
        serde_json::from_str(&done(&rig(&gateway, "revoke --session s1 --for 2h --id r1 --by me --json")))
            .expect("JSON");
    assert_eq!(
        (&receipt["id"], &receipt["by"], &receipt["connectionsTerminated"]),
        (&"r1".into(), &"me".into(), &1.into())
    );
    assert_eq!(done(&rig(&gateway, "lift r1 --json")), "");
    let missing = rig(&gateway, "lift r1 --json");
    let problem: Value = serde_json::from_str(&out(&missing)).expect("the problem as JSON");
    assert_eq!((missing.status.code(), &problem["status"]), (Some(3), &404.into()));
}

#[test]
fn lists_continue_on_the_next_page() {
    let gateway = Gateway::start(&[]);
    let _open: Vec<_> = ["a", "b c", "d"].map(|name| connect(&gateway, name)).into();
    let first = done(&rig(&gateway, "sessions --limit 2"));
    assert!(first.ends_with("there are more: --after 'b c'\n"), "{first}");
    let api = format!("http://{}", gateway.internal());
    let second = done(&rig_at(&api, &["sessions", "--limit", "2", "--after", "b c"], &[]));
    assert!(second.contains("\nd ") && second.lines().count() == 2, "{second}");
    for id in ["r1", "r2"] {
        done(&rig(&gateway, &format!("revoke --session gone --for 10m --id {id}")));
    }
    let first = done(&rig(&gateway, "revocations --limit 1"));
    assert!(first.contains("\nr2 "), "{first}");
    let cursor = first.trim_end().rsplit_once("--before ").expect("there are more").1;
    let second = done(&rig(&gateway, &format!("revocations --limit 1 --before {cursor}")));
    assert!(second.contains("\nr1 ") && !second.contains("there are more"), "{second}");
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let gateway = Gateway::start(&[]);
    let _sse = connect(&gateway, "s1");
    let check = |line: &str, code: i32, said: &str| {
        let (ended, told) = failed(&rig(&gateway, line));
        assert_eq!((ended, told.as_str()), (Some(code), said), "{line}");
    };
    check("session nobody", 3, "the session has no connections, and is not revoked");
    check("lift nothing", 3, "there is no revocation of this id, or it has expired");
    check("lift nothing --dry-run", 3, "there is no revocation of this id, or it has expired");
    check("sessions --limit 0", 2, "limit: expected 1 to 1000");
    check(
        "revoke --session s1 --for 0",
        2,
        "flag --for: expected a time of 1s or more, such as 30s, 10m, 2h, 7d or bare seconds",
    );
    check(
        "revoke --session s1 --until tomorrow",
        2,
        "until: expected an RFC 3339 date and time, with its offset",
    );
    check(
        "revoke --claim /role=x --for 1m",
        2,
        r#"claim: tokens cannot be revoked by the claim "/role"; expected one of /jti, /sub, /sid"#,
    );
    check(
        "revoke --sesion s1 --for 1m",
        2,
        "flag --sesion: unknown; did you mean --session?\nflag --session: missing: whose tokens, here or as --claim or --jwt",
    );
    check(
        "sessions --api localhost:4010",
        2,
        "flag --api: expected an http:// or https:// URL without user and query, such as http://127.0.0.1:4010",
    );
    check("--inbound-port 1 sessions", 2, "flag --inbound-port: rig sessions takes no settings as flags");
    done(&rig(&gateway, "revoke --session other --for 1m --id r1"));
    check("revoke --session s1 --for 2h --id r1", 4, "refused: another revocation has this id");
    for dry in ["", " --dry-run"] {
        let (code, told) = failed(&rig(&gateway, &format!("revoke --session s1 --for 5s{dry}")));
        assert_eq!(code, Some(4), "{told}");
        assert!(told.starts_with("refused: it ends before the token of an open connection does"), "{told}");
        assert!(told.contains("s is enough, --force takes it as it is"), "{told}");
    }
    done(&rig(&gateway, "revoke --session s1 --for 5s --force"));

    let api = format!("http://{}", gateway.internal());
    drop(gateway);
    let (code, told) = failed(&rig_at(&api, &["sessions"], &[]));
    assert_eq!(code, Some(1));
    assert!(told.starts_with(&api) && told.contains("Connection refused"), "{told}");
    let (code, told) = failed(&rig_at("nonsense", &["sessions"], &[]));
    assert_eq!(code, Some(2));
    assert!(told.starts_with("environment RIG_API: expected "), "{told}");
}

#[test]
fn the_token_comes_from_the_environment_or_the_file() {
    let gateway = Gateway::start(&[("API_TOKEN", "a-test-token-of-the-port")]);
    let api = format!("http://{}", gateway.internal());
    let refused = "not let in: the API_TOKEN is missing or wrong";
    for variables in [&[][..], &[("API_TOKEN", "another-token-of-a-port")]] {
        assert_eq!(failed(&rig_at(&api, &["sessions"], variables)), (Some(5), refused.to_owned()));
    }
    done(&rig_at(&api, &["sessions"], &[("API_TOKEN", "a-test-token-of-the-port")]));
    let folder = Folder::new();
    let file = folder.join("rig.toml");
    std::fs::write(&file, "api_token = \"a-test-token-of-the-port\"\n").expect("a temporary file");
    done(&rig_at(&api, &["sessions", "--config", &file], &[]));
    done(&rig_at(&api, &["sessions"], &[("RIG_CONFIG", &file)]));
    let (code, told) = failed(&rig_at(&api, &["sessions"], &[("RIG_CONFIG", "/no/such/file")]));
    assert_eq!(code, Some(2));
    assert!(told.starts_with("file /no/such/file: cannot be read"), "{told}");
}

#[test]
fn names_of_any_letters_are_shown_and_found_without_reaching_the_terminal() {
    let gateway = Gateway::start(&[]);
    let name = "a/b%\u{1b}[31m é\u{202e}";
    let mut sse = connect(&gateway, name);
    let api = format!("http://{}", gateway.internal());
    let run = |words: &[&str]| done(&rig_at(&api, words, &[]));
    let shown = [run(&["sessions"]), run(&["session", name]), run(&["sessions", "--json"])].concat();
    assert!(shown.contains(r"a/b%\u{1b}[31m é\u{202e}"), "{shown:?}");
    let said = run(&["revoke", "--session", name, "--for", "2h", "--id", "r1"]);
    let shown =
        [shown, said, run(&["revocations"]), run(&["revocations", "--json"]), run(&["session", name])]
            .concat();
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
    sse.expect_kill();
}

#[test]
fn what_answers_but_is_no_gateway_is_said_to_be_none() {
    let hostile = b"HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: 39\r\n\r\n{\"detail\":\"\\u001b]0;owned\\u0007\\u202e\"}";
    let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
    for (answer, code, said) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>"[..],
            1,
            "answered 200, and not as the API of a gateway",
        ),
        (
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            1,
            "answered 404, and not as the API of a gateway",
        ),
        (
            b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
            1,
            "answered 302, and not as the API",
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":", 1, "the answer breaks off"),
        (b"no HTTP\r\n\r\n", 1, "client error"),
        (hostile, 3, r"\u{1b}]0;owned\u{7}\u{202e}"),
    ] {
        let (api, thread) = answering(answer);
        let (ended, told) = failed(&rig_at(&api, &["sessions"], &[]));
        thread.join().expect("the API answers");
        assert_eq!(ended, Some(code), "{told}");
        assert!(told.contains(said), "{told}");
        assert!(!told.contains(['\u{1b}', '\u{202e}']), "{told:?}");
    }
    let (api, thread) = answering(empty);
    assert_eq!(done(&rig_at(&api, &["lift", "r1"], &[])), "lifted: r1\n");
    thread.join().expect("the API answers");
}

#[test]
fn shells_get_completions_that_they_can_read() {
    for (shell, mark) in [("bash", "complete -F _rig"), ("zsh", "#compdef rig"), ("fish", "complete -c rig")]
    {
        let script = done(&rig_at("", &["completions", shell], &[]));
        assert!(script.contains(mark), "{shell}: {}", &script[..200]);
        for word in ["revoke", "revocations", "issued-up-to", "inbound-port"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let script = done(&rig_at("", &["completions", "bash"], &[]));
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("bash is installed");
    bash.stdin.take().expect("stdin is piped").write_all(script.as_bytes()).expect("bash reads");
    assert!(bash.wait().expect("bash exits").success(), "bash cannot read the script");
    for words in [&["completions"][..], &["completions", "tcsh"], &["completions", "bash", "zsh"]] {
        let (code, told) = failed(&rig_at("", words, &[]));
        assert_eq!((code, told.as_str()), (Some(2), "flag SHELL: expected bash, zsh or fish"));
    }
}
