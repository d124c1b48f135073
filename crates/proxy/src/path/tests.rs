use proptest::prelude::*;

use super::*;

fn rewritten(path_regex: &str, replacement: &str, path: &str) -> String {
    try_rewritten(path_regex, replacement, path).unwrap()
}

fn try_rewritten(path_regex: &str, replacement: &str, path: &str) -> Result<String, PathRefusal> {
    let pattern = Pattern::new(path_regex, Some(replacement)).unwrap();
    pattern.rewrite(&PathView::new(path)).map(Cow::into_owned)
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
fn f04_captures_are_spelled_as_the_path_has_them() {
    for (path_regex, path, expected) in [
        ("/a/(.*)/b", "/a/x%3By%40ü%C3%BC[%5B/b", "/up/x%3By%40ü%C3%BC[%5B"),
        ("/a/(.*ü)(.*)", "/a/%C3%BC%20b", "/up/%C3%BC"),
        ("/a/.(.*)", "/a/ü/%C3%BC", "/up/ü/%C3%BC"),
        ("/(?:a|%)(.*)", "/%20", "/up/20"),
    ] {
        assert_eq!(rewritten(path_regex, r"/up/\1", path), expected, "{path}");
    }
}

#[test]
fn f04_what_is_put_together_has_no_dot_segments() {
    for (path_regex, replacement, path) in [
        ("/(.)(.)/(.*)", r"/public/\1/\2/\3", "/a./x"),
        ("/([^/]*)/([^/]*)/(.*)", r"/public/\1\2/\3", "/a/b/..;x/secret"),
        ("/p(.*)", r"/public/\1?x=1", "/p.."),
        ("/p(.*)", r"/public/\1/x", "/p..;y"),
        ("/p(.*)", r"/public/\1/x", "/p..%3By"),
        ("/p(.*)", r"/public/\1/x", "/p..%2F..%2Fx"),
        ("/p(.*)", r"/public/\1/x", "/px%5C.."),
        ("/p(.*)", r"/public/\1/x", "/p..%20"),
        ("/p(.*)", r"/public/%2\1/x", "/pe%2e"),
        ("/(.)(.*)", r"/\2/\1", "/%20"),
    ] {
        assert_eq!(try_rewritten(path_regex, replacement, path), Err(PathRefusal::Replacement), "{path}");
    }
    assert_eq!(rewritten("/(.)(.)/(.*)", r"/public/\1\2/\3", "/a./x"), "/public/a./x");
    assert_eq!(rewritten("/p(.*)", r"/public/../\1", "/px"), "/x", "what the definition says is meant");
    assert_eq!(rewritten("/p(.*)", r"/%61/%2\1", "/p5"), "/a/%25");
}

#[test]
fn f04_captures_in_a_query_are_one_value() {
    assert_eq!(rewritten("/a/(.*)", r"/up?x=\1&y=1", "/a/b&admin=1;c=d+e"), "/up?x=b%26admin=1%3Bc=d+e&y=1");
    assert_eq!(rewritten("/a", "/up?next=/b/../c", "/a"), "/up?next=/b/../c");
}

#[test]
fn f04_a_pattern_covers_every_spelling_of_its_paths() {
    for (path_regex, covered, others) in [
        ("/a;b", &["/a;b", "/a%3Bb"][..], &["/a%253Bb", "/a"][..]),
        ("/a%3bb", &["/a;b", "/a%3Bb"], &[]),
        ("/u/.+%40x", &["/u/a@x", "/u/a%40x"], &[]),
        ("/a%20b", &["/a%20b"], &["/a+b", "/a%2520b"]),
        ("/a b", &["/a%20b"], &[]),
        (r"/a\[b]*", &["/a[b]", "/a%5Bb%5D]"], &["/ab"]),
        ("/stra\u{df}e", &["/stra\u{df}e", "/stra%C3%9Fe"], &["/strasse"]),
        ("/stra%c3%9fe", &["/stra\u{df}e", "/stra%C3%9Fe"], &[]),
        ("/(?:[a-z]|%[0-9a-f]{2})+", &["/a%20b", "/%C3%BC", "/ü"], &["/a%40b", "/a@b"]),
        ("/[^@]+", &["/a"], &["/a@b", "/a%40b"]),
        ("/%E4", &["/%E4"], &["/%C3%A4"]),
        ("/%(?:40|2)", &[], &["/@"]),
    ] {
        let pattern = Pattern::new(path_regex, None).unwrap();
        let covers = |path| PathView::new(path).texts().any(|text| pattern.is_match(text));
        covered.iter().for_each(|path| assert!(covers(path), "{path_regex}: {path}"));
        others.iter().for_each(|path| assert!(!covers(path), "{path_regex}: {path}"));
    }
}

#[test]
fn f04_a_plain_path_is_borrowed() {
    for path in ["/", "/a/b.c/~d-e_f", "/a;b=c,d@e:f!$&'()*+", "/a./b", "//"] {
        let view = PathView::new(path);
        assert!(matches!(view.plain_text(), Cow::Borrowed(_)), "{path}");
    }
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
    assert_eq!(k.rewrite(&PathView::new("/SK")).unwrap(), "/x/SK");
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
    /// A pattern matches the same paths whether it is compiled or compared as text, and its shape
    /// applies to them.
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
}
