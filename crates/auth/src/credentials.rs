//! Where a request carries its tokens.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::{memchr2, memchr3};

/// Where requests may carry a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSources {
    /// The header; every header may have the forms of `Authorization`.
    pub header: Option<HeaderName>,
    /// The parameter of the query.
    pub query: Option<String>,
    /// The cookie.
    pub cookie: Option<String>,
    /// Whether `bearer.TOKEN` among the subprotocols of a WebSocket is a token: a page can set no
    /// other header of it, and a query gets into logs and histories.
    pub subprotocol: bool,
}

/// Precedes a token among the subprotocols of a WebSocket.
const BEARER_SUBPROTOCOL: &[u8] = b"bearer.";

/// A token of a request, not verified yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential<'r> {
    /// The token. Bytes that are not UTF-8 are replaced, so that such a token is never valid.
    pub token: Cow<'r, str>,
    /// Where it was found.
    pub place: TokenPlace,
}

/// Where a token was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// In the header: the client put it there.
    Header,
    /// In the query: the client put it there.
    Query,
    /// Among the subprotocols of a WebSocket: the client put it there.
    Subprotocol,
    /// In the cookie: a browser adds it to every request, whichever page caused it.
    Cookie,
}

impl TokenSources {
    /// Returns sources with `Authorization` only.
    pub fn authorization() -> Self {
        Self { header: Some(AUTHORIZATION), ..Self::default() }
    }

    /// Iterates over all tokens of a request. The caller must verify each of them: a service may
    /// read any (RFC 6750, section 2).
    ///
    /// The cookie counts only if there is no token elsewhere: browsers send it without anyone's
    /// choice.
    pub fn credentials<'r>(
        &'r self,
        headers: &'r HeaderMap,
        query: Option<&'r str>,
    ) -> impl Iterator<Item = Credential<'r>> {
        let in_header = self.header.iter().flat_map(|name| bearer_tokens(headers, name));
        let in_query =
            self.query.iter().flat_map(move |name| tokens_in_query(query.unwrap_or_default(), name));
        let mut explicit = in_header
            .map(|token| Credential { token, place: TokenPlace::Header })
            .chain(in_query.map(|token| Credential { token, place: TokenPlace::Query }))
            .chain(self.in_subprotocols(headers))
            .peekable();
        let ambient = explicit.peek().is_none().then(|| self.in_cookie(headers));
        explicit.chain(ambient.into_iter().flatten())
    }

    fn in_subprotocols<'r>(&self, headers: &'r HeaderMap) -> impl Iterator<Item = Credential<'r>> {
        let lists = self.subprotocol.then(|| headers.get_all(SEC_WEBSOCKET_PROTOCOL));
        let offers = lists.into_iter().flatten().flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
        let tokens = offers.filter_map(|offer| offer.trim_ascii().strip_prefix(BEARER_SUBPROTOCOL));
        tokens.map(|token| Credential { token: text(token), place: TokenPlace::Subprotocol })
    }

    fn in_cookie<'r>(&'r self, headers: &'r HeaderMap) -> impl Iterator<Item = Credential<'r>> {
        let values = self.cookie.iter().flat_map(|name| cookies(headers, name)).map(cookie_token);
        let tokens = values.filter(|token| !token.is_empty());
        tokens.map(|token| Credential { token: text(token), place: TokenPlace::Cookie })
    }
}

/// Iterates over the tokens of a header with the syntax of `Authorization`: one or more, separated
/// by commas, with or without the scheme `Bearer` (RIG; RFC 6750, section 2.1). Credentials of
/// other schemes are skipped: no part of them counts as a token, commas or not (RFC 9110, section
/// 11.4).
pub fn bearer_tokens<'r>(headers: &'r HeaderMap, name: &HeaderName) -> impl Iterator<Item = Cow<'r, str>> {
    let lists = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    lists.flat_map(|rest| BearerTokens { rest, is_ours: true }).map(text)
}

