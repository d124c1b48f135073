//! Requests that two servers could read differently (RFC 9112, section 11.2), and requests that
//! only look ambiguous. Behind the proxy, a service records every byte: it must receive nothing, or
//! exactly the well-formed requests of the table.

use rig_tests::*;
use serde_json::json;

/// The expected outcome for the bytes of a client.
enum Outcome {
    /// This answer, and the connection is closed. The service receives nothing.
    Refused(u16),
    /// This answer of the gateway itself. The connection may stay open, but no part of the request
    /// is read as another request.
    Answered(u16),
    /// The service receives the beginning of one request, which is never completed. The client gets
    /// this answer, or the connection is closed.
    Broken(u16),
    /// The service receives exactly these requests, given as request line and body.
    Forwarded(&'static [(&'static str, &'static str)]),
    /// The service receives these requests; the next one gets this answer, and the connection is
    /// closed.
    Then(&'static [(&'static str, &'static str)], u16),
}

use Outcome::{Answered, Broken, Forwarded, Refused, Then};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// A second request, which shows where the first one has ended.
const CANARY: &str = "GET /canary HTTP/1.1\r\nHost: h\r\n\r\n";

/// Returns `POST /p` with these fields, followed by `rest`.
fn post(fields: &str, rest: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: h\r\n{fields}\r\n{rest}")
}

/// Returns `POST /p` with a chunked body.
fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

/// Returns `GET /g` with these fields.
fn get(fields: &str) -> String {
    format!("GET /g HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

/// Returns a request with this request line.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: h\r\n\r\n")
}

const HELLO: &str = "5\r\nhello\r\n0\r\n\r\n";
const POSTED: Outcome = Forwarded(&[("POST /p HTTP/1.1", "hello")]);
const GOT: Outcome = Forwarded(&[("GET /g HTTP/1.1", "")]);

struct Proxy {
    gateway: Gateway,
    service: RawUpstream,
    faults: String,
    count: usize,
}

impl Proxy {
    fn start(script: &Script) -> Self {
        let service = RawUpstream::start(script);
        let methods = ["GET", "POST", "OPTIONS"];
        let endpoint = |method: &&str| json!({"id": method, "path_regex": "/[^u].*", "method": method});
        let apis = json!([service.api("all", &methods.iter().map(endpoint).collect())]);
        let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis.to_string())]);
        Self { gateway, service, faults: String::new(), count: 0 }
    }

    fn check(&mut self, name: &str, bytes: impl AsRef<[u8]>, outcome: &Outcome) {
        self.count += 1;
        if let Err(fault) = self.outcome(bytes.as_ref(), outcome) {
            let bytes = String::from_utf8_lossy(bytes.as_ref());
            self.faults.push_str(&format!("--- {name}\n{bytes:?}\n{fault}\n"));
        }
        drop(self.service.heard());
    }

    fn outcome(&self, bytes: &[u8], outcome: &Outcome) -> Result<(), String> {
        let ended = self.service.ended();
        let mut wire = Wire::connect(self.gateway.inbound());
        wire.send(bytes);
        match outcome {
            Refused(status) => {
                statuses(&mut wire, &[*status])?;
                closed(&mut wire)?;
                self.saw(&[], false)
            }
            Answered(status) => {
                statuses(&mut wire, &[*status])?;
                wire.send(CANARY);
                let went_on = wire.more();
                if went_on {
                    statuses(&mut wire, &[200])?;
                }
                self.saw(&[], went_on)
            }
            Broken(status) => {
                match Response::read_head(&mut wire) {
                    Some(answer) if answer.status != *status => return Err(answer.shown()),
                    _ => drop(wire.rest()),
                }
                eventually("the service's connection ends", || {
                    (self.service.ended() == ended + 1).then_some(())
                });
                let heard = self.service.heard();
                match heard.iter().find(|bytes| requests(bytes).is_ok()) {
                    Some(whole) => Err(format!("a whole request: {:?}", String::from_utf8_lossy(whole))),
                    None => Ok(()),
                }
            }
            Forwarded(expected) => {
                statuses(&mut wire, &vec![200; expected.len()])?;
                wire.send(CANARY);
                let went_on = wire.more();
                if went_on {
                    statuses(&mut wire, &[200])?;
                }
                self.saw(expected, went_on)
            }
            Then(expected, status) => {
                statuses(&mut wire, &vec![200; expected.len()])?;
                wire.send(CANARY);
                statuses(&mut wire, &[*status])?;
                closed(&mut wire)?;
                self.saw(expected, false)
            }
        }
    }

