//! The proxy in front of a real nginx: large bodies and many slow clients, with little memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rig_tests::*;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn start() -> (Nginx, Gateway) {
    let nginx = Nginx::start();
    // These tests are about memory, so the timeout is long enough for one nginx to serve a thousand
    // requests.
    let apis = pass_all(nginx.address());
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("PROXY_RECV_TIMEOUT", "60000")]);
    nginx.serve("small", 1 << 16);
    let answer = gateway.ask(&Request::get("/small"));
    assert_eq!((answer.status, answer.body.len()), (200, 1 << 16));
    (nginx, gateway)
}

/// Returns by how much `work` has raised the gateway's peak memory.
fn growth(gateway: &Gateway, work: impl FnOnce()) -> u64 {
    let (before, _) = gateway.memory();
    let began = Instant::now();
    work();
    let (after, most) = gateway.memory();
    println!(
        "{:?}: RSS {} KiB, then {} KiB, at most {} KiB",
        began.elapsed(),
        before >> 10,
        after >> 10,
        most >> 10
    );
    most.saturating_sub(before)
}

#[test]
fn a_gibibyte_down() {
    let (nginx, gateway) = start();
    nginx.serve("large", GIB);
    let grown = growth(&gateway, || {
        let mut wire = Request::get("/large").start(gateway.inbound());
        let head = Response::read_head(&mut wire).expect("an answer");
        assert_eq!(head.header("content-length"), Some("1073741824"));
        assert_eq!(wire.skip(GIB), GIB);
    });
    assert!(grown < 16 * MIB, "{} KiB", grown >> 10);
}

#[test]
fn a_gibibyte_up() {
    let (nginx, gateway) = start();
    let grown = growth(&gateway, || {
        let mut wire = Wire::connect(gateway.inbound());
        wire.send(format!("PUT /large HTTP/1.1\r\nHost: x\r\nContent-Length: {GIB}\r\n\r\n"));
        let block = vec![b'x'; MIB as usize];
        for _ in 0..GIB / MIB {
            wire.try_send(&block).expect("the gateway takes it");
        }
        assert_eq!(Response::read(&mut wire, false).status, 201);
    });
    assert_eq!(nginx.size("large"), Some(GIB));
    assert!(grown < 16 * MIB, "{} KiB", grown >> 10);
}

#[test]
fn a_thousand_slow_clients() {
    const CLIENTS: usize = 1000;
    let (nginx, gateway) = start();
    nginx.serve("file", 4 * MIB);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let quick = scope.spawn(|| {
            let (mut asked, mut slowest) = (0, Duration::ZERO);
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(gateway.ask(&Request::get("/small")).body.len(), 1 << 16);
                slowest = slowest.max(began.elapsed());
                asked += 1;
            }
            println!("{asked} requests of another client in between, the slowest {slowest:?}");
        });
        let over = Over(&done);
        let grown = growth(&gateway, || {
            let mut wires: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let mut wire = Wire::connect_narrow(gateway.inbound());
                    wire.send(Request::get("/file").bytes(gateway.inbound()));
                    wire
                })
                .collect();
            for wire in &mut wires {
                assert_eq!(Response::read_head(wire).expect("an answer").status, 200);
            }
            // All clients read concurrently, a little at a time; most of them disconnect in the
            // middle.
            for _ in 0..8 {
                for wire in &mut wires {
                    assert_eq!(wire.skip(2048), 2048);
                }
            }
            wires.truncate(5);
            for wire in &mut wires {
                assert_eq!(wire.skip(4 * MIB - 8 * 2048), 4 * MIB - 8 * 2048, "the complete body");
            }
        });
        drop(over);
        quick.join().expect("a client that is quick is served in between");
        assert!(grown < CLIENTS as u64 * (320 << 10), "{} KiB for each", (grown >> 10) / CLIENTS as u64);
    });
}

/// Sets the flag when it is dropped, also after a panic, so that no thread waits forever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