/// Splits one value of a header.
struct BearerTokens<'r> {
    rest: &'r [u8],
    /// Whether a word without a scheme is a token rather than a parameter of another scheme.
    is_ours: bool,
}

impl<'r> Iterator for BearerTokens<'r> {
    type Item = &'r [u8];

    fn next(&mut self) -> Option<&'r [u8]> {
        while !self.rest.is_empty() {
            let end = element_end(self.rest);
            let element = self.rest[..end].trim_ascii();
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            let (word, after) = match element.iter().position(u8::is_ascii_whitespace) {
                Some(at) => (&element[..at], element[at..].trim_ascii_start()),
                None => (element, &[][..]),
            };
            if word.eq_ignore_ascii_case(b"bearer") {
                self.is_ours = true;
                if !after.is_empty() {
                    return Some(after);
                }
            } else if !after.is_empty() {
                self.is_ours = false;
            } else if self.is_ours && !word.is_empty() {
                return Some(word);
            }
        }
        None
    }
}

/// Returns the end of the first element of a list: a comma that is not part of a quoted string (RFC
/// 9110, section 5.6.1).
fn element_end(list: &[u8]) -> usize {
    let first = memchr2(b',', b'"', list);
    let Some(quote) = first.filter(|at| list[*at] == b'"') else { return first.unwrap_or(list.len()) };
    let (mut quoted, mut escaped) = (false, false);
    let ends = |byte: &u8| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    };
    list[quote..].iter().position(ends).map_or(list.len(), |at| quote + at)
}

/// Iterates over the values of every parameter that a service may read as the token. Some services
/// separate parameters by `;` as well, so the text after a `;` counts too.
fn tokens_in_query<'r>(query: &'r str, name: &'r str) -> impl Iterator<Item = Cow<'r, str>> {
    let after_semicolons = query.split(';').skip(1).filter_map(|rest| rest.split('&').next());
    let may_be = move |pair: &&str| match memchr3(b'=', b'%', b'+', pair.as_bytes()) {
        Some(at) if pair.as_bytes()[at] == b'=' => {
            let start = pair.trim_start_matches('?').as_bytes().get(..name.len());
            start.is_some_and(|start| is_same_name(start, name))
        }
        Some(_) => true,
        None => false,
    };
    query
        .split('&')
        .chain(after_semicolons)
        .filter(may_be)
        .flat_map(|pair| form_urlencoded::parse(pair.as_bytes()))
        .filter(move |(key, value)| is_read_as(key, name) && !value.is_empty())
        .map(|(_, value)| value)
}

/// Returns whether a service may read a parameter or a cookie under this name: some ignore case,
/// blanks around a name, or the text after a NUL, read `name[]` as a list of that name, or take a
/// dot, a blank and a bracket in a name for an underscore (PHP).
fn is_read_as(key: &str, name: &str) -> bool {
    let end = key.find(['\0', '[']).unwrap_or(key.len());
    // A second question mark before the query belongs to its first name.
    let is_blank = |c: char| c.is_whitespace() || c.is_control() || c == '?';
    [key, &key[..end]].iter().any(|key| is_same_name(key.trim_matches(is_blank).as_bytes(), name))
}

fn is_same_name(given: &[u8], name: &str) -> bool {
    let is_same = |(given, name): (&u8, u8)| {
        given.eq_ignore_ascii_case(&name) || name == b'_' && b". [".contains(given)
    };
    given.len() == name.len() && given.iter().zip(name.bytes()).all(is_same)
}

/// Iterates over the values of a parameter of the query that are not empty, decoded.
pub fn parameters<'r>(query: &'r str, name: &'r str) -> impl Iterator<Item = Cow<'r, str>> {
    // Decodes only what may be the parameter: queries are long, and most of them is something else.
    let may_be = move |pair: &&str| {
        let pair = pair.as_bytes();
        match memchr3(b'=', b'%', b'+', pair) {
            Some(at) if pair[at] == b'=' => &pair[..at] == name.as_bytes(),
            // The name is encoded, or missing.
            Some(_) => true,
            None => false,
        }
    };
    query
        .split('&')
        .filter(may_be)
        .flat_map(|pair| form_urlencoded::parse(pair.as_bytes()))
        .filter(move |(key, value)| key == name && !value.is_empty())
        .map(|(_, value)| value)
}

