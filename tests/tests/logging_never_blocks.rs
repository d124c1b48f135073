//! Whatever happens to standard error, the gateway serves, revokes and shuts down.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

/// The length of a target that makes its log line several thousand bytes long, so that few requests
/// fill all buffers.
const LONG: usize = 7000;

/// The number of such requests that exceeds what the pipe and the gateway's queue can hold.
const MANY: usize = 400;

/// A gateway whose ports are known before it has logged anything.
struct Node {
    child: Child,
    inbound: SocketAddr,
    internal: SocketAddr,
    _upstream: Upstream,
}

impl Node {
    /// Starts it through a shell that applies `redirect` to its descriptors. Before that, standard
    /// error is a pipe.
    fn start(redirect: &str, settings: &[(&str, &str)]) -> Self {
        let script = format!("exec \"$0\" {redirect}");
        Self::start_by(&["/bin/sh", "-c", &script], settings)
    }

    fn start_by(program: &[&str], settings: &[(&str, &str)]) -> Self {
        let upstream = Upstream::start();
        let endpoints = json!([{"id": "all", "path_regex": "/.*", "method": "GET"}]);
        let apis = json!([upstream.api("shop", &endpoints)]).to_string();
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [inbound, internal] = free.map(|listener| listener.local_addr().expect("it is bound"));
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(Gateway::binary());
        command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped()).envs([
            ("JWT_SECRET_KEY", KEY),
            ("INBOUND_BIND", "127.0.0.1"),
            ("INBOUND_PORT", &inbound.port().to_string()),
            ("API_HTTP_PORT", &internal.port().to_string()),
            ("DATA_DIR", "memory"),
            ("LOG_LEVEL", "info"),
            ("LOG_FMT", "json"),
            ("REQUEST_LOG", "console"),
            ("PROXY_CONFIG_FILE", &apis),
        ]);
        command.envs(settings.iter().copied());
        let child = command.spawn().expect("the program is there");
        let mut node = Self { child, inbound, internal, _upstream: upstream };
        eventually("the gateway", || {
            assert_eq!(node.child.try_wait().expect("ours"), None, "the gateway has exited");
            TcpStream::connect(internal).ok()
        });
        node
    }

    /// Sends requests that write log lines, and reads their answers.
    fn make_lines(&self, count: usize) {
        for n in 0..count {
            let answer = Request::get(format!("/{n}/{}", "x".repeat(LONG))).send(self.inbound);
            assert_eq!(answer.status, 200, "request {n}: {}", answer.shown());
        }
    }

    /// Checks health, and the revocation of a session with an open stream.
    fn serves_and_revokes(&self, session: &str) {
        let query = format!("jwt={}", token_of(session));
        let mut stream = Sse::connect(self.inbound, &query);
        stream.welcome();
        assert_eq!(Request::get("/_rig/health").send(self.inbound).status, 200);
        assert_eq!(Request::get("/health").send(self.internal).status, 200);
        let body = json!({ "sessionId": session, "validityInSeconds": 600 }).to_string();
        let revoked = Request::post_json("/v3/session-blacklist", body).send(self.internal);
        assert_eq!(revoked.status, 201, "{}", revoked.shown());
        assert!(stream.raw().expect("the farewell").contains("rig.session_killed"));
    }

    fn dropped(&self) -> f64 {
        let metrics = Request::get("/metrics").send(self.internal).text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("rig_log_lines_dropped_total "));
        line.expect("the counter is there").parse().expect("a number")
    }

    /// Stops it with SIGTERM, and waits until it exits.
    fn leave(&mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        let kill = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(kill.expect("kill is installed").success());
        let status = eventually("the end", || self.child.try_wait().expect("ours"));
        (status, asked.elapsed())
    }

    fn leaves_in_time(&mut self) {
        let (status, took) = self.leave();
        assert_eq!(status.code(), Some(0));
        assert!(took < Duration::from_secs(5), "{took:?}");
    }

    fn log(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("taken once")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn f01_a_log_whose_reader_hangs_stops_nothing() {
    for form in ["json", "text"] {
        let mut node = Node::start("", &[("LOG_FMT", form), ("SHUTDOWN_GRACE_PERIOD", "4s")]);
        node.make_lines(MANY);
        node.serves_and_revokes("a-session");
        assert!(node.dropped() > 100.0, "{}", node.dropped());
        node.leaves_in_time();
    }
}

#[test]
fn f01_a_reader_that_comes_back_reads_whole_lines_and_how_many_are_missing() {
    let mut node = Node::start("", &[]);
    node.make_lines(MANY);
    let dropped = node.dropped();
    assert!(dropped > 0.0);
    let mut log = node.log();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    // Waits until the report of dropped lines is written and further lines are written again.
    eventually("a log that is empty again", || {
        let before = node.dropped();
        node.make_lines(1);
        (node.dropped() == before).then_some(())
    });
    node.serves_and_revokes("another");
    node.make_lines(3);
    let dropped = node.dropped();
    node.leaves_in_time();
    let text = reader.join().expect("no panic").expect("UTF-8");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("each line is whole")).collect();
    let missing = lines.iter().filter(|line| line["target"] == "rig::log").map(|line| line["lines"].as_u64());
    assert_eq!(missing.map(|lines| lines.expect("a number")).sum::<u64>() as f64, dropped, "{dropped}");
    let numbers: Vec<usize> =
        lines.iter().filter_map(|line| line["path"].as_str()?.split('/').nth(1)?.parse().ok()).collect();
    // Up to the first dropped line, none is missing and the order is kept.
    assert_eq!(numbers[..100], (0..100).collect::<Vec<_>>());
    assert_eq!(numbers[numbers.len() - 3..], [0, 1, 2]);
}

