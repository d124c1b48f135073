//! Requests that two servers in a row could read in two ways. Each reaches the service as exactly the requests that RFC 9112
//! says it is, or not at all. Written from the RFC and from the classes of attack that are known of proxies.

use regex::Regex;
use rig_tests::*;

/// What comes after the requests that are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Another request on the same connection is read where it begins.
    Next,
    /// The gateway answers with this status and closes.
    Refused(u16),
    /// The gateway answers 400 or nothing, and closes; the service sees no whole request.
    Broken,
    /// The gateway closes.
    Closed,
    /// The gateway waits for the rest, and the client leaves.
    Open,
}
use End::{Broken, Closed, Next, Open, Refused};

/// What is sent, where `¶` is CRLF and each other character a byte; the requests that the service must see; the end.
type Case = (&'static str, &'static [&'static str], End);

const TWO_LENGTHS: &[Case] = &[
    // CL.TE, TE.CL: RFC 9112, section 6.3, allows to refuse them, and asks to be wary.
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 6¶Transfer-Encoding: chunked¶¶0¶¶G", &[], Refused(400)),
    (
        "POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶Content-Length: 4¶¶2e¶GET /b HTTP/1.1¶Host: x¶¶¶0¶¶",
        &[],
        Refused(400),
    ),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 0¶Transfer-Encoding: chunked¶¶1¶a¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶Content-Length: nonsense¶¶0¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶Content-Length: 5¶Transfer-Encoding:\tchunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 5¶Content-Length: 5¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 5¶Content-Length: 0¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 0¶content-length: 5¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 5, 5¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 5,6¶¶hello", &[], Refused(400)),
    // Names that only some services take for those.
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 5¶Transfer_Encoding: chunked¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 5¶Content_Length: 0¶¶hello", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶content_length: 5¶¶hello", &[], Refused(400)),
];

const LENGTHS: &[Case] = &[
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: +5¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: -5¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 0x5¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 5 5¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 5.0¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 5;a¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length:¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 18446744073709551621¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 5\u{b}¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 5\0¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length : 5¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length\t: 5¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶\u{b}Content-Length: 5¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶X: y¶ Content-Length: 5¶¶hello", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: \t5 \t¶¶hello", &["POST /a hello"], Next),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 005¶¶hello", &["POST /a hello"], Next),
    // CL.0, 0.CL: what a service would ignore is passed on as a body all the same.
    (
        "POST /a HTTP/1.1¶Host: x¶Content-Length: 30¶¶GET /b HTTP/1.1¶Host: x¶¶..",
        &["POST /a GET /b HTTP/1.1¶Host: x¶¶.."],
        Next,
    ),
    (
        "GET /a HTTP/1.1¶Host: x¶Content-Length: 28¶¶GET /b HTTP/1.1¶Host: x¶¶",
        &["GET /a GET /b HTTP/1.1¶Host: x¶¶"],
        Next,
    ),
    ("DELETE /a HTTP/1.1¶Host: x¶Content-Length: 5¶¶hello", &["DELETE /a hello"], Next),
    ("HEAD /a HTTP/1.1¶Host: x¶Content-Length: 5¶¶hello", &["HEAD /a hello"], Next),
    ("OPTIONS /a HTTP/1.1¶Host: x¶Content-Length: 2¶¶¶", &["OPTIONS /a ¶"], Next),
    ("POST /a HTTP/1.1¶Host: x¶¶", &["POST /a "], Next),
    // The body is not all there.
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 50¶¶GET /b HTTP/1.1¶Host: x¶¶", &[], Open),
];