/// Returns the bytes of a header as text. Checks first, because `from_utf8_lossy` is slow even if
/// nothing is replaced.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Iterates over the values of all cookies of this name (RFC 6265, section 5.4), in every `Cookie`
/// field: HTTP/2 splits them (RFC 9113, section 8.2.3). Other cookies are ignored, whatever bytes
/// they contain.
pub fn cookies<'r>(headers: &'r HeaderMap, name: &'r str) -> impl Iterator<Item = &'r [u8]> {
    headers.get_all(COOKIE).into_iter().flat_map(pairs).filter_map(|pair| cookie(pair, name))
}

/// Returns the `Cookie` fields without the cookies that a service may read under this name, if
/// their token is not verified. Others stay byte for byte. `None` if nothing is to be removed.
pub fn stripped_cookies(
    headers: &HeaderMap,
    name: &str,
    is_verified: impl Fn(&[u8]) -> bool,
) -> Option<Vec<HeaderValue>> {
    let has_stray = |pair: &[u8]| {
        let token = cookie_read_as(pair, name).map(cookie_token).filter(|token| !token.is_empty());
        token.is_some_and(|token| !is_verified(token))
    };
    let is_stray = |pair: &&[u8]| has_stray(pair) || inner_pairs(pair).any(has_stray);
    let fields = headers.get_all(COOKIE);
    if !fields.iter().any(|field| pairs(field).any(|pair| is_stray(&pair))) {
        return None;
    }
    let stripped = |field: &HeaderValue| {
        let kept: Vec<_> = pairs(field).filter(|pair| !is_stray(pair)).collect();
        let kept = HeaderValue::from_bytes(kept.join(&b';').trim_ascii_start()).ok();
        kept.filter(|kept| !kept.is_empty())
    };
    Some(fields.iter().filter_map(stripped).collect())
}

/// Iterates over the pairs that some services see in a pair: Python's separates pairs at blanks,
/// Perl's at commas.
fn inner_pairs(pair: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_separator = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
    let parts = pair.split(is_separator).filter(|part| !part.is_empty());
    parts.skip(1).filter(|part| part.contains(&b'='))
}

fn pairs(field: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    field.as_bytes().split(|byte| *byte == b';')
}

/// Returns the value in `pair` if the cookie has this name. Services differ in whether they accept
/// spaces around the name; here, spaces never hide a cookie.
fn cookie<'r>(pair: &'r [u8], name: &str) -> Option<&'r [u8]> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    (pair[..at].trim_ascii() == name.as_bytes()).then(|| pair[at + 1..].trim_ascii())
}

/// Returns the value in `pair` if a service may read the cookie under this name. Some decode names
/// as UTF-8, others byte by byte, and both drop the blanks of that alphabet.
fn cookie_read_as<'r>(pair: &'r [u8], name: &str) -> Option<&'r [u8]> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    let (given, value) = (&pair[..at], pair[at + 1..].trim_ascii());
    let is_it = match str::from_utf8(given) {
        Ok(given) if given.contains('%') => {
            // Perl's decodes names.
            let decoded = form_urlencoded::parse(given.as_bytes()).next();
            is_read_as(given, name) || decoded.is_some_and(|(given, _)| is_read_as(&given, name))
        }
        Ok(given) if given.is_ascii() => is_read_as(given, name),
        utf8 => {
            let latin1: String = given.iter().map(|byte| char::from(*byte)).collect();
            is_read_as(&latin1, name) || utf8.is_ok_and(|given| is_read_as(given, name))
        }
    };
    is_it.then_some(value)
}

/// Returns the token in the value of a cookie, without the quotes that may surround it (RFC 6265,
/// section 4.1.1).
fn cookie_token(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests;
