//! What a web hook sends, and what it makes of the answers.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::{Secrets, WebHook};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn hook(address: SocketAddr) -> (tempfile::TempDir, WebHook) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let secrets = Arc::new(Secrets::load(path).unwrap());
    let url = format!("http://{address}/hooks/rig?key=1").parse().unwrap();
    (folder, WebHook::new(url, secrets))
}

fn event() -> Event {
    Event { id: "0123456789abcdef0123456789abcdef".to_owned(), body: Bytes::from_static(b"{\"a\": 1}") }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut seen = Vec::new();
    while !seen.ends_with(b"{\"a\": 1}") {
        if stream.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
    }
    String::from_utf8(seen).ok()
}

/// Answers each request on each connection with these bytes; returns its address and the requests.
async fn receiver(answer: impl Into<Vec<u8>>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, requests) = mpsc::unbounded_channel();
    let answer = answer.into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (seen, answer) = (seen.clone(), answer.clone());
            tokio::spawn(async move {
                let mut number = 0;
                while let Some(request) = read_request(&mut stream).await {
                    number += 1;
                    seen.send(format!("{number} {request}")).unwrap();
                    if stream.write_all(&answer).await.is_err() || answer.is_empty() {
                        return;
                    }
                }
            });
        }
    });
    (address, requests)
}

fn answer(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")
}

#[tokio::test]
async fn a_request_is_that_of_standard_webhooks_and_cloudevents() {
    let (address, mut requests) = receiver(answer("204 No Content")).await;
    let (_folder, hook) = hook(address);
    let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    hook.send(&event()).await.unwrap();
    hook.send(&event()).await.unwrap();
    let request = requests.recv().await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("1 POST /hooks/rig?key=1 HTTP/1.1"));
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("{name}: {head}"))
    };
    assert_eq!(header("content-type"), "application/cloudevents+json");
    assert_eq!(header("content-length"), "8");
    assert_eq!(header("host"), address.to_string());
    assert!(header("user-agent").starts_with("rig/"));
    assert_eq!(header("webhook-id"), event().id);
    let timestamp: u64 = header("webhook-timestamp").parse().unwrap();
    assert!((before..before + 60).contains(&timestamp));
    let secrets = tempfile::tempdir().unwrap();
    let path = secrets.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let expected = Secrets::load(path).unwrap().sign(&event().id, timestamp, body.as_bytes());
    assert_eq!(header("webhook-signature"), expected);
    assert!(requests.recv().await.unwrap().starts_with("2 POST "), "the connection is used again");
}

#[tokio::test]
async fn only_2xx_is_taken() {
    for (text, expected) in [
        ("200 OK", Ok(())),
        ("202 Accepted", Ok(())),
        ("299 Fine", Ok(())),
        ("302 Found\r\nlocation: /elsewhere", Err(("status 302, and redirects are not followed", None))),
        ("308 Permanent Redirect\r\nlocation: /", Err(("status 308, and redirects are not followed", None))),
        ("400 Bad Request", Err(("status 400", None))),
        ("410 Gone", Err(("status 410", None))),
        ("429 Too Many Requests\r\nretry-after: 7", Err(("status 429", Some(7)))),
        ("429 Too Many Requests\r\nretry-after: -7", Err(("status 429", None))),
        ("429 Too Many Requests", Err(("status 429", None))),
        ("500 Internal Server Error\r\nretry-after: 7", Err(("status 500", None))),
        ("503 Service Unavailable\r\nretry-after:  120 ", Err(("status 503", Some(120)))),
        ("503 Service Unavailable\r\nretry-after: 99999999999999999999", Err(("status 503", None))),
        ("503 Service Unavailable\r\nretry-after: Fri, 31 Dec 2027 23:59:59 GMT", Err(("status 503", None))),
    ] {
        let (address, mut requests) = receiver(answer(text)).await;
        let (_folder, hook) = hook(address);
        let expected = expected.map_err(|(cause, seconds): (&str, Option<u64>)| Failure {
            cause: cause.to_owned(),
            retry_after: seconds.map(Duration::from_secs),
        });
        assert_eq!(hook.send(&event()).await, expected, "{text}");
        requests.recv().await.unwrap();
        assert!(requests.try_recv().is_err(), "{text}: one request, and no redirect is followed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_away_or_speaks_no_http_is_a_failure_and_shows_no_path() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_folder, away) = hook(gone.local_addr().unwrap());
    drop(gone);
    let failure = away.send(&event()).await.unwrap_err();
    assert!(failure.cause.contains("Connection refused") && !failure.cause.contains("key=1"), "{failure}");
    assert!(!format!("{away:?}").contains("key=1"));
    for garbage in ["", "HTTP/1.1 2", "SSH-2.0-OpenSSH\r\n\r\n"] {
        let (address, _requests) = receiver(garbage).await;
        let (_folder, hook) = hook(address);
        assert!(hook.send(&event()).await.is_err(), "{garbage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_is_left_after_ten_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_folder, hook) = hook(listener.local_addr().unwrap());
    let began = Instant::now();
    let failure = hook.send(&event()).await.unwrap_err();
    assert_eq!((failure.cause.as_str(), began.elapsed().as_secs()), ("no answer within 10 s", 10));
}

/// The status says that the event is taken, whatever follows.
#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_an_answer() {
    for head in ["content-length: 10", "transfer-encoding: chunked"] {
        let (address, _requests) = receiver(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n")).await;
        let (_folder, hook) = hook(address);
        let began = Instant::now();
        assert_eq!(hook.send(&event()).await, Ok(()));
        assert_eq!(began.elapsed().as_secs(), 10);
    }
}

#[tokio::test]
async fn no_more_than_64_kib_of_an_answer_are_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_folder, hook) = hook(listener.local_addr().unwrap());
    let receiver = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await.unwrap();
        let (mut written, piece) = (0_u64, [b'x'; 16 << 10]);
        while stream.write_all(&piece).await.is_ok() {
            written += piece.len() as u64;
        }
        written
    });
    assert_eq!(hook.send(&event()).await, Ok(()));
    let written = tokio::time::timeout(Duration::from_secs(60), receiver).await.unwrap().unwrap();
    // What the system buffers on both sides is sent, and not read.
    assert!(written < 64 << 20, "{written}");
}

/// A receiver closes a connection that was kept open just as it is used again.
#[tokio::test]
async fn a_connection_that_the_receiver_has_closed_is_no_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        read_request(&mut first).await.unwrap();
        first.write_all(answer("204 No Content").as_bytes()).await.unwrap();
        let lost = read_request(&mut first).await.unwrap();
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        let repeated = read_request(&mut second).await.unwrap();
        second.write_all(answer("204 No Content").as_bytes()).await.unwrap();
        (lost, repeated)
    });
    let (_folder, hook) = hook(address);
    for _ in 0..2 {
        hook.send(&event()).await.unwrap();
    }
    let (lost, repeated) = receiver.await.unwrap();
    let id = |request: &str| request.lines().find(|line| line.starts_with("webhook-id")).unwrap().to_owned();
    assert_eq!(id(&lost), id(&repeated));
}