    /// Compares the requests that the service has received with the expected ones.
    fn saw(&self, expected: &[(&str, &str)], and_canary: bool) -> Result<(), String> {
        let mut seen = Vec::new();
        for bytes in self.service.heard() {
            seen.extend(requests(&bytes)?);
        }
        let mut expected: Vec<_> =
            expected.iter().map(|(line, body)| ((*line).to_owned(), (*body).to_owned())).collect();
        if and_canary {
            expected.push(("GET /canary HTTP/1.1".to_owned(), String::new()));
        }
        if seen == expected { Ok(()) } else { Err(format!("expected {expected:?}\n    seen {seen:?}")) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.faults.is_empty(), "of {} cases\n{}", self.count, self.faults);
        }
    }
}

/// Reads answers with these statuses.
fn statuses(wire: &mut Wire, expected: &[u16]) -> Result<(), String> {
    for status in expected {
        let mut answer = Response::read_head(wire).ok_or(format!("closed, instead of {status}"))?;
        if answer.status == 100 {
            answer = Response::read_head(wire).ok_or(format!("closed, instead of {status}"))?;
        }
        if answer.status != *status {
            return Err(format!("{} instead of {status}", answer.shown()));
        }
        let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        wire.exactly(length).ok_or("a part of an answer")?;
    }
    Ok(())
}

fn closed(wire: &mut Wire) -> Result<(), String> {
    let rest = wire.rest();
    if rest.is_empty() { Ok(()) } else { Err(format!("and then {:?}", String::from_utf8_lossy(&rest))) }
}

#[test]
fn two_lengths() {
    let mut proxy = Proxy::start(&Script::Answers(OK.to_vec()));
    let both = |first: &str, second: &str, rest: &str| post(&format!("{first}\r\n{second}\r\n"), rest);
    let length = |rest: &str| format!("Content-Length: {}", rest.len());
    let hidden = format!("0\r\n\r\n{SMUGGLED}");
    proxy.check("CL.TE", both(&length(&hidden), "Transfer-Encoding: chunked", &hidden), &Refused(400));
    let hidden = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    proxy.check("TE.CL", both("Transfer-Encoding: chunked", "Content-Length: 4", &hidden), &Refused(400));
    proxy.check(
        "CL of 0 and TE",
        both("Content-Length: 0", "Transfer-Encoding: chunked", HELLO),
        &Refused(400),
    );
    proxy.check(
        "CL and unknown TE",
        both("Content-Length: 5", "Transfer-Encoding: x", "hello"),
        &Refused(400),
    );
    proxy.check(
        "CL and identity",
        both("Content-Length: 5", "Transfer-Encoding: identity", "hello"),
        &Refused(400),
    );
    proxy.check("CL and CL", both("Content-Length: 5", "Content-Length: 6", "hello!"), &Refused(400));
    proxy.check("CL twice the same", both("Content-Length: 5", "content-LENGTH: 5", "hello"), &Refused(400));
    proxy.check("CL of 0 and CL", both("Content-Length: 0", "Content-Length: 5", "hello"), &Refused(400));
    for (value, outcome) in [
        ("5, 5", Refused(400)),
        ("5,6", Refused(400)),
        ("+5", Refused(400)),
        ("-5", Refused(400)),
        ("-0", Refused(400)),
        ("0x5", Refused(400)),
        ("5 5", Refused(400)),
        ("5.0", Refused(400)),
        ("5;a", Refused(400)),
        ("5e0", Refused(400)),
        ("\"5\"", Refused(400)),
        ("", Refused(400)),
        ("\u{665}", Refused(400)),
        ("18446744073709551621", Refused(400)),
        ("\u{b}5", Refused(400)),
        ("05", POSTED),
        ("\t5 \t", POSTED),
    ] {
        proxy.check("a length", post(&format!("Content-Length: {value}\r\n"), "hello"), &outcome);
    }
    proxy.check(
        "HTTP/1.0 and TE",
        format!("POST /p HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{HELLO}"),
        &Refused(400),
    );
}