const ENCODINGS: &[Case] = &[
    ("POST /a HTTP/1.1¶Host: x¶transfer-encoding:\tCHUNKED \t¶¶5¶hello¶0¶¶", &["POST /a hello"], Next),
    // TE.TE
    (
        "POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶Transfer-Encoding: identity¶¶0¶¶",
        &[],
        Refused(400),
    ),
    (
        "POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: identity¶Transfer-Encoding: chunked¶¶0¶¶",
        &[],
        Refused(400),
    ),
    (
        "POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶Transfer-Encoding: chunked¶¶0¶¶",
        &[],
        Refused(400),
    ),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked, identity¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: identity, chunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: gzip, chunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked, chunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: ,chunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: xchunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked;q=1¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: \"chunked\"¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: 'chunked'¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: identity¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: cow¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding:¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: \u{b}chunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: \0chunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked\u{7f}¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: \u{ff}chunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding : chunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding:¶ chunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶ , identity¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶ Transfer-Encoding: chunked¶Host: x¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶X: y\nTransfer-Encoding: chunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶X: y\rTransfer-Encoding: chunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encod\u{ee}ng: chunked¶¶0¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.0¶Host: x¶Transfer-Encoding: chunked¶¶0¶¶", &[], Refused(400)),
];

const CHUNKS: &[Case] = &[
    (
        "POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶5;a=b;c=\"d\"¶hello¶00;e¶¶",
        &["POST /a hello"],
        Next,
    ),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶0005¶hello¶0¶¶", &["POST /a hello"], Next),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶1b¶GET /b HTTP/1.1¶Host: x¶¶0¶¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶5 ¶hello¶0¶¶", &["POST /a hello"], Next),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶ 5¶hello¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶0x5¶hello¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶+5¶hello¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶-1¶hello¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶5_0¶hello¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶¶hello¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶10000000000000005¶hello¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶ffffffffffffffff¶hello¶0¶¶", &[], Open),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶5\nhello¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶5\rhello¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶5¶hello\n0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶5¶hello0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶5¶hello!¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶5¶hell¶0¶¶", &[], Broken),
    // The end of an extension: is it LF, or CRLF?
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶2;\nxx¶4c¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶2;a\rxx¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶2;\0¶xx¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶2 a¶xx¶0¶¶", &[], Broken),
    // Trailers.
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶5¶hello¶0¶X-Sum: 1¶¶", &["POST /a hello"], Next),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶0¶Content-Length: 5¶¶hello", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶0¶transfer-encoding: chunked¶¶0¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶0¶X: y\nGET /b HTTP/1.1¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶0¶GET /b HTTP/1.1¶Host: x¶¶", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶0\n\n", &[], Broken),
    ("POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶5¶hello¶0¶", &[], Open),
];

