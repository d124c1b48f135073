//! A path on the first line, patterns after it, each with its replacement behind a space: each is taken, or refused in
//! one short line; the endpoint that is found is one that matches, and none is found only where none matches.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use proxy::{Pattern, Routed, Routes, normalized};

/// Patterns of one input: each may take a MiB.
const MOST: usize = 24;

/// The longest pattern, as in definitions.
const LONGEST: usize = 4096;

/// The longest text that says what is wrong.
const LONGEST_ERROR: usize = 2 * LONGEST;

struct Endpoint(Pattern);

impl Routed for Endpoint {
    fn method(&self) -> &Method {
        &Method::GET
    }

    fn pattern(&self) -> &Pattern {
        &self.0
    }
}

fuzz_target!(|input: &str| {
    let (path, patterns) = input.split_once('\n').unwrap_or((input, ""));
    let path = normalized(path).unwrap_or_default();
    let patterns = patterns.split('\n').filter(|text| text.len() <= LONGEST).take(MOST).filter_map(|text| {
        let (path_regex, replacement) = match text.split_once(' ') {
            Some((path_regex, replacement)) => (path_regex, Some(replacement)),
            None => (text, None),
        };
        let pattern = Pattern::new(path_regex, replacement).map_err(|error| {
            let text = error.to_string();
            assert!(!text.contains('\n') && text.len() <= LONGEST_ERROR, "{text}");
        });
        Some(Endpoint(pattern.ok()?))
    });
    let patterns: Vec<_> = patterns.collect();
    let matching = patterns.iter().filter(|Endpoint(pattern)| pattern.is_match(&path)).count();
    let routes = Routes::new(patterns);
    let found = routes.find(&Method::HEAD, &path);
    assert_eq!(found.is_some(), matching > 0, "{matching}");
    assert_eq!(routes.methods(&path).len(), if found.is_some() { 2 } else { 0 });
    for overlap in routes.overlaps() {
        assert!(overlap.winner.0.is_match(overlap.path) && overlap.loser.0.is_match(overlap.path));
    }
    let Some(Endpoint(pattern)) = found else { return };
    assert!(pattern.is_match(&path));
    let rewritten = pattern.rewrite(&path);
    // Dots in a query, which a replacement may bring, mean nothing.
    let (before_query, _) = rewritten.split_once('?').unwrap_or((&*rewritten, ""));
    assert!(rewritten == path || normalized(before_query).is_some_and(|normal| normal == before_query));
});
