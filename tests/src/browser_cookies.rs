//! The cookies of a client that logs in at a provider.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::client::{Request, Response};

/// The cookies of one site. Paths and lifetimes are ignored, except that an empty value deletes.
#[derive(Default)]
pub(crate) struct BrowserCookies(BTreeMap<String, String>);

impl BrowserCookies {
    /// Sends a request with the cookies, and keeps those of the answer.
    ///
    /// # Panics
    /// Panics if there is no answer.
    pub(crate) fn send(&mut self, request: Request, address: SocketAddr) -> Response {
        let cookies: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header("Cookie", cookies.join("; ")) };
        let response = request.send(address);
        let set = response.headers.iter().filter(|(name, _)| name == "set-cookie");
        for (name, value) in set.filter_map(|(_, cookie)| cookie.split(';').next()?.split_once('=')) {
            if value.is_empty() {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
        response
    }
}

/// Returns the request of a form.
pub(crate) fn form(target: &str, fields: &[(&str, &str)]) -> Request {
    let body: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}={}", crate::encoded(value))).collect();
    let request = Request::new("POST", target).header("Content-Type", "application/x-www-form-urlencoded");
    request.body(body.join("&"))
}

/// Returns the target of a redirect on the same site: its path and query.
///
/// # Panics
/// Panics if the answer is no redirect.
pub(crate) fn redirect(response: &Response) -> &str {
    let location = response.header("location");
    let location = location.unwrap_or_else(|| panic!("no redirect: {}", response.shown()));
    let Some((_, rest)) = location.split_once("://") else { return location };
    rest.find('/').map_or("/", |at| &rest[at..])
}

/// Returns a parameter of the query of a target. None of those that are asked for is encoded.
///
/// # Panics
/// Panics if it is missing.
pub(crate) fn parameter<'t>(target: &'t str, name: &str) -> &'t str {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("{name} is missing: {target}"))
}