#[test]
fn f02_a_log_whose_reader_has_gone_stops_nothing() {
    let mut node = Node::start("", &[]);
    drop(node.log());
    node.make_lines(20);
    node.serves_and_revokes("a-session");
    eventually("lines that are given up", || (node.dropped() > 0.0).then_some(()));
    node.make_lines(20);
    node.leaves_in_time();
}

#[test]
fn f02_a_log_without_space_stops_nothing() {
    // A full device, and descriptors that are closed or cannot be written to. A file at its limit
    // (SIGXFSZ) follows.
    let places = ["2>/dev/full", ">/dev/full 2>&1", "2>&-", ">&- 2>&-", "2</dev/null", "2>/dev/null"];
    for place in places {
        let mut node = Node::start(place, &[]);
        node.make_lines(20);
        node.serves_and_revokes("a-session");
        node.leaves_in_time();
    }
    let folder = Folder::new();
    let script = format!("ulimit -f 8; exec \"$0\" 2>>{}", folder.path().join("log").display());
    let mut node = Node::start_by(&["/bin/sh", "-c", &script], &[]);
    node.make_lines(20);
    node.serves_and_revokes("a-session");
    eventually("lines that are given up", || (node.dropped() > 0.0).then_some(()));
    node.leaves_in_time();
}

#[test]
fn f01_a_fifo_without_a_reader_stops_nothing() {
    let folder = Folder::new();
    let fifo = folder.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo is installed").success());
    // Opened for reading and writing, since opening a FIFO for writing alone would block the shell
    // until there is a reader.
    let mut node = Node::start(&format!("2<>{fifo}"), &[]);
    node.make_lines(MANY);
    node.serves_and_revokes("a-session");
    assert!(node.dropped() > 0.0);
    node.leaves_in_time();
}

#[test]
fn f02_a_reader_that_wants_one_line_only_stops_nothing() {
    // Like `rig 2>&1 | head -n 1`, but with the gateway as the child of the test.
    let mut node =
        Node::start_by(&["/bin/bash", "-c", "exec \"$0\" >/dev/null 2> >(exec head -n 1 >/dev/null)"], &[]);
    node.make_lines(20);
    node.serves_and_revokes("a-session");
    eventually("lines that are given up", || (node.dropped() > 0.0).then_some(()));
    node.leaves_in_time();
}

/// Otherwise the log would be written to the first file or socket that is opened: the revocation
/// log, or a client.
#[test]
fn f02_descriptors_that_are_closed_at_the_start_are_not_given_to_sockets() {
    for closed in [&[2][..], &[1, 2], &[0, 1, 2]] {
        let folder = Folder::new();
        let redirect: String =
            closed.iter().map(|fd| format!(" {fd}{}&-", if *fd == 0 { '<' } else { '>' })).collect();
        let mut node = Node::start(&redirect, &[("DATA_DIR", &folder.join("data"))]);
        node.make_lines(20);
        for fd in closed {
            let path = format!("/proc/{}/fd/{fd}", node.child.id());
            assert_eq!(std::fs::read_link(path).expect("it is open"), std::path::Path::new("/dev/null"));
        }
        node.serves_and_revokes("a-session");
        node.leaves_in_time();
    }
}

/// Standard error is a terminal whose user has pressed Ctrl-S.
#[test]
fn f01_a_terminal_that_is_stopped_stops_nothing() {
    let script = "import os, pty, sys, termios
master, slave = pty.openpty()
os.set_inheritable(master, True)
termios.tcflow(slave, termios.TCOOFF)
os.dup2(slave, 2)
os.execv(sys.argv[1], sys.argv[1:])";
    let mut node = Node::start_by(&["python3", "-c", script], &[]);
    node.make_lines(MANY);
    node.serves_and_revokes("a-session");
    assert!(node.dropped() > 0.0);
    node.leaves_in_time();
}

/// The parent process may share a non-blocking descriptor, as Node.js does with pipes.
#[test]
fn f01_a_pipe_that_does_not_block_loses_nothing_that_has_room() {
    let script = "import os, sys
os.set_blocking(2, False)
os.execv(sys.argv[1], sys.argv[1:])";
    let mut node = Node::start_by(&["python3", "-c", script], &[]);
    // More than the pipe can hold, less than the queue can hold.
    node.make_lines(60);
    let mut log = node.log();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    node.serves_and_revokes("a-session");
    assert_eq!(node.dropped(), 0.0);
    node.leaves_in_time();
    let text = reader.join().expect("no panic").expect("UTF-8");
    assert_eq!(text.lines().filter(|line| line.contains("xxxxxxxx")).count(), 60);
}

#[test]
fn f01_a_failed_start_is_reported_and_does_not_hang() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let output = Command::new(Gateway::binary())
        .env_clear()
        .envs([("INBOUND_BIND", "127.0.0.1"), ("INBOUND_PORT", &port), ("DATA_DIR", "memory")])
        .envs([("API_HTTP_PORT", "0"), ("LOG_LEVEL", "error")])
        .output()
        .expect("the binary is there");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(text.contains("the inbound port cannot listen on 127.0.0.1"), "{text}");
}
