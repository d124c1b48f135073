use proptest::prelude::*;

use super::*;

mod spellings;

#[derive(Debug)]
struct Plain {
    method: Method,
    pattern: Pattern,
    text: String,
    rules: PathRules,
}

impl Routed for Plain {
    fn method(&self) -> &Method {
        &self.method
    }

    fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    fn rules(&self) -> PathRules {
        self.rules
    }
}

fn routes(endpoints: &[(Method, &str)]) -> Routes<Plain> {
    let endpoints = endpoints.iter().map(|(method, text)| Plain {
        method: method.clone(),
        pattern: Pattern::new(text, None).unwrap(),
        text: (*text).to_owned(),
        rules: PathRules::default(),
    });
    Routes::new(endpoints.collect())
}

fn of_get(patterns: &[&str]) -> Routes<Plain> {
    routes(&patterns.iter().map(|pattern| (Method::GET, *pattern)).collect::<Vec<_>>())
}

fn found<'a>(routes: &'a Routes<Plain>, path: &str) -> Option<&'a str> {
    routes.find(&Method::GET, &PathView::new(path)).map(|endpoint| &*endpoint.text)
}

#[test]
fn the_more_specific_wins_whatever_the_order() {
    let routes = of_get(&["/.*", "/a/.*", "/a/b/.*", "/a/b", "/a/b.*", "/a/[^/]+/c", ".*"]);
    for (path, expected) in [
        ("/x", "/.*"),
        ("/a/x", "/a/.*"),
        ("/a/b", "/a/b"),
        ("/A/B", "/a/b"),
        ("/a/bc", "/a/b.*"),
        ("/a/b/c", "/a/b/.*"),
        ("/a/x/c", "/a/[^/]+/c"),
        ("x", ".*"),
    ] {
        assert_eq!(found(&routes, path), Some(expected), "{path}");
    }
}

#[test]
fn of_equals_the_first_wins() {
    assert_eq!(found(&of_get(&["/[ab]+", "/[bc]+"]), "/b"), Some("/[ab]+"));
    assert_eq!(found(&of_get(&["/[bc]+", "/[ab]+"]), "/b"), Some("/[bc]+"));
}

#[test]
fn what_begins_and_ends_with_the_same_sign_is_found() {
    assert_eq!(found(&of_get(&["/a/+"]), "/a/"), Some("/a/+"));
    assert_eq!(found(&of_get(&["/a+"]), "/a"), Some("/a+"));
}

#[test]
fn letters_that_are_the_same_beyond_ascii() {
    let routes = of_get(&["/sk/.*", "/ÄÖ"]);
    assert_eq!(found(&routes, "/ſ\u{212a}/x"), Some("/sk/.*"));
    assert_eq!(found(&routes, "/äö"), Some("/ÄÖ"));
}

#[test]
fn head_is_taken_by_get_unless_there_is_one() {
    let routes =
        routes(&[(Method::GET, "/a"), (Method::GET, "/b"), (Method::HEAD, "/b"), (Method::PUT, "/a")]);
    let method =
        |path| routes.find(&Method::HEAD, &PathView::new(path)).map(|endpoint| endpoint.method.clone());
    assert_eq!(method("/a"), Some(Method::GET));
    assert_eq!(method("/b"), Some(Method::HEAD));
    assert_eq!(routes.methods(&PathView::new("/a")), [Method::GET, Method::HEAD, Method::PUT]);
    assert!(routes.methods(&PathView::new("/c")).is_empty());
}

#[test]
fn many_that_have_nothing_in_common_are_found() {
    let patterns: Vec<_> = (0..40).map(|number| format!("/[^/]+/x{number}/.*")).collect();
    let patterns: Vec<_> = patterns.iter().map(String::as_str).chain(["/y/.*"]).collect();
    let routes = of_get(&patterns);
    assert_eq!(found(&routes, "/y/x7/z"), Some("/y/.*"));
    assert_eq!(found(&routes, "/z/x17/z"), Some("/[^/]+/x17/.*"));
    assert_eq!(found(&routes, "/z/x77/z"), None);
}

