//! Tests the framing with input in pieces of every size.

use http::header::HOST;
use http::{Request, Version};

use super::rules::fault;
use super::*;

/// Parses the bytes in pieces of every length. Returns how many heads came before the fault, which
/// must be the same for all lengths.
fn followed(bytes: &[u8]) -> (u32, Option<MessageFault>) {
    let whole = in_pieces(bytes, bytes.len());
    for length in 1..bytes.len() {
        assert_eq!(
            in_pieces(bytes, length),
            whole,
            "in pieces of {length}: {:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    whole
}

fn in_pieces(bytes: &[u8], length: usize) -> (u32, Option<MessageFault>) {
    let mut framing = Framing::default();
    for piece in bytes.chunks(length) {
        if framing.follow(piece) != Ok(piece.len()) {
            break;
        }
    }
    let mut heads = 0;
    while framing.next_head().is_ok() {
        heads += 1;
    }
    (heads, framing.fault)
}

fn with(fields: &str, rest: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{rest}").into_bytes()
}

#[test]
fn messages_follow_one_another() {
    let next = "GET / HTTP/1.1\r\n\r\n";
    for (fields, rest) in [
        ("", String::new()),
        ("Content-Length: 0\r\n", String::new()),
        ("content-length:\t5 \r\n", "\n\n\r\n\n".to_owned()),
        ("Cache-Control: x\r\nTE: trailers\r\ntrailer: a\r\n", String::new()),
        ("TRANSFER-encoding: Chunked\r\n", "3;a=b\r\n\n\n\n\r\nA \r\n0123456789\r\n0\r\n\r\n".to_owned()),
        (
            "Transfer-Encoding: chunked\r\n",
            "0000000000000000;x\r\nContent-Length: 5\r\nx: y\r\n\r\n".to_owned(),
        ),
        ("Transfer-Encoding: chunked\r\n", format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(200))),
    ] {
        assert_eq!(followed(&with(fields, &format!("{rest}\r\n{next}"))), (2, None), "{fields}{rest}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_a_fault() {
    let pad = " ".repeat(100);
    for (fields, fault) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", MessageFault::BothLengths),
        ("transfer-encoding: chunked\r\ncontent-length: 5\r\n", MessageFault::BothLengths),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", MessageFault::ContentLength),
        ("Content-Length: 5, 5\r\n", MessageFault::ContentLength),
        ("Content-Length: +5\r\n", MessageFault::ContentLength),
        ("Content-Length:\r\n", MessageFault::ContentLength),
        ("Content-Length: 0x5\r\n", MessageFault::ContentLength),
        ("Content-Length: 18446744073709551616\r\n", MessageFault::ContentLength),
        (&format!("Content-Length: {pad}5\r\n"), MessageFault::ContentLength),
        ("Transfer-Encoding: chunked, chunked\r\n", MessageFault::TransferEncoding),
        ("Transfer-Encoding: gzip, chunked\r\n", MessageFault::TransferEncoding),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", MessageFault::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", MessageFault::TransferEncoding),
        ("Transfer-Encoding: \u{b}chunked\r\n", MessageFault::TransferEncoding),
        ("X: y\n", MessageFault::LineEnd),
        ("X: y\nContent-Length: 5\r\n", MessageFault::LineEnd),
    ] {
        let (heads, found) = followed(&with(fields, "GET / HTTP/1.1\r\n\r\n"));
        assert_eq!((heads, found), (0, Some(fault)), "{fields}");
    }
    assert_eq!(followed(b"GET / HTTP/1.1\nHost: a\r\n\r\n"), (0, Some(MessageFault::LineEnd)));
    assert_eq!(
        followed(&with("", "GET / HTTP/1.1\n\n")),
        (1, Some(MessageFault::LineEnd)),
        "the fault does not belong to the first head"
    );
}

#[test]
fn a_body_that_is_not_chunked_as_it_should_be_ends_the_connection() {
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "\r\n",
        ";a\r\n",
        "ffffffffffffffff1\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "0\r\nX: a\nY: b\r\n\r\n",
        "2;\0\r\nxx\r\n0\r\n\r\n",
        "2;a\rxx\r\n0\r\n\r\n",
        &format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(300)),
    ] {
        let (heads, found) = followed(&with("Transfer-Encoding: chunked\r\n", body));
        assert_eq!(heads, 1, "{body:?}");
        assert!(matches!(found, Some(MessageFault::Chunk | MessageFault::LineEnd)), "{body:?}: {found:?}");
    }
}

#[test]
fn names_that_become_those_of_lengths_are_refused() {
    let told = |names: &[&str]| {
        let request =
            names.iter().fold(Request::builder().header(HOST, "a"), |head, name| head.header(*name, "5"));
        fault(&request.body(()).unwrap())
    };
    assert_eq!(told(&["content_length"]), Some(MessageFault::Disguised));
    assert_eq!(told(&["Transfer_Encoding"]), Some(MessageFault::Disguised));
    assert_eq!(told(&["x_y", "content-length"]), None);
    assert_eq!(told(&["content-length", "content-length"]), Some(MessageFault::ContentLength), "HTTP/2");
}

#[test]
fn a_head_that_was_not_seen_is_refused() {
    assert_eq!(Framing::default().next_head(), Err(MessageFault::LineEnd));
}

fn told(uri: &str, version: Version, hosts: &[&str]) -> Option<MessageFault> {
    let mut request = Request::builder().uri(uri).version(version);
    for host in hosts {
        request = request.header(HOST, *host);
    }
    fault(&request.body(()).unwrap())
}

#[test]
fn a_request_names_one_host() {
    let http1 = |uri, hosts: &[&str]| told(uri, Version::HTTP_11, hosts);
    for host in ["a", "a:80", "A.b-c_d:65535", "[::1]", "[::1]:4000", "127.0.0.1:1", "", "a:"] {
        assert_eq!(http1("/", &[host]), None, "{host}");
    }
    for host in
        ["a b", "a,b", "a/b", "a@b", "a:b", ":80", "a:123456", "[::1", "::1", "a?", "a#", "a\\b", "[a]x"]
    {
        assert_eq!(http1("/", &[host]), Some(MessageFault::Host), "{host}");
    }
    assert_eq!(http1("/", &[]), Some(MessageFault::Host));
    assert_eq!(http1("/", &["a", "a"]), Some(MessageFault::Host));
    assert_eq!(told("/", Version::HTTP_10, &[]), None);
    assert_eq!(told("/", Version::HTTP_10, &["a", "b"]), Some(MessageFault::Host));
    assert_eq!(http1("http://a/x", &["A:80"]), None);
    assert_eq!(http1("https://a:443/x", &["a"]), None);
    assert_eq!(http1("https://a:80/x", &["a"]), Some(MessageFault::OtherHost));
    assert_eq!(http1("http://a/x", &["b"]), Some(MessageFault::OtherHost));
    assert_eq!(http1("http://u@a/x", &["a"]), Some(MessageFault::Target));
    assert_eq!(http1("ftp://a/x", &["a"]), Some(MessageFault::Target));
    assert_eq!(http1("a:80", &["a"]), Some(MessageFault::Target));
    assert_eq!(http1("*", &["a"]), Some(MessageFault::Target));
    assert_eq!(told("http://a/x", Version::HTTP_2, &[]), None);
    assert_eq!(told("http://a/x", Version::HTTP_2, &["b"]), Some(MessageFault::OtherHost));
    assert_eq!(told("/x", Version::HTTP_2, &[]), Some(MessageFault::Host));
}
