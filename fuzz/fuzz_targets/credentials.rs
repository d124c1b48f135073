//! The headers and the query that may carry tokens, one per line: tokens come in the order of their
//! places, none is empty, and the cookie counts only if there is no other.
#![no_main]

use auth::{TokenPlace, TokenSources, bearer_tokens, cookies};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;

fuzz_target!(|input: &str| {
    let sources = TokenSources {
        query: Some("jwt".to_owned()),
        cookie: Some("jwt".to_owned()),
        subprotocol: true,
        ..TokenSources::authorization()
    };
    let mut lines = input.splitn(3, '\n');
    let mut headers = HeaderMap::new();
    for name in [AUTHORIZATION, COOKIE] {
        let value = lines.next().and_then(|line| HeaderValue::from_str(line).ok());
        headers.extend(value.map(|value| (name, value)));
    }
    let query = lines.next();
    let all: Vec<_> = in_proportion(input.as_bytes(), || sources.credentials(&headers, query).collect());
    assert!(all.iter().all(|credential| !credential.token.is_empty()));
    let rank = |place| match place {
        TokenPlace::Header => 0,
        TokenPlace::Query => 1,
        TokenPlace::Subprotocol => 2,
        TokenPlace::Cookie => 3,
    };
    assert!(all.is_sorted_by_key(|credential| rank(credential.place)));
    let of = |place| all.iter().filter(move |credential| credential.place == place);
    for (token, found) in bearer_tokens(&headers, &AUTHORIZATION).zip(of(TokenPlace::Header)) {
        assert!(token == found.token && token.trim_ascii() == token);
    }
    assert_eq!(bearer_tokens(&headers, &AUTHORIZATION).count(), of(TokenPlace::Header).count());
    match all.iter().any(|credential| credential.place != TokenPlace::Cookie) {
        true => assert_eq!(of(TokenPlace::Cookie).count(), 0),
        false => assert!(of(TokenPlace::Cookie).count() <= cookies(&headers, "jwt").count()),
    }
});
