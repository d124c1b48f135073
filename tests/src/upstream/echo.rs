//! The service that returns what it was asked.

use std::sync::mpsc::Sender;

use super::Received;
use crate::wire::Wire;

/// Bytes per write of a large body.
const PIECE: usize = 64 << 10;

/// The interval between two pieces of an endless body.
const TICK: std::time::Duration = std::time::Duration::from_millis(20);

/// Answers the requests of one connection, one after the other.
pub(super) fn serve(wire: &mut Wire, sender: &Sender<Received>) -> Option<()> {
    loop {
        let request = Received::read(wire)?;
        sender.send(request.clone()).ok()?;
        answer(wire, &request)?;
    }
}

fn answer(wire: &mut Wire, request: &Received) -> Option<()> {
    let path = request.target.split('?').next()?;
    let number = |name: &str| path.rsplit_once(name).and_then(|(_, number)| number.parse::<usize>().ok());
    if path.ends_with("/upgrade") && request.header("upgrade").is_some() {
        let protocol = request.header("upgrade")?;
        wire.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        ));
        return echo(wire);
    }
    if path.ends_with("/endless") {
        wire.send(head("200 OK", "Transfer-Encoding: chunked\r\n"));
        loop {
            wire.try_send("4\r\ntick\r\n")?;
            std::thread::sleep(TICK);
        }
    }
    if path.ends_with("/slow") {
        wire.rest();
        return None;
    }
    let to_head = request.method == "HEAD";
    if let Some(count) = number("/bytes/") {
        wire.send(head("200 OK", &format!("Content-Length: {count}\r\n")));
        let mut left = if to_head { 0 } else { count };
        while left > 0 {
            let piece = left.min(PIECE);
            wire.try_send(vec![b'x'; piece])?;
            left -= piece;
        }
        return Some(());
    }
    if path.ends_with("/chunked") {
        wire.send(head("200 OK", "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n"));
        if !to_head {
            wire.send("5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n");
        }
        return Some(());
    }
    let mut more = String::new();
    if path.contains("/redirect") {
        more.push_str("Location: /elsewhere\r\n");
    }
    let status = match number("/status/") {
        Some(status) => status,
        None if path.ends_with("/async") => 202,
        None if path.ends_with("/empty") => 204,
        None => 200,
    };
    if status == 204 {
        wire.send(head("204 Whatever", &more));
        return Some(());
    }
    let body = request.to_json();
    more.push_str(&format!("Content-Length: {}\r\n", body.len()));
    wire.send(head(&format!("{status} Whatever"), &more));
    if !to_head {
        wire.send(body);
    }
    Some(())
}

fn head(status: &str, more: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Up: a\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n{more}\r\n"
    )
}

/// Sends back all bytes until the peer closes.
fn echo(wire: &mut Wire) -> Option<()> {
    loop {
        let bytes = wire.some()?;
        wire.try_send(bytes)?;
    }
}
