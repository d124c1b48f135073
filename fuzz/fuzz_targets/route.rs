//! A path on the first line, patterns after it, each with its replacement after a space. Each is
//! accepted, or refused in one short line. The endpoint that is found matches, and none is found
//! only if none matches. A service that decodes the path finds the same endpoint.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use listener::{normal_path, push_triplet, triplet};
use proxy::{PathView, Pattern, Routed, Routes};

/// Limit of patterns in one input, since each may take a MiB.
const MOST: usize = 24;

/// Length limit of a pattern, as in definitions.
const LONGEST: usize = 4096;

/// Length limit of an error.
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
    let Ok(path) = normal_path(path) else { return };
    assert_eq!(normal_path(&path).as_ref(), Ok(&path), "once is enough");
    let view = PathView::new(&path);
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
    let routes = Routes::new(patterns);
    let found = routes.find(&Method::HEAD, &view);
    assert_eq!(routes.methods(&view).len(), if found.is_some() { 2 } else { 0 });
    for overlap in routes.overlaps() {
        assert!(overlap.winner.0.is_match(overlap.path) && overlap.loser.0.is_match(overlap.path));
    }
    let Ok(Some(chosen)) = routes.choose(&Method::HEAD, &view) else { return };
    let decoded = decoded(&path);
    let by_decoding = normal_path(&decoded).ok().and_then(|path| {
        let found = routes.find(&Method::HEAD, &PathView::new(&path))?;
        Some(std::ptr::eq(chosen, found))
    });
    assert!(!path.starts_with('/') || by_decoding == Some(true), "{path}");
    if let Ok(rewritten) = chosen.0.rewrite(&view) {
        // Dots have no meaning in a query, which a replacement may contain.
        let (before_query, _) = rewritten.split_once('?').unwrap_or((&*rewritten, ""));
        assert!(rewritten == path || normal_path(before_query).is_ok_and(|normal| normal == before_query));
    }
});

/// Returns a path as a service reads it that decodes once.
fn decoded(path: &str) -> String {
    let (mut text, mut rest) = (Vec::new(), path.as_bytes());
    while let [byte, after @ ..] = rest {
        let (byte, after) = triplet(after).filter(|_| *byte == b'%').unwrap_or((*byte, after));
        match byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            true => text.push(byte),
            false => push_triplet(&mut text, byte),
        }
        rest = after;
    }
    String::from_utf8(text).expect("ASCII")
}