#[test]
fn transfer_encodings_that_some_take_for_chunked() {
    let mut proxy = Proxy::start(&Script::Answers(OK.to_vec()));
    for (field, outcome) in [
        ("Transfer-Encoding: xchunked", Refused(400)),
        ("Transfer-Encoding: chunked, identity", Refused(400)),
        ("Transfer-Encoding: gzip, chunked", Refused(400)),
        ("Transfer-Encoding: chunked, chunked", Refused(400)),
        ("Transfer-Encoding: , chunked", Refused(400)),
        ("Transfer-Encoding: chunked;q=1", Refused(400)),
        ("Transfer-Encoding: \"chunked\"", Refused(400)),
        ("Transfer-Encoding: 'chunked'", Refused(400)),
        ("Transfer-Encoding:", Refused(400)),
        ("Transfer-Encoding: \u{b}chunked", Refused(400)),
        ("Transfer-Encoding: chunked\u{b}", Refused(400)),
        ("Transfer-Encoding: chunked\0", Refused(400)),
        ("Transfer-Encoding: ch\u{17f}unked", Refused(400)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", Refused(400)),
        ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked", Refused(400)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Refused(400)),
        ("Transfer-Encoding : chunked", Refused(400)),
        ("Transfer-Encoding\t: chunked", Refused(400)),
        (" Transfer-Encoding: chunked", Refused(400)),
        ("Transfer-Encoding:\r\n chunked", Refused(400)),
        ("X: y\r\n\tTransfer-Encoding: chunked", Refused(400)),
        ("Transfer-Encoding\r\n: chunked", Refused(400)),
        ("X: y\rTransfer-Encoding: chunked", Refused(400)),
        ("X: y\nTransfer-Encoding: chunked", Refused(400)),
        ("X: y\0\r\nTransfer-Encoding: chunked", Refused(400)),
        ("Transfer\0-Encoding: chunked", Refused(400)),
        ("Transfer-Encoding: cHuNkEd", POSTED),
        ("transfer-encoding:chunked", POSTED),
        ("Transfer-Encoding: \t chunked \t", POSTED),
    ] {
        proxy.check("an encoding", post(&format!("{field}\r\n"), HELLO), &outcome);
    }
}

#[test]
fn chunked_bodies() {
    let mut proxy = Proxy::start(&Script::Answers(OK.to_vec()));
    for (name, body, outcome) in [
        ("whole", HELLO, POSTED),
        ("several chunks", "2\r\nhe\r\n003\r\nllo\r\n000\r\n\r\n", POSTED),
        ("an extension", "5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n", POSTED),
        ("a space behind the size", "5 \r\nhello\r\n0\t\r\n\r\n", POSTED),
        ("LF in an extension", "5;a\nhello\r\n0\r\n\r\n", Broken(400)),
        ("CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("NUL in an extension", "5;\0\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("a hidden chunk (TERM.EXT)", "2;\nxx\r\n5\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("0x", "0x5\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("an underscore", "0_5\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("a comma", "5,5\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("no size", "\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("only an extension", ";a\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("a space before the size", " 5\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("a size of 2^64", "10000000000000005\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n", Broken(400)),
        ("LF behind the size", "5\nhello\r\n0\r\n\r\n", Broken(400)),
        ("CR behind the size", "5\rhello\r\n0\r\n\r\n", Broken(400)),
        ("LF behind the data", "5\r\nhello\n0\r\n\r\n", Broken(400)),
        ("nothing behind the data", "5\r\nhello0\r\n\r\n", Broken(400)),
        ("more than the size", "5\r\nhello!\r\n0\r\n\r\n", Broken(400)),
        ("LF as the end", "5\r\nhello\r\n0\n\n", Broken(400)),
        ("LF in a trailer", "5\r\nhello\r\n0\r\nX: y\nZ: z\r\n\r\n", Broken(400)),
        ("a folded trailer", "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", Broken(400)),
        ("a trailer that is none", "5\r\nhello\r\n0\r\nX\r\n\r\n", Broken(400)),
        ("a trailer that was not announced", "5\r\nhello\r\n0\r\nX: y\r\n\r\n", POSTED),
        ("a length as a trailer", "5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n", POSTED),
        ("an encoding as a trailer", "5\r\nhello\r\n0\r\nTransfer-Encoding: x\r\n\r\n", POSTED),
    ] {
        proxy.check(name, chunked(body), &outcome);
    }
    let trailers =
        "X: y\r\nHost: evil\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\nAuthorization: a\r\n\r\n";
    proxy.check(
        "trailers that were announced",
        post(
            "Transfer-Encoding: chunked\r\nTrailer: X, Host, Content-Length, Transfer-Encoding, Authorization\r\n",
            &format!("5\r\nhello\r\n0\r\n{trailers}"),
        ),
        &Forwarded(&[("POST /p HTTP/1.1", "hello{x: y}")]),
    );
    let ended = proxy.service.ended();
    let mut wire = Wire::connect(proxy.gateway.inbound());
    wire.send(chunked("5\r\nhello\r\n"));
    wire.half_close();
    drop(wire.rest());
    eventually("the service's connection ends", || (proxy.service.ended() == ended + 1).then_some(()));
    let heard = proxy.service.heard();
    assert!(
        heard.iter().all(|bytes| requests(bytes).is_err()),
        "an incomplete body gets no end from the gateway"
    );
}

#[test]
fn one_request_behind_the_other() {
    let mut proxy = Proxy::start(&Script::Answers(OK.to_vec()));
    let one = get("");
    let posted = post("Content-Length: 5\r\n", "hello");
    let both_lengths = post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n");
    proxy.check(
        "two",
        format!("{one}{SMUGGLED}"),
        &Forwarded(&[("GET /g HTTP/1.1", ""), ("GET /smuggled HTTP/1.1", "")]),
    );
    proxy.check(
        "two with bodies",
        format!("{posted}{}{one}", chunked(HELLO)),
        &Forwarded(&[("POST /p HTTP/1.1", "hello"), ("POST /p HTTP/1.1", "hello"), ("GET /g HTTP/1.1", "")]),
    );
    proxy.check("a whole and a half", format!("{one}GET /h HT"), &Then(&[("GET /g HTTP/1.1", "")], 400));
    proxy.check(
        "an ambiguous one behind",
        format!("{one}{both_lengths}"),
        &Then(&[("GET /g HTTP/1.1", "")], 400),
    );
    proxy.check("an ambiguous one before", format!("{both_lengths}{one}"), &Refused(400));
    proxy.check(
        "one byte too many",
        format!("{posted}\u{7f}{one}"),
        &Then(&[("POST /p HTTP/1.1", "hello")], 400),
    );
    proxy.check("empty lines before", format!("\r\n\r\n{one}"), &GOT);
    proxy.check(
        "empty lines between",
        format!("{posted}\r\n{one}"),
        &Forwarded(&[("POST /p HTTP/1.1", "hello"), ("GET /g HTTP/1.1", "")]),
    );
    proxy.check("an empty line of LF before", format!("\n{one}"), &Refused(400));
    let hidden =
        |line: &str| format!("{line}\r\nHost: h\r\nContent-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len());
    proxy.check("CL.0: nothing there", hidden("POST /undefined HTTP/1.1"), &Answered(404));
    proxy.check("CL.0: the gateway's own", hidden("GET /_rig/health HTTP/1.1"), &Answered(200));
    proxy.check(
        "CL.0: a body on a GET",
        hidden("GET /g HTTP/1.1"),
        &Forwarded(&[("GET /g HTTP/1.1", SMUGGLED)]),
    );
    proxy.check(
        "a chunked body on a GET",
        format!("GET /g HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{HELLO}"),
        &Forwarded(&[("GET /g HTTP/1.1", "hello")]),
    );
    proxy.check("HTTP/1.0 ends with its answer", format!("GET /g HTTP/1.0\r\n\r\n{SMUGGLED}"), &GOT);
    proxy.check("close ends with its answer", format!("{}{SMUGGLED}", get("Connection: close\r\n")), &GOT);
}

#[test]
fn request_lines() {
    let mut proxy = Proxy::start(&Script::Answers(OK.to_vec()));
    for (bytes, outcome) in [
        ("GET  /g HTTP/1.1", Refused(400)),
        ("GET /g  HTTP/1.1", Refused(400)),
        ("GET\t/g HTTP/1.1", Refused(400)),
        ("GET /g\tHTTP/1.1", Refused(400)),
        ("GET /g HTTP/1.1 ", Refused(400)),
        (" GET /g HTTP/1.1", Refused(400)),
        ("GET /g g HTTP/1.1", Refused(400)),
        ("GET /g HTTP/1.1 HTTP/1.1", Refused(400)),
        ("GET /g", Refused(400)),
        ("GET", Refused(400)),
        ("GET /g HTTP/1.2", Refused(400)),
        ("GET /g HTTP/2.0", Refused(400)),
        ("GET /g HTTP/1.10", Refused(400)),
        ("GET /g HTTP/01.1", Refused(400)),
        ("GET /g http/1.1", Refused(400)),
        ("GET /g HTTP/1.1\r", Refused(400)),
        ("GET /g\0 HTTP/1.1", Refused(400)),
        ("GET /g\u{7f} HTTP/1.1", Refused(400)),
        ("G@T /g HTTP/1.1", Refused(400)),
        ("GET g HTTP/1.1", Refused(400)),
        ("GET h:80 HTTP/1.1", Refused(400)),
        ("GET * HTTP/1.1", Refused(400)),
        ("GET ftp://h/g HTTP/1.1", Refused(400)),
        ("GET http://u@h/g HTTP/1.1", Refused(400)),
        ("GET http://evil/g HTTP/1.1", Refused(400)),
        ("GET http://h:81/g HTTP/1.1", Refused(400)),
        ("GET http:///g HTTP/1.1", Refused(400)),
        ("PRI * HTTP/2.0", Refused(400)),
        ("TRACE /g HTTP/1.1", Refused(501)),
        ("CONNECT h:80 HTTP/1.1", Refused(405)),
        ("get /g HTTP/1.1", Answered(404)),
        ("GET http://H:80/g HTTP/1.1", GOT),
        ("GET //g HTTP/1.1", Answered(400)),
        ("GET /g?http://h/ HTTP/1.1", Forwarded(&[("GET /g?http://h/ HTTP/1.1", "")])),
        ("GET /g#f HTTP/1.1", GOT),
    ] {
        proxy.check("a request line", line(bytes), &outcome);
    }
    proxy.check("a target that ends in LF", "GET /g\n HTTP/1.1\r\nHost: h\r\n\r\n", &Refused(400));
    proxy.check("all lines end in LF", "GET /g HTTP/1.1\nHost: h\n\n", &Refused(400));
    proxy.check("HTTP/0.9", "GET /g\r\n", &Refused(400));
    proxy.check("HTTP/1.0 without a host", "GET /g HTTP/1.0\r\n\r\n", &GOT);
}

#[test]
fn hosts_and_names_of_headers() {
    let mut proxy = Proxy::start(&Script::Answers(OK.to_vec()));
    proxy.check("no host", "GET /g HTTP/1.1\r\n\r\n", &Refused(400));
    for (host, outcome) in [
        ("Host: h\r\nHost: h", Refused(400)),
        ("Host: h\r\nHost: evil", Refused(400)),
        ("Host: h, evil", Refused(400)),
        ("Host: h evil", Refused(400)),
        ("Host: h/g", Refused(400)),
        ("Host: u@h", Refused(400)),
        ("Host: h:80@evil", Refused(400)),
        ("Host: h:8o", Refused(400)),
        ("Host: h#", Refused(400)),
        ("Host : h", Refused(400)),
        ("Host: h\r\n :80", Refused(400)),
        ("Host: [::1]:80", GOT),
    ] {
        proxy.check("a host", format!("GET /g HTTP/1.1\r\n{host}\r\n\r\n"), &outcome);
    }
    for (field, outcome) in [
        ("(x): y", Refused(400)),
        ("x y: z", Refused(400)),
        (": y", Refused(400)),
        ("x", Refused(400)),
        ("\u{e9}: y", Refused(400)),
        ("x\u{1}: y", Refused(400)),
        ("x: \u{1}", Refused(400)),
        ("x: y\u{7f}", Refused(400)),
        ("Expect: 200-ok", Refused(417)),
        ("Expect: 100-continue, x", Refused(417)),
        ("Expect: y 100-continue", Refused(417)),
        ("Content_Length: 5", Refused(400)),
        ("Transfer_Encoding: chunked", Refused(400)),
        ("Transfer_Length: 5", GOT),
        ("x: \u{e9}", GOT),
        ("x:", GOT),
    ] {
        proxy.check("a field", get(&format!("{field}\r\n")), &outcome);
    }
    proxy.check("too many", get(&"x: y\r\n".repeat(200)), &Refused(431));
}

#[test]
fn what_connection_names() {
    let mut proxy = Proxy::start(&Script::Answers(OK.to_vec()));
    let connection =
        |names: &str, more: &str, rest: &str| post(&format!("Connection: {names}\r\n{more}\r\n"), rest);
    proxy.check("content-length", connection("content-length", "Content-Length: 5", "hello"), &POSTED);
    proxy.check(
        "transfer-encoding",
        connection("transfer-encoding", "Transfer-Encoding: chunked", HELLO),
        &POSTED,
    );
    proxy.check("host", connection("host, Content-Length", "Content-Length: 5", "hello"), &POSTED);
    proxy.check("close and host", connection("close, host", "Content-Length: 5", "hello"), &POSTED);
    proxy.check(
        "an upgrade with a body",
        post("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", "hello"),
        &POSTED,
    );
    proxy.check(
        "an upgrade that is not made, with the next request behind it",
        format!("{}{SMUGGLED}", get("Connection: upgrade\r\nUpgrade: websocket\r\n")),
        &Forwarded(&[("GET /g HTTP/1.1", ""), ("GET /smuggled HTTP/1.1", "")]),
    );
}
