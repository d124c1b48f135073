//! A long-polling client that handles cookies as a browser does.

use std::net::SocketAddr;
use std::time::Instant;

use crate::client::{Request, Response};
use crate::wire::Wire;

/// A long-polling client and its cookies.
#[derive(Clone)]
pub struct LongPolling {
    address: SocketAddr,
    /// The cookies as they are sent.
    pub cookies: Vec<(String, String)>,
}

/// A poll that is waiting for its answer.
pub struct Poll {
    wire: Wire,
}

impl Poll {
    /// Requires that the answer arrives before this moment.
    #[must_use]
    pub fn ends_by(self, end: Instant) -> Self {
        Self { wire: self.wire.ends_by(end) }
    }

    /// Waits for the answer.
    pub fn answer(mut self) -> Response {
        Response::read(&mut self.wire, false)
    }
}

const PATH: &str = "/_rig/v1/connection/longpolling";

impl LongPolling {
    /// Opens a connection with this query, without its question mark.
    ///
    /// # Panics
    /// Panics if the gateway refuses.
    pub fn connect(address: SocketAddr, query: &str) -> Self {
        let response = Request::get(format!("{PATH}?{query}")).send(address);
        assert_eq!((response.status, response.text().as_str()), (200, r#""ok""#));
        let mut client = Self { address, cookies: Vec::new() };
        client.take_cookies(&response);
        client
    }

    /// Sends the next polls to another address, as a balancer does.
    pub fn turn_to(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Sends a poll and does not wait for its answer.
    pub fn start(&self) -> Poll {
        Poll { wire: self.request().start(self.address) }
    }

    /// Polls and stores the cookies of the answer.
    pub fn poll(&mut self) -> Response {
        let response = self.start().answer();
        self.take_cookies(&response);
        response
    }

    /// Polls for the first two events and returns the connection token that the first one contains.
    ///
    /// # Panics
    /// Panics if they do not arrive.
    pub fn welcome(&mut self) -> String {
        let body = self.poll().json();
        let token = body["events"][0]["data"]["connection_token"].as_str();
        token.expect("the first event carries a connection token").to_owned()
    }

    /// Returns the request of a poll.
    pub fn request(&self) -> Request {
        Request::get(PATH).header("Cookie", self.cookie())
    }

    /// Returns the value of the header `cookie`.
    pub fn cookie(&self) -> String {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        cookies.join("; ")
    }

    /// Stores the cookies of an answer.
    ///
    /// # Panics
    /// Panics if one has no name.
    pub fn take_cookies(&mut self, response: &Response) {
        for (_, cookie) in response.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let pair = cookie.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a cookie has a name");
            self.cookies.retain(|(known, _)| known != name);
            if !cookie.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}
