//! Informational answers (1xx) on their way to the client (RFC 9110, section 15.2).
//!
//! Services of both HTTP versions may send them. Only clients over HTTP/1.1 get them: hyper does
//! not send them over HTTP/2.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::EXPECT;
use http::{HeaderMap, Request, StatusCode};
use listener::Gate;
use session::Fence;

use crate::body::{RequestBody, Upload};
use crate::definition::Endpoint;
use crate::head;
use crate::in_flight::InFlight;

/// Limit of the informational answers to one request; the rest is dropped.
const MOST: usize = 16;

/// The client that gets a request's informational answers.
#[derive(Clone)]
pub(crate) struct Recipient {
    pub(crate) gate: Gate,
    /// `None` if the request belongs to no session.
    pub(crate) in_flight: Option<Arc<InFlight>>,
    pub(crate) endpoint: Arc<Endpoint>,
}

impl Recipient {
    fn pass(&self, status: StatusCode, mut headers: HeaderMap) {
        head::informational(&mut headers, &self.endpoint.response_headers);
        let head = encode(status, &headers);
        match &self.in_flight {
            Some(in_flight) => in_flight.interim(head),
            None => self.gate.interim(head, &Fence::default()),
        }
    }
}

/// Receives the informational answers to one attempt of a request. A 100 releases the body if the
/// client expects it; all others go to the client.
pub(crate) struct Watcher {
    upload: Option<Arc<Upload>>,
    client: Option<Recipient>,
    passed: AtomicUsize,
}

impl Watcher {
    /// Returns `None` if neither the body nor the client needs informational answers.
    pub(crate) fn new(request: &Request<RequestBody>, client: Option<&Recipient>) -> Option<Self> {
        let upload = request.body().upload().filter(|_| request.headers().contains_key(EXPECT));
        let is_heard = upload.is_some() || client.is_some();
        is_heard.then(|| Self { upload, client: client.cloned(), passed: AtomicUsize::new(0) })
    }

    pub(crate) fn hear(&self, status: StatusCode, headers: &HeaderMap) {
        if status == StatusCode::CONTINUE {
            // The client gets a 100 of our own when its body is read.
            self.upload.as_ref().inspect(|upload| upload.is_wanted());
        } else if status == StatusCode::SWITCHING_PROTOCOLS {
            // HTTP/2 has no 101 (RFC 9113, section 8.6), and a client over HTTP/1.1 would switch
            // protocols after it.
            tracing::debug!("a 101 over HTTP/2 is dropped");
        } else if let Some(client) = &self.client
            && self.passed.fetch_add(1, Ordering::Relaxed) < MOST
        {
            client.pass(status, headers.clone());
        }
    }

    /// Registers with hyper for the informational answers to a request over HTTP/1.
    pub(crate) fn attach(self, request: &mut Request<RequestBody>) {
        hyper::ext::on_informational(request, move |answer| self.hear(answer.status(), answer.headers()));
    }
}

/// Encodes the head of an informational answer (101 as well) for HTTP/1.1.
pub(crate) fn encode(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", status.as_str(), reason(status)).into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        // RFC 8297; `http` may have no reason phrase for it.
        103 => "Early Hints",
        _ => status.canonical_reason().unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn f14_an_informational_answer_keeps_its_fields_and_loses_those_of_the_connection() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("link", "</a.css>; rel=preload"),
            ("link", "</b.js>; rel=preload"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("x-internal", "secret"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        head::informational(&mut headers, &[("x-internal".parse().unwrap(), None)]);
        let text = encode(StatusCode::from_u16(103).unwrap(), &headers);
        let expected =
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>; rel=preload\r\n\r\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
