//! However a service interprets a forwarded path, it finds the endpoint that was checked.

use listener::{normal_path, push_triplet, triplet};

use super::*;

/// How a service interprets the paths that it gets.
#[derive(Clone, Copy, Debug)]
struct Service {
    decodes: bool,
    takes_backslashes: bool,
    cuts_ends: bool,
    merges: bool,
    cuts_queries: bool,
}

impl Service {
    /// Returns the path as the service interprets it, with as few percent-encodings as possible.
    fn reads(self, path: &str) -> String {
        let mut bytes = if self.decodes { decoded(path.as_bytes()) } else { path.as_bytes().to_vec() };
        if self.decodes && self.cuts_queries {
            bytes.truncate(bytes.iter().position(|byte| b"?#".contains(byte)).unwrap_or(bytes.len()));
        }
        if self.takes_backslashes {
            bytes.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
        }
        if self.cuts_ends {
            let cut = |segment: &[u8]| {
                let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
                let end = name.iter().rposition(|byte| !b". ".contains(byte)).map_or(0, |at| at + 1);
                // A segment of dots alone is a name.
                if segment.iter().all(|byte| *byte == b'.') { segment.to_vec() } else { name[..end].to_vec() }
            };
            bytes = bytes.split(|byte| *byte == b'/').map(cut).collect::<Vec<_>>().join(&b'/');
        }
        if self.merges {
            bytes.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
        }
        match self.decodes {
            true => encoded(&bytes),
            false => String::from_utf8(bytes).unwrap(),
        }
    }
}

fn decoded(mut path: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let [byte, after @ ..] = path {
        let (byte, after) = triplet(after).filter(|_| *byte == b'%').unwrap_or((*byte, after));
        bytes.push(byte);
        path = after;
    }
    bytes
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    for byte in bytes {
        match byte.is_ascii_alphanumeric() || b"/-._~;@".contains(byte) {
            true => text.push(*byte),
            false => push_triplet(&mut text, *byte),
        }
    }
    String::from_utf8(text).unwrap()
}

/// Returns the endpoint whose rules a request of this path is checked by.
fn chosen<'a>(routes: &'a Routes<Plain>, path: &str) -> Result<Option<&'a str>, PathRefusal> {
    let chosen = routes.choose(&Method::GET, &PathView::new(path));
    chosen.map(|endpoint| endpoint.map(|endpoint| &*endpoint.text))
}

fn with_rules(patterns: &[&str], rules: PathRules) -> Routes<Plain> {
    let endpoints = patterns.iter().map(|text| Plain {
        method: Method::GET,
        pattern: Pattern::new(text, None).unwrap(),
        text: (*text).to_owned(),
        rules,
    });
    Routes::new(endpoints.collect())
}

#[test]
fn f04_a_path_with_two_readings_is_refused() {
    let routes = of_get(&["/.*", "/admin/.*", "/admin", "/m;v=.*", "/exact;a"]);
    for (path, expected) in [
        ("/admin/x", Ok(Some("/admin/.*"))),
        ("/x%3By;z", Ok(Some("/.*"))),
        ("/admin;x/secret", Err(PathRefusal::Ambiguous)),
        ("/admin%3Bx/secret", Err(PathRefusal::Ambiguous)),
        ("/;/admin/secret", Err(PathRefusal::Ambiguous)),
        ("/x/..;/admin/secret", Err(PathRefusal::Dots)),
        ("/x/..;y/admin", Err(PathRefusal::Dots)),
        ("/x/..%3B/admin", Err(PathRefusal::Dots)),
        ("/x/..%20/admin", Err(PathRefusal::Dots)),
        ("/admin./secret", Err(PathRefusal::Ambiguous)),
        ("/admin%20/secret", Err(PathRefusal::Ambiguous)),
        ("/admin.%20./secret", Err(PathRefusal::Ambiguous)),
        ("/.../admin/secret", Err(PathRefusal::Ambiguous)),
        ("/wiki/etc./x", Ok(Some("/.*"))),
        ("//admin/secret", Err(PathRefusal::Empty)),
        ("/admin%2Fsecret", Err(PathRefusal::Slash)),
        ("/admin%5Csecret", Err(PathRefusal::Slash)),
        (r"/admin\secret", Err(PathRefusal::Slash)),
        ("/x/..%2Fadmin", Err(PathRefusal::Dots)),
        (r"/x/..\admin", Err(PathRefusal::Dots)),
        ("/admin%3Fx", Err(PathRefusal::Ambiguous)),
        ("/admin/%23x", Ok(Some("/admin/.*"))),
        ("/wiki/What%3F", Ok(Some("/.*"))),
        ("/x/..%3Fy", Err(PathRefusal::Dots)),
        ("/x/..%23/admin", Err(PathRefusal::Dots)),
        ("/x%00y", Err(PathRefusal::Control)),
        ("/x%0Ay", Err(PathRefusal::Control)),
        ("/x%7F", Err(PathRefusal::Control)),
        ("/m;v=1/x", Ok(Some("/m;v=.*"))),
        ("/m%3Bv=1", Ok(Some("/m;v=.*"))),
        ("/exact;a", Ok(Some("/exact;a"))),
        ("/%2561dmin/x", Ok(Some("/.*"))),
    ] {
        assert_eq!(chosen(&routes, path), expected, "{path}");
    }
}

