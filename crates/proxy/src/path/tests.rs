use proptest::prelude::*;

use super::*;

fn rewritten(path_regex: &str, replacement: &str, path: &str) -> String {
    Pattern::new(path_regex, Some(replacement)).unwrap().rewrite(path).into_owned()
}

#[test]
fn patterns_are_for_whole_paths_caseless_and_unicode() {
    let matches = |path_regex, path| Pattern::new(path_regex, None).unwrap().is_match(path);
    assert!(matches("/open/.*", "/OPEN/Foo%20bar/%2F/b"));
    assert!(matches("/a|/b", "/b") && !matches("/a|/b", "/bc") && !matches("/a|/b", "/x/b"));
    assert!(!matches("/open/.*", "//open/x"));
    assert!(matches("/straße", "/STRAßE") && matches("/(?-i)a", "/a") && !matches("/(?-i)a", "/A"));
}

#[test]
fn d24_what_is_no_regular_expression_is_an_error() {
    for (path_regex, expected) in [
        ("(", "is no regular expression: unclosed group (character 1)"),
        ("/a)(b", "is no regular expression: unopened group (character 3)"),
        ("/[", "is no regular expression: unclosed character class (character 2)"),
        (r"/\w{500}", "cannot be used: Compiled regex exceeds size limit of 1048576 bytes."),
    ] {
        assert_eq!(Pattern::new(path_regex, None).unwrap_err().to_string(), expected);
    }
    let error = Pattern::new("/(a)", Some(r"/\2")).unwrap_err();
    assert_eq!(error.to_string(), r"names \2, but path_regex captures only 1");
}

