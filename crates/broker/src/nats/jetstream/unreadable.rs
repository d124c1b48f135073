//! Which messages the library can read. A server sends any headers that it was sent.

use async_nats::{HeaderName, HeaderValue, StatusCode};

/// Returns whether the library can read a message. If it cannot, it closes the connection, or its
/// task panics. This reads as it does (async-nats 0.51, `Connection::try_read_op`).
pub(super) fn is_readable(subject: &str, headers: &[u8]) -> bool {
    // JSON shows so what is not UTF-8.
    if subject.contains(char::REPLACEMENT_CHARACTER) {
        return false;
    }
    headers.is_empty() || (!subject.contains(char::is_whitespace) && are_readable(headers).is_some())
}

fn are_readable(headers: &[u8]) -> Option<()> {
    let mut lines = str::from_utf8(headers).ok()?.lines().peekable();
    let status = lines.next()?.strip_prefix("NATS/1.0")?.trim();
    let status = status.split_once(' ').map_or(status, |(status, _)| status.trim());
    if !status.is_empty() {
        status.parse::<StatusCode>().ok()?;
    }
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(':')?;
        name.parse::<HeaderName>().ok()?;
        let mut value = value.trim_start().to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(more);
        }
        value.trim_end().parse::<HeaderValue>().ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use async_nats::{ConnectOptions, Event};
    use futures_util::StreamExt;
    use rig_tests::{NatsOptions, NatsServer};
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;

    /// Publishes a message, and returns whether a client of the library receives it.
    async fn is_received(server: &NatsServer, subject: &[u8], headers: &[u8]) -> bool {
        let (lost, mut losses) = mpsc::unbounded_channel();
        let options = ConnectOptions::new().event_callback(move |event| {
            if event == Event::Disconnected {
                let _ = lost.send(());
            }
            std::future::ready(())
        });
        let client = Box::pin(options.connect(server.url())).await.unwrap();
        let mut messages = client.subscribe("a.>").await.unwrap();
        // The server has processed what came before on the same connection.
        client.request("nobody.listens", "".into()).await.unwrap_err();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let length = headers.len();
        let parts = [b"CONNECT {\"headers\":true}\r\nHPUB ", subject];
        stream.write_all(&parts.concat()).unwrap();
        write!(stream, " {length} {length}\r\n").unwrap();
        stream.write_all(&[headers, b"\r\nPING\r\n"].concat()).unwrap();
        assert!(BufReader::new(stream).lines().any(|line| line.unwrap() == "PONG"));
        let received = async {
            tokio::select! {
                message = messages.next() => message.is_some(),
                // The sender is gone if the task of the library has ended.
                _ = losses.recv() => false,
            }
        };
        timeout(Duration::from_secs(30), received).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_library_cannot_read_is_known() {
        let server = NatsServer::start(NatsOptions::default());
        for (subject, headers, expected) in [
            (&b"a.b"[..], &b"NATS/1.0\r\nce-subject: M\xc3\xbcller\r\nb:\r\n\r\n"[..], true),
            (b"a.b", b"NATS/1.0\r\na: b\r\n c\r\n\td\r\n\r\n", true),
            (b"a.b", b"NATS/1.0\na: b\n\na: c\n\n", true),
            (b"a.b", b"NATS/1.0 503 x y\r\n\r\n", true),
            (b"a.b", b"NATS/1.0503\r\na: b\r\r\n\r\n", true),
            (b"a.\xc3\xbc", b"NATS/1.0\r\n\r\n", true),
            (b"a.b", b"NATS/1.0\r\nce-subject: M\xfcller\r\n\r\n", false),
            (b"a.b", b"NATS/1.0\r\nno colon\r\n\r\n", false),
            (b"a.b", b"NATS/1.0\r\na b: c\r\n\r\n", false),
            (b"a.b", b"NATS/1.0\r\n a: c\r\n\r\n", false),
            (b"a.b", b"NATS/1.0\r\na: b\rc\r\n\r\n", false),
            (b"a.b", b"NATS/1.0\r\na:\r\n\rx\r\n\r\n", false),
            (b"a.b", b"NATS/1.0 abc\r\n\r\n", false),
            (b"a.b", b"NATS/2.0\r\n\r\n", false),
            (b"a.b", b"HTTP/1.1\r\n\r\n", false),
            (b"a.\xfc", b"NATS/1.0\r\n\r\n", false),
            (b"a.\xc2\xa0b", b"NATS/1.0\r\n\r\n", false),
        ] {
            let shown = String::from_utf8_lossy(headers);
            let is_readable = is_readable(&String::from_utf8_lossy(subject), headers);
            assert_eq!(is_readable, expected, "{shown:?}");
            assert_eq!(is_received(&server, subject, headers).await, expected, "{shown:?}");
        }
    }
}
