//! As much of HTTP/1.1 as a load generator needs.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// The largest head or body that is taken.
const LARGEST: usize = 1 << 20;

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    /// Zero without the header.
    content_length: usize,
    pub(super) chunked: bool,
    /// The server closes the connection after this answer.
    closes: bool,
    /// The cookies that the answer sets, in the form of a `Cookie` header.
    pub(super) cookies: String,
}

/// Reads up to the end of a head. What follows it stays in `buffer`.
///
/// # Errors
/// Fails if no head is received, or if it is malformed.
pub(super) async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> anyhow::Result<ResponseHead> {
    let end = |bytes: &[u8]| bytes.windows(4).position(|window| window == b"\r\n\r\n");
    read_until(stream, buffer, |bytes| end(bytes).is_some()).await.context("head of an answer")?;
    let end = end(buffer).context("head of an answer")?;
    let head = parse_head(std::str::from_utf8(&buffer[..end])?)?;
    buffer.drain(..end + 4);
    Ok(head)
}

/// Reads until the buffer is `done`.
///
/// # Errors
/// Fails if the stream ends first, or if too much is received.
pub(super) async fn read_until(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> bool,
) -> anyhow::Result<()> {
    while !done(buffer) {
        anyhow::ensure!(buffer.len() < LARGEST, "too long");
        let read = stream.read_buf(buffer).await?;
        anyhow::ensure!(read > 0, "closed after {:?}", String::from_utf8_lossy(buffer));
    }
    Ok(())
}

fn parse_head(head: &str) -> anyhow::Result<ResponseHead> {
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let status = status.context("not a status line")?;
    let (length, chunked, closes, cookies) = (0, false, false, String::new());
    let mut head = ResponseHead { status, content_length: length, chunked, closes, cookies };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.content_length = value.parse().context("content-length")?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = value.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            head.closes = value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("set-cookie") {
            let separator = if head.cookies.is_empty() { "" } else { "; " };
            head.cookies.extend([separator, value.split(';').next().unwrap_or(value)]);
        }
    }
    Ok(head)
}

/// Reads the next answer: its head and its body.
///
/// # Errors
/// Fails if no answer is received, or if it is malformed.
pub(super) async fn read_answer(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> anyhow::Result<(ResponseHead, Vec<u8>)> {
    let head = read_head(stream, buffer).await?;
    anyhow::ensure!(!head.chunked, "a chunked answer is not understood here");
    let length = head.content_length;
    read_until(stream, buffer, |bytes| bytes.len() >= length).await.context("body of an answer")?;
    Ok((head, buffer.drain(..length).collect()))
}

/// Returns the body of a page.
///
/// # Errors
/// Fails if the answer is not 200, or if it takes too long.
pub(crate) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = Vec::new();
        let (head, body) = read_answer(&mut stream, &mut buffer).await?;
        anyhow::ensure!(head.status == 200, "{path} answers {}", head.status);
        Ok(String::from_utf8(body)?)
    };
    timeout(ANSWER, answer).await.with_context(|| format!("no answer to {path}"))?
}

/// One connection that publishes events, one after the other. Reconnects if the server closes it
/// after an answer.
#[derive(Debug)]
pub(crate) struct Publisher {
    address: SocketAddr,
    /// `None`: closed by the server.
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Publisher {
    /// # Errors
    /// The server cannot be reached.
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { address, stream: Some(connect(address).await?), buffer: Vec::new() })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// It is not accepted.
    pub(crate) async fn publish(&mut self, request: &[u8]) -> anyhow::Result<()> {
        let (status, body) = self.ask(request).await?;
        let text = || String::from_utf8_lossy(&body).into_owned();
        anyhow::ensure!((200..300).contains(&status), "publishing answers {status} {}", text());
        Ok(())
    }

    /// Sends a request; returns the status and the body of its answer.
    ///
    /// # Errors
    /// None is received.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        let answer = async {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => connect(self.address).await?,
            };
            stream.write_all(request).await?;
            let (head, body) = read_answer(&mut stream, &mut self.buffer).await?;
            self.stream = (!head.closes).then_some(stream);
            Ok((head.status, body))
        };
        timeout(ANSWER, answer).await.context("no answer to a request")?
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_without_case() {
        let head = parse_head("HTTP/1.1 202 Accepted\r\nDate: x\r\nContent-LENGTH: 12").unwrap();
        let cookies = String::new();
        assert_eq!(
            head,
            ResponseHead { status: 202, content_length: 12, chunked: false, closes: false, cookies }
        );
        assert!(parse_head("HTTP/1.1 200\r\ntransfer-encoding: Chunked").unwrap().chunked);
        assert!(parse_head("HTTP/1.1 200 OK\r\nCONNECTION: Close").unwrap().closes);
        let cookies = "HTTP/1.1 200 OK\r\nset-cookie: a=1=; path=/; HttpOnly\r\nSet-Cookie: b=\"2\"";
        assert_eq!(parse_head(cookies).unwrap().cookies, "a=1=; b=\"2\"");
        assert!(parse_head("nonsense").is_err());
        assert!(parse_head("HTTP/1.1 200 OK\r\ncontent-length: many").is_err());
    }
}