#[test]
fn many_that_begin_within_the_same_segment_are_found() {
    let patterns: Vec<_> = (0..40).map(|number| format!("/user-[0-9]+/(x{number}|y/{number})/.*")).collect();
    let patterns: Vec<_> =
        patterns.iter().map(String::as_str).chain(["/user-[0-9]+/.*", "/user-1.*"]).collect();
    let routes = of_get(&patterns);
    for (path, expected) in [
        ("/user-2/x7/z", Some("/user-[0-9]+/(x7|y/7)/.*")),
        ("/USER-2/Y/39/", Some("/user-[0-9]+/(x39|y/39)/.*")),
        ("/user-2/x77/x7", Some("/user-[0-9]+/.*")),
        ("/user-1/x7/z", Some("/user-1.*")),
        ("/user-", None),
    ] {
        assert_eq!(found(&routes, path), expected, "{path}");
    }
}

#[test]
fn what_is_there_a_thousand_times_is_tried_once() {
    let patterns: Vec<_> = (0..40).map(|number| format!("/[a-z]/.*x{number}/.*[0-9]")).collect();
    let routes = of_get(&patterns.iter().map(String::as_str).collect::<Vec<_>>());
    let path = format!("/a{}", "/x7/x17".repeat(1000));
    let mut tried = Vec::new();
    let found = routes.by_method[&Method::GET].find(&path, |number| {
        tried.push(&*routes.endpoints[number].text);
        false
    });
    assert_eq!(found, None);
    // The pattern with more fixed characters comes first.
    assert_eq!(tried, ["/[a-z]/.*x17/.*[0-9]", "/[a-z]/.*x7/.*[0-9]"]);
}

#[test]
fn what_nothing_tells_apart_is_not_compared_without_end() {
    // No two of these 512 patterns match the same path, except for the last two.
    let bits = |number: u32| (0..9).map(move |bit| if number >> bit & 1 == 0 { "[ab]" } else { "[cd]" });
    let patterns: Vec<_> = (0..512).map(|number| format!("/{}", bits(number).collect::<String>())).collect();
    let last: Vec<_> = patterns.iter().chain(patterns.last()).map(String::as_str).collect();
    assert_eq!(of_get(&last[500..]).overlaps().len(), 1);
    assert!(of_get(&last).overlaps().is_empty());
}

#[test]
fn overlaps_are_told_and_bounded() {
    let apart = of_get(&["/a", "/b", "/c/.*"]);
    assert!(apart.overlaps().is_empty());
    let routes = of_get(&["/a/.*", "/a/b"]);
    let overlaps = routes.overlaps();
    assert_eq!(overlaps.len(), 1);
    assert_eq!(
        (&*overlaps[0].winner.text, &*overlaps[0].loser.text, overlaps[0].path),
        ("/a/b", "/a/.*", "/a/b")
    );
    let many: Vec<_> = (0..500).map(|_| "/same").collect();
    assert_eq!(of_get(&many).overlaps().len(), MOST_OVERLAPS);
}

/// Applies the documented rule literally.
fn by_hand<'a>(routes: &'a Routes<Plain>, patterns: &[String], path: &str) -> Option<&'a str> {
    let all = || routes.endpoints.iter();
    let matching =
        all().filter(|endpoint| PathView::new(path).texts().any(|text| endpoint.pattern.is_match(text)));
    let best = matching.min_by_key(|endpoint| {
        let shape = endpoint.pattern.shape();
        let order = patterns.iter().position(|pattern| *pattern == endpoint.text);
        (Reverse(shape.prefix.len()), Reverse(shape.is_exact), Reverse(shape.literals), order)
    });
    best.map(|endpoint| &*endpoint.text)
}

const PIECES: [&str; 12] =
    ["/", "/a", "/B", "/sk", "/[^/]+", "/.*", "(/a|/ab)", "/+", "(/a)?", "ab?", r"\d+", "/ü"];

proptest! {
    #[test]
    fn the_same_is_found_as_by_trying_all(
        patterns in prop::collection::vec(prop::collection::vec(prop::sample::select(&PIECES[..]), 1..5), 1..40),
        paths in prop::collection::vec("/(a|b|s|K|ſ|/|ab|ü|1|A){0,8}", 1..20),
    ) {
        let patterns: Vec<_> = patterns.into_iter().map(|pieces| pieces.concat()).collect();
        let texts: Vec<_> = patterns.iter().map(String::as_str).collect();
        let routes = of_get(&texts);
        for path in paths {
            prop_assert_eq!(found(&routes, &path), by_hand(&routes, &patterns, &path), "{}", path);
        }
    }
}