const REQUEST_LINES: &[Case] = &[
    ("¶¶GET /a HTTP/1.1¶Host: x¶¶", &["GET /a "], Next),
    ("\n\nGET /a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("\rGET /a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    (" GET /a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET  /a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET /a  HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1 ¶Host: x¶¶", &[], Refused(400)),
    ("GET\t/a\tHTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET /a b HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET /a\u{1} HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET /a\0 HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1\nHost: x¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x\n\n", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x\r\rX: y¶¶", &[], Refused(400)),
    ("GET /a¶¶", &[], Refused(400)),
    ("GET /a HTTP/0.9¶Host: x¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.2¶Host: x¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.10¶Host: x¶¶", &[], Refused(400)),
    ("GET /a HTTP/2.0¶Host: x¶¶", &[], Refused(400)),
    ("GET /a HTTP/3¶Host: x¶¶", &[], Refused(400)),
    ("GET /a http/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET /a HTTP /1.1¶Host: x¶¶", &[], Refused(400)),
    ("PRI * HTTP/2.0¶¶XX¶¶", &[], Refused(400)),
    ("G@T /a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("/a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET ?a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET * HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET x:80 HTTP/1.1¶Host: x:80¶¶", &[], Refused(400)),
    ("CONNECT x:80 HTTP/1.1¶Host: x:80¶¶GET /b HTTP/1.1¶Host: x¶¶", &[], Refused(405)),
    ("CONNECT /a HTTP/1.1¶Host: x¶¶", &[], Refused(405)),
    ("TRACE /a HTTP/1.1¶Host: x¶¶", &[], Refused(501)),
    ("TRACE /a HTTP/1.1¶Host: x¶Content-Length: 28¶¶GET /b HTTP/1.1¶Host: x¶¶", &[], Refused(501)),
    ("GET http://x/a HTTP/1.1¶Host: x¶¶", &["GET /a "], Next),
    ("GET http://X:80/a?b HTTP/1.1¶Host: x¶¶", &["GET /a?b "], Next),
    ("GET http://y/a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET http://x:81/a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET http://x@y/a HTTP/1.1¶Host: y¶¶", &[], Refused(400)),
    ("GET http://x/a HTTP/1.1¶¶", &[], Refused(400)),
    ("GET ftp://x/a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("GET http:///a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
];

const HEADERS: &[Case] = &[
    ("GET /a HTTP/1.1¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶Host: x¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶host: y¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host:¶¶", &["GET /a "], Next),
    ("GET /a HTTP/1.1¶Host: x y¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x/b¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x@y¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x:80a¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host : x¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶ y¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶ X: y¶Host: x¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶: y¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶X¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶X y: z¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶X(y): z¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶X: y\0z¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶X: y\rz¶¶", &[], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶X: \u{e9}\tz¶¶", &["GET /a "], Next),
    ("POST /a HTTP/1.1¶Host: x¶Expect: 200-ok¶Content-Length: 5¶¶hello", &[], Refused(417)),
    ("POST /a HTTP/1.1¶Host: x¶Expect: 100-continue, x¶Content-Length: 5¶¶hello", &[], Refused(417)),
    ("POST /a HTTP/1.1¶Host: x¶Expect: 100-continue¶Content-Length: 5¶¶hello", &["POST /a hello"], Next),
    ("GET /a HTTP/1.1¶Host: x¶Expect: 100-continue¶¶", &["GET /a "], Next),
    // What Connection names is for one hop only, unless it is what says how to read the request, and for whom.
    (
        "POST /a HTTP/1.1¶Host: x¶Connection: content-length¶Content-Length: 5¶¶hello",
        &["POST /a hello"],
        Next,
    ),
    (
        "POST /a HTTP/1.1¶Host: x¶Connection: transfer-encoding¶Transfer-Encoding: chunked¶¶5¶hello¶0¶¶",
        &["POST /a hello"],
        Next,
    ),
    ("GET /a HTTP/1.1¶Host: x¶Connection: host¶¶", &["GET /a "], Next),
    (
        "POST /a HTTP/1.1¶Host: x¶Connection: Upgrade, HTTP2-Settings¶Upgrade: h2c¶HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA¶Content-Length: 5¶¶hello",
        &["POST /a hello"],
        Next,
    ),
];

const PIPELINES: &[Case] = &[
    ("GET /a HTTP/1.1¶Host: x¶¶GET /b HTTP/1.1¶Host: x¶¶", &["GET /a ", "GET /b "], Next),
    (
        "POST /a HTTP/1.1¶Host: x¶Content-Length: 1¶¶1POST /b HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶1¶2¶0¶¶¶",
        &["POST /a 1", "POST /b 2"],
        Next,
    ),
    (
        "GET /a HTTP/1.1¶Host: x¶¶GET /b HTTP/1.1¶Host: x¶Content-Length: 1¶Content-Length: 1¶¶1",
        &["GET /a "],
        Refused(400),
    ),
    ("GET /a HTTP/1.1¶Host: x¶¶GET /b HTTP/1.1¶¶", &["GET /a "], Refused(400)),
    ("GET /b HTTP/1.1¶Host: x\n¶GET /a HTTP/1.1¶Host: x¶¶", &[], Refused(400)),
    ("POST /a HTTP/1.1¶Host: x¶Content-Length: 1¶¶1@GET /b HTTP/1.1¶Host: x¶¶", &["POST /a 1"], Refused(400)),
    ("GET /a HTTP/1.1¶Host: x¶¶GET /b HTTP/1.1¶Host: x", &["GET /a "], Open),
    ("GET /a HTTP/1.1¶Host: x¶Connection: close¶¶GET /b HTTP/1.1¶Host: x¶¶", &["GET /a "], Closed),
    ("GET /a HTTP/1.0¶¶GET /b HTTP/1.0¶¶", &["GET /a "], Closed),
];

#[test]
fn two_lengths_in_one_request() {
    check(TWO_LENGTHS);
}

#[test]
fn lengths_that_are_none() {
    check(LENGTHS);
}

#[test]
fn encodings_that_are_not_chunked() {
    check(ENCODINGS);
}

#[test]
fn chunks_and_trailers() {
    check(CHUNKS);
}

#[test]
fn request_lines() {
    check(REQUEST_LINES);
}

#[test]
fn headers_and_hosts() {
    check(HEADERS);
}

#[test]
fn requests_behind_requests() {
    check(PIPELINES);
}

#[test]
fn too_much_of_something() {
    let many = format!("GET /a HTTP/1.1¶Host: x¶{}¶", "X: y¶".repeat(200));
    let long = format!("GET /a HTTP/1.1¶Host: x¶X: {}¶¶", "y".repeat(200 << 10));
    let target = format!("GET /{} HTTP/1.1¶Host: x¶Connection: close¶¶", "y".repeat(9 << 10));
    let start = "POST /a HTTP/1.1¶Host: x¶Transfer-Encoding: chunked¶¶";
    let extension = format!("{start}5;{}¶hello¶0¶¶", "x".repeat(300));
    let trailers = format!("{start}0¶{}¶", "X: y¶".repeat(5000));
    let bench = Bench::start();
    let mut all = Scenarios::default();
    for (name, text, end) in [
        ("many headers", many, Refused(431)),
        ("a long header", long, Refused(431)),
        ("a long target", target, Refused(414)),
        ("a long extension", extension, Broken),
        ("many trailers", trailers, Broken),
    ] {
        bench.check(&mut all, name, &text, &[], end, usize::MAX);
    }
}

struct Bench {
    upstream: Upstream,
    gateway: Gateway,
}

/// Runs each case in one piece and byte by byte.
fn check(cases: &[Case]) {
    let bench = Bench::start();
    let mut all = Scenarios::default();
    for (text, requests, end) in cases {
        for piece in [usize::MAX, 1] {
            bench.check(&mut all, &format!("{text:?} in pieces of {piece}"), text, requests, *end, piece);
        }
    }
}

impl Bench {
    fn start() -> Self {
        let upstream = Upstream::start();
        let apis = pass_all(upstream.address());
        let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
        Self { upstream, gateway }
    }

    fn check(&self, all: &mut Scenarios, name: &str, text: &str, requests: &[&str], end: End, piece: usize) {
        let mut wire = Wire::connect(self.gateway.inbound());
        let mut sent = bytes(text);
        if end == Next {
            sent.extend(bytes("GET /next HTTP/1.1¶Host: x¶Connection: close¶¶"));
        }
        sent.chunks(piece).for_each(|piece| wire.send(piece));
        let mut answers = if end == Open {
            requests.iter().map(|_| Response::read(&mut wire, false).status.to_string()).collect()
        } else {
            statuses(&wire.rest())
        };
        drop(wire);
        let mut expected: Vec<_> = requests.iter().map(|_| "200".to_owned()).collect();
        let mut forwarded: Vec<_> = requests.iter().map(|request| (*request).to_owned()).collect();
        match end {
            Next => {
                expected.push("200".into());
                forwarded.push("GET /next ".into());
            }
            Refused(status) => expected.push(status.to_string()),
            Broken if answers.last().is_some_and(|last| last == "400") => drop(answers.pop()),
            Broken | Closed | Open => {}
        }
        let seen = self.upstream.waiting();
        let seen: Vec<_> = seen.iter().map(shown).collect();
        all.check_text(name, &format!("{answers:?} {seen:?}"), format!("{expected:?} {forwarded:?}"));
    }
}

fn shown(received: &Received) -> String {
    let body: String = received.body.iter().copied().map(char::from).collect();
    format!("{} {} {}", received.method, received.target, body.replace("\r\n", "¶"))
}

fn bytes(text: &str) -> Vec<u8> {
    text.replace('¶', "\r\n").chars().map(|byte| u8::try_from(byte).expect("a byte")).collect()
}

/// The status of each answer but those that another follows.
fn statuses(answers: &[u8]) -> Vec<String> {
    let status = Regex::new(r"HTTP/1\.[01] ([2-5]\d\d)").expect("a valid pattern");
    let text = String::from_utf8_lossy(answers).into_owned();
    status.captures_iter(&text).map(|found| found[1].to_owned()).collect()
}
