//! Revocations survive a restart, `kill -9` at any instant, and changes of the time of day.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::json;

fn connect(gateway: &Gateway, token: &str) -> Result<Sse, Response> {
    Sse::open(gateway.inbound(), &Request::get(format!("/_rig/v1/connection/sse?jwt={token}")))
}

fn is_refused(gateway: &Gateway, session: &str) -> bool {
    match connect(gateway, &token_of(session)) {
        Ok(_) => false,
        Err(refusal) => {
            assert!(refusal.text().contains("Ignoring blacklisted JWT"), "{}", refusal.text());
            true
        }
    }
}

fn kill(gateway: &mut Gateway) {
    gateway.signal("KILL");
    gateway.exit_status();
}

#[test]
fn d07_a_restart_forgets_no_revocation() {
    let folder = Folder::new();
    let data = folder.join("data");
    let mut gateway = Gateway::start(&[("DATA_DIR", &data)]);
    gateway.blacklist("s1");
    gateway.terminate();
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
    let gateway = Gateway::start(&[("DATA_DIR", &data)]);
    assert!(is_refused(&gateway, "s1"));
    assert!(!is_refused(&gateway, "s2"));
    assert_eq!(gateway.ask_internal(&Request::get("/v2/session-blacklist/s1")).status, 200);
}

/// Random numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((z ^ (z >> 27)) >> 11) % n
    }
}

/// Returns `true` if the gateway answered 201 before it was killed.
fn is_acknowledged(gateway: &Gateway, name: &str) -> bool {
    let body = json!({ "sessionId": name, "validityInSeconds": 600 }).to_string();
    let head = "POST /v3/session-blacklist HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut status = [0; 12];
    let answered = TcpStream::connect(gateway.internal()).and_then(|mut socket| {
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.write_all(request.as_bytes())?;
        socket.read_exact(&mut status)
    });
    answered.is_ok() && &status == b"HTTP/1.1 201"
}

/// Revokes sessions over several connections until the gateway is dead; returns those that were
/// acknowledged.
fn revoke_until(gateway: &Gateway, round: u32, acknowledged: u64) -> Vec<String> {
    let enough = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    let revoke = |thread: u32| {
        let mut names = Vec::new();
        for n in 0.. {
            let name = format!("{round}-{thread}-{n}");
            if !is_acknowledged(gateway, &name) {
                return names;
            }
            names.push(name);
            if count.fetch_add(1, Ordering::SeqCst) + 1 >= acknowledged
                && !enough.swap(true, Ordering::SeqCst)
            {
                gateway.signal("KILL");
            }
        }
        names
    };
    std::thread::scope(|scope| {
        let revoke = &revoke;
        let threads = [0, 1, 2].map(|thread| scope.spawn(move || revoke(thread)));
        threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).collect()
    })
}

/// Each round kills the gateway while three clients send revocations, and starts it again.
#[test]
fn d07_kill_9_at_any_instant_loses_no_acknowledged_revocation() {
    let folder = Folder::new();
    let data = folder.join("data");
    let settings = [("DATA_DIR", data.as_str()), ("MAX_CONNECTIONS_PER_MINUTE", "1000000")];
    let mut random = Random(3);
    let mut acknowledged: Vec<String> = Vec::new();
    let mut checked = 0;
    for round in 0..300 {
        let mut gateway = Gateway::start(&settings);
        // Checks all revocations of the round before, the youngest first, and a sample of all
        // earlier ones.
        let (old, last) = acknowledged.split_at(acknowledged.len().saturating_sub(20));
        for name in last.iter().rev() {
            assert!(is_refused(&gateway, name), "round {round}: {name} was acknowledged and is forgotten");
            checked += 1;
        }
        for _ in 0..5 {
            let Some(name) = old.get(random.below(old.len().max(1) as u64) as usize) else { continue };
            let known = gateway.ask_internal(&Request::get(format!("/v3/session-blacklist/{name}")));
            assert_eq!(known.status, 200, "round {round}: {name} was acknowledged and is lost");
        }
        acknowledged.extend(revoke_until(&gateway, round, 1 + random.below(12)));
        kill(&mut gateway);
    }
    assert!(
        acknowledged.len() >= 300 && checked >= 300,
        "{} acknowledged, {checked} checked",
        acknowledged.len()
    );
    let gateway = Gateway::start(&settings);
    let forgotten = |name: &&String| {
        gateway.ask_internal(&Request::get(format!("/v3/session-blacklist/{name}"))).status != 200
    };
    assert_eq!(acknowledged.iter().filter(forgotten).count(), 0, "lost");
}

