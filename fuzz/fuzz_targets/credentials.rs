//! The headers and the query that may carry tokens, one a line: each token found is one that was sent, and whole.
#![no_main]

use auth::{Credentials, bearer_tokens};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;

fuzz_target!(|input: &str| {
    let mut lines = input.splitn(3, '\n');
    let mut headers = HeaderMap::new();
    for name in [AUTHORIZATION, COOKIE] {
        let value = lines.next().and_then(|line| HeaderValue::from_str(line).ok());
        headers.extend(value.map(|value| (name, value)));
    }
    let query = lines.next();
    let all = in_proportion(input.as_bytes(), || Credentials::from_request(&headers, query, Some("jwt")));
    let of_header = bearer_tokens(&headers, &AUTHORIZATION);
    assert!(all.starts_with(&of_header));
    assert!(all.len() <= of_header.len() + 2);
    for token in &of_header {
        assert!(!token.contains(',') && token.trim() == *token);
    }
    for token in &all {
        assert!(!token.is_empty() && input.contains(token));
    }
    if let Some(token) = query.filter(|token| !token.is_empty()) {
        assert!(all.contains(&token));
    }
});