#[test]
fn d27_captures_are_not_decoded() {
    assert_eq!(rewritten("/open/(.*)", r"/up/\1", "/OPEN/Foo%20bar/%2F/b"), "/up/Foo%20bar/%2F/b");
    assert_eq!(rewritten("/(a)(b)?/(.*)", r"/\3/\2/\1\\", "/a/ü"), r"/ü//a\");
    assert_eq!(rewritten("/(.*)", r"\0", "/x"), "/x");
    assert_eq!(rewritten("/(.*)", r"\1", "/x"), "/x", "it begins with a slash");
}

#[test]
fn what_is_put_together_has_no_dot_segments_either() {
    assert_eq!(rewritten("/(.)(.)/(.*)", r"/public/\1\2/\3", "/a./x"), "/public/a./x");
    assert_eq!(rewritten("/([^/]*)/([^/]*)/(.*)", r"/public/\1\2/\3", "/./%2E/secret"), "/secret");
}

#[test]
fn the_query_of_a_replacement_hides_no_dot_segment_and_has_none() {
    assert_eq!(rewritten("/p(.*)", r"/public/\1?x=1", "/p.."), "/?x=1");
    assert_eq!(rewritten("/a", "/up?next=/b/../c", "/a"), "/up?next=/b/../c");
}

#[test]
fn dot_segments_go() {
    for (path, expected) in [
        ("/open/x/../y", "/open/y"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/%2E%2e/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/%2e/b", "/a/b"),
        ("/a//../b", "/a/b"),
        ("/...", "/..."),
        ("/.a/b.", "/.a/b."),
        ("/%2f..", "/%2f.."),
        ("/a%20b/.well-known", "/a%20b/.well-known"),
        ("/", "/"),
        ("//a", "//a"),
    ] {
        assert_eq!(normalized(path).as_deref(), Some(expected), "{path}");
    }
    assert!(matches!(normalized("/a%20b/.well-known"), Some(Cow::Borrowed(_))));
    assert_eq!(normalized("*"), None);
    assert_eq!(normalized(""), None);
}

#[test]
fn shapes() {
    let shape = |path_regex| {
        let pattern = Pattern::new(path_regex, None).unwrap();
        let Shape { prefix, suffix, is_exact, literals, .. } = pattern.shape().clone();
        (prefix, suffix, is_exact, literals)
    };
    let expect = |prefix: &str, suffix: &str, is_exact, literals| {
        (prefix.to_owned(), suffix.to_owned(), is_exact, literals)
    };
    assert_eq!(shape("/A/b"), expect("/a/b", "/a/b", true, 4));
    assert_eq!(shape("/a/[^/]+/b"), expect("/a/", "/b", false, 5));
    assert_eq!(shape("(/a|/b)/x"), expect("/", "/x", false, 4));
    assert_eq!(shape("/a+"), expect("/a", "a", false, 2));
    assert_eq!(shape("/(en|de)?/x"), expect("/", "/x", false, 3));
    assert_eq!(shape("/a/(.*)"), expect("/a/", "", false, 3));
    assert_eq!(shape("/sTraße"), expect("/stra", "e", false, 8));
    assert_eq!(shape("^/a$"), expect("/a", "/a", true, 2));
}

const PIECES: [&str; 18] = [
    "/",
    "a",
    "B",
    "k",
    "s",
    "\u{17f}",
    "ü",
    r"\.",
    "(?-i)a",
    "(?i:k)",
    "[^/]+",
    ".*",
    "(a|ab)",
    "(s|k.)?",
    "(ab){2}",
    r"\b",
    "$",
    "(1|a.b|[sk])",
];

#[test]
fn what_is_in_every_path() {
    let contained = |path_regex| Pattern::new(path_regex, None).unwrap().shape().contained.clone();
    assert_eq!(contained("/A/[^/]+/thing/.*"), [["/a/"], ["/thing/"]]);
    assert_eq!(
        contained("/(en|de)/(?:x|y/z)?a(bc)+d"),
        [vec!["/"], vec!["en", "de"], vec!["/"], vec!["abc"], vec!["d"]]
    );
    assert_eq!(contained("/(a.*|[bc])"), [["/"]]);
    assert_eq!(contained("/ſtraße"), [["/stra"], ["e"]]);
}

#[test]
fn a_text_is_compared_and_not_compiled() {
    let is_text = |path_regex| Pattern::new(path_regex, None).unwrap().regex.is_none();
    assert!(is_text("/a/b") && is_text(r"/a\.b"));
    assert!(
        !is_text("/(?-i)a") && !is_text(r"/a\b") && !is_text("/(a)") && !is_text("/ü") && !is_text("/a.")
    );
    let k = Pattern::new("/sk", Some(r"/x\0")).unwrap();
    assert!(k.is_match("/\u{17f}\u{212a}") && !k.is_match("/sk/"));
    assert_eq!(k.rewrite("/SK"), "/x/SK");
}

#[test]
fn what_an_assertion_forbids_is_no_example() {
    assert_eq!(Pattern::new("/a(b^c)", None).unwrap().shape().example, None);
}

#[test]
fn an_example_is_matched() {
    for path_regex in ["/a", "/a/[^/]+/b", r"/\d{3}/\w+", "/(en|de)?/x", "/[äö]", "/.*"] {
        let pattern = Pattern::new(path_regex, None).unwrap();
        let example = pattern.shape().example.as_deref().unwrap();
        assert!(pattern.is_match(example), "{path_regex}: {example}");
    }
}

proptest! {
    /// Whether a pattern is compiled or compared, and what its shape says of its paths.
    #[test]
    fn a_pattern_matches_as_a_regular_expression_does(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..5),
        path in "(/|a|B|ab|k|K|\u{212a}|ſ|s|ü|Ü|\\.|1){0,6}",
    ) {
        let text = pieces.concat();
        let pattern = Pattern::new(&text, None).unwrap();
        let is_match = compile(&text).unwrap().is_match(&path);
        prop_assert_eq!(pattern.is_match(&path), is_match, "{}", text);
        if is_match {
            let (shape, folded) = (pattern.shape(), fold(&path));
            prop_assert!(folded.starts_with(&shape.prefix) && folded.ends_with(&shape.suffix), "{}", text);
            let is_in = |any: &Vec<String>| any.iter().any(|text| folded.contains(text));
            prop_assert!(shape.contained.iter().all(is_in), "{}: {:?}", text, shape.contained);
        }
    }

    /// As RFC 3986 has it, and once is enough.
    #[test]
    fn a_normal_path_stays(path in "/(\\.|%2e|%2E|a|/|%|ü){0,12}") {
        let once = normalized(&path).unwrap().into_owned();
        prop_assert!(once.starts_with('/'));
        prop_assert!(once.split('/').all(|segment| dots(segment).is_none()));
        let again = normalized(&once);
        prop_assert_eq!(again.as_deref(), Some(&*once));
    }
}