#[test]
fn d08_the_time_of_day_ends_no_revocation() {
    let folder = Folder::new();
    let data = folder.join("data");
    let token = |session: &str| {
        let claims = json!({ "jti": session, "exp": in_seconds(30 * 24 * 3600) });
        signed(&claims, Algorithm::HS256, &EncodingKey::from_secret(KEY.as_bytes()).expect("a key"))
    };
    let mut gateway = Gateway::start(&[("DATA_DIR", &data)]);
    gateway.blacklist("s1");
    kill(&mut gateway);
    let library = std::fs::read_dir("/usr/lib").expect("a system").filter_map(Result::ok);
    let library =
        library.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    let library = library.expect("scripts/test installs libfaketime").display().to_string();
    for shift in ["+1d", "-1d"] {
        let settings = [
            ("DATA_DIR", data.as_str()),
            ("LD_PRELOAD", &library),
            ("FAKETIME", shift),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        let mut gateway = Gateway::start(&settings);
        let head = Request::get("/_rig/health").start(gateway.inbound());
        drop(head);
        let refusal = connect(&gateway, &token("s1")).err().unwrap_or_else(|| panic!("{shift}: let in"));
        assert!(refusal.text().contains("Ignoring blacklisted JWT"), "{shift}: {}", refusal.text());
        assert!(connect(&gateway, &token("s2")).is_ok(), "{shift}");
        kill(&mut gateway);
    }
}

#[test]
fn a_folder_in_use_or_none_is_an_error_that_names_it() {
    let folder = Folder::new();
    let data = folder.join("data");
    let gateway = Gateway::start(&[("DATA_DIR", &data)]);
    let file = folder.join("file");
    std::fs::write(&file, "not a folder").expect("a file");
    for (data, reason) in [(data, "is in use by another process"), (file, "File exists")] {
        let output = Command::new(Gateway::binary())
            .env_clear()
            .envs([("DATA_DIR", data.as_str()), ("INBOUND_PORT", "0"), ("API_HTTP_PORT", "0")])
            .output()
            .expect("the gateway runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(&data) && told.contains(reason), "{told}");
    }
    drop(gateway);
}

#[test]
fn in_memory_a_restart_loses_revocations_and_the_log_warns() {
    let gateway = Gateway::start(&[("DATA_DIR", "memory")]);
    assert!(
        gateway.log().contains("DATA_DIR = memory: a restart forgets every revocation"),
        "{}",
        gateway.log()
    );
}

#[test]
fn on_a_full_disk_the_session_is_out_and_the_caller_knows_that_it_may_not_last() {
    let folder = Folder::new();
    let data = folder.join("data");
    // 200 KiB for each file.
    let shell = ["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\""];
    let gateway = Gateway::start_by("/bin/bash", &shell, &[("DATA_DIR", &data)]);
    let revoke = |n: u32| {
        let body = json!({ "sessionId": format!("{n}-{}", "x".repeat(900)), "validityInSeconds": 600 });
        gateway.ask_internal(&Request::post_json("/v3/session-blacklist", body.to_string())).status
    };
    let (mut kept, mut full) = (0, None);
    for n in 0..1000 {
        match revoke(n) {
            201 => kept += 1,
            status => {
                full = Some((n, status));
                break;
            }
        }
    }
    let (n, status) = full.expect("the disk is full at some time");
    assert!(kept > 0);
    assert_eq!(status, 503);
    assert!(is_refused(&gateway, &format!("{n}-{}", "x".repeat(900))), "it is in force all the same");
    drop(gateway);
    let gateway = Gateway::start(&[("DATA_DIR", &data)]);
    for n in 0..kept {
        assert!(is_refused(&gateway, &format!("{n}-{}", "x".repeat(900))), "{n} of {kept} was acknowledged");
    }
}

/// A revocation is acknowledged only if its line is in the audit log.
#[test]
fn f02_a_revocation_whose_audit_line_has_no_room_is_not_acknowledged() {
    let folder = Folder::new();
    let (data, audit) = (folder.join("data"), folder.join("data/audit.log"));
    let shell = ["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\""];
    let gateway = Gateway::start_by("/bin/bash", &shell, &[("DATA_DIR", &data)]);
    let revoke = |n: u32| {
        let (session, reason) = (format!("s{n}"), "x".repeat(900));
        let body = json!({ "session": session, "id": session, "validityInSeconds": 600, "reason": reason });
        gateway.ask_internal(&Request::post_json("/v4/revocations", body.to_string()))
    };
    // Each one is lifted again, so that the revocation log reuses its pages and only the audit log
    // grows.
    let refused = (0..400).find_map(|n| match revoke(n) {
        answer if answer.status == 201 => {
            let lifted = gateway.ask_internal(&Request::new("DELETE", format!("/v4/revocations/s{n}")));
            (lifted.status != 204).then_some((n, lifted))
        }
        answer => Some((n, answer)),
    });
    let (n, answer) = refused.expect("the audit log is full at some time");
    assert_eq!(answer.status, 503, "{}", answer.text());
    eventually("the reason", || gateway.log().contains("audit.log: File too large").then_some(()));
    // A shorter line might still fit, but this one does not.
    let next = n + 1;
    assert_eq!(revoke(next).status, 503);
    assert!(is_refused(&gateway, &format!("s{next}")), "it is in force all the same");
    let lines = std::fs::read_to_string(&audit).expect("an audit log");
    // The file may end with half a line, which does not count and is overwritten by the next one.
    let (whole, _) = lines.rsplit_once('\n').expect("lines");
    assert!(!whole.contains(&format!("\"s{next}\"")), "no line for what was not acknowledged");
    drop(gateway);
    // Once there is room again, the chain continues.
    let gateway = Gateway::start(&[("DATA_DIR", &data)]);
    assert!(!is_refused(&gateway, &format!("s{next}")), "that one was not kept, and the answer said so");
    let body = json!({ "session": "last", "validityInSeconds": 600 }).to_string();
    assert_eq!(gateway.ask_internal(&Request::post_json("/v4/revocations", body)).status, 201);
    gateway.end();
    let verified = Command::new(Gateway::binary())
        .args(["audit", "verify"])
        .env_clear()
        .env("DATA_DIR", &data)
        .output()
        .expect("the binary is there");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let lines = std::fs::read_to_string(&audit).expect("an audit log");
    assert!(lines.lines().last().is_some_and(|line| line.contains("\"last\"")));
}

#[test]
fn the_canary_sees_its_connection_silenced() {
    let gateway = Gateway::start(&[("CANARY_INTERVAL", "200ms")]);
    let runs = |result| gateway.metric_sum("rig_canary_runs_total", &[("result", result)]);
    eventually("two runs", || (runs("ok") >= 2.0).then_some(()));
    for result in ["late_payload", "not_killed", "failed"] {
        assert_eq!(runs(result), 0.0);
    }
    assert_eq!(gateway.metric("rig_revocation_payload_after_kill_total"), 0.0);
    assert!(gateway.metric_sum("rig_canary_time_to_kill_seconds_count", &[]) >= 2.0);
}