/// A service may cut parameters and merge slashes, treat three dots as a name, or interpret the
/// path without decoding it.
#[test]
fn f04_a_service_may_cut_one_segment_and_not_the_next() {
    let routes = of_get(&["/[^/]+", "/.*"]);
    assert_eq!(chosen(&routes, "/;/..."), Err(PathRefusal::Ambiguous));
    assert_eq!(chosen(&routes, "/;/%3B"), Err(PathRefusal::Ambiguous));
    assert_eq!(chosen(&routes, "/x/y"), Ok(Some("/.*")));
}

#[test]
fn f04_a_definition_may_allow_it() {
    let of = |rule| PathRules { encoded_slashes: rule, empty_segments: rule, path_parameters: rule };
    let patterns = ["/.*", "/admin/.*", "/p/[^/]+"];
    let same = with_rules(&patterns, of(Rule::SameEndpoint));
    let allow = with_rules(&patterns, of(Rule::Allow));
    let refuse = with_rules(&patterns, of(Rule::Refuse));
    for (path, by_same, by_allow) in [
        ("/p/group%2Fname", Err(PathRefusal::Ambiguous), Ok(Some("/p/[^/]+"))),
        ("/x%2Fy//z;a", Ok(Some("/.*")), Ok(Some("/.*"))),
        ("/admin%2Fx", Err(PathRefusal::Ambiguous), Ok(Some("/.*"))),
        ("//admin/x", Err(PathRefusal::Ambiguous), Ok(Some("/.*"))),
        ("/%2Fadmin/x", Err(PathRefusal::Ambiguous), Ok(Some("/.*"))),
        ("/;%2Fadmin;/x", Err(PathRefusal::Ambiguous), Ok(Some("/.*"))),
        ("/x%2F..%2Fadmin", Err(PathRefusal::Dots), Err(PathRefusal::Dots)),
    ] {
        assert_eq!(chosen(&same, path), by_same, "{path}");
        assert_eq!(chosen(&allow, path), by_allow, "{path}");
        assert!(chosen(&refuse, path).is_err(), "{path}");
    }
    assert_eq!(chosen(&refuse, "/x;a"), Err(PathRefusal::Ends));
}

const PATTERNS: [&str; 19] = [
    "/.*",
    "/admin/.*",
    "/admin",
    "/a",
    "/a/.*",
    "/a%3Bb",
    "/a@b",
    "/a%40b",
    "/a%20b.*",
    r"/a\[b",
    "/ü.*",
    "/%C3%BC",
    "/[^/]+",
    "/[^%]+/b",
    "/a/[^/]*/admin",
    r"/[\w%]+/x",
    "/b/([^/;]+)",
    "/(a|admin/b)?",
    "//.*",
];

const PIECES: [&str; 40] = [
    "/", "/", "/", "/", "//", "admin", "%61dmin", "ADMIN", "a", "%41", "b", "x", ".", "..", "%2e", "%2E%2e",
    "...", ";", "%3b", ";x=1", "..;", "%2F", "%2f", "%5c", "\\", "@", "%40", "%20", "ü", "%C3%bc", "%E4",
    "[", "%5B", "%25", "%2561", "%", "%0", "+", "%3F", "%23",
];

fn tables() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(&PATTERNS[..]), 1..6)
}

fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..9)
        .prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn services() -> impl Strategy<Value = Service> {
    any::<[bool; 5]>().prop_map(|[decodes, takes_backslashes, cuts_ends, merges, cuts_queries]| Service {
        decodes,
        takes_backslashes,
        cuts_ends,
        merges,
        cuts_queries,
    })
}

#[test]
fn f04_each_way_to_read_an_end_counts_alone() {
    let routes = of_get(&["/.*", "//.*", "/admin"]);
    for (path, expected) in [
        // `//` for a service that cuts parameters and keeps the `?`, `/` for one that cuts at the
        // `?`.
        ("/;%3F/", Err(PathRefusal::Ambiguous)),
        ("/;%23/", Err(PathRefusal::Ambiguous)),
        ("/%20%3F/", Ok(Some("/.*"))),
        ("/admin.%3Fx", Err(PathRefusal::Ambiguous)),
        ("/x;%3F/", Ok(Some("/.*"))),
    ] {
        assert_eq!(chosen(&routes, path), expected, "{path}");
    }
    let rules = PathRules { encoded_slashes: Rule::SameEndpoint, ..PathRules::default() };
    let routes = with_rules(&["/.*", "/admin/.*"], rules);
    assert_eq!(chosen(&routes, "/admin.%2Fx"), Err(PathRefusal::Ambiguous));
    assert_eq!(chosen(&routes, "/admin%20%5Cx"), Err(PathRefusal::Ambiguous));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn f04_the_endpoint_of_what_a_service_reads_is_the_one_that_was_checked(
        patterns in tables(),
        path in paths(),
        service in services(),
        same in any::<[bool; 2]>(),
    ) {
        let [encoded_slashes, empty_segments] = same.map(|same| if same { Rule::SameEndpoint } else { Rule::Refuse });
        let routes = with_rules(&patterns, PathRules { encoded_slashes, empty_segments, ..PathRules::default() });
        let Ok(served) = normal_path(&path) else { return Ok(()) };
        let Ok(Some(checked)) = routes.choose(&Method::GET, &PathView::new(&served)) else { return Ok(()) };
        if checked.pattern().names_parameters() && (service.cuts_ends || service.cuts_queries) {
            return Ok(());
        }
        let understood = service.reads(&served);
        prop_assert!(normal_path(&understood).is_ok_and(|path| path == understood || !service.decodes), "{} {}", served, understood);
        let found = found(&routes, &understood);
        prop_assert_eq!(found, Some(&*checked.text), "{} is {} for {:?}", served, understood, service);
    }
}
