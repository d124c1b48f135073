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
    assert!(matches!(Pattern::new("/[", None), Err(PatternError::Regex(_))));
    let large = r"/\w{500}";
    assert!(matches!(Pattern::new(large, None), Err(PatternError::Regex(_))));
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
        ("/", "/"),
        ("//a", "//a"),
    ] {
        assert_eq!(normalized(path).as_deref(), Some(expected), "{path}");
    }
    assert_eq!(normalized("*"), None);
    assert_eq!(normalized(""), None);
}

#[test]
fn shapes() {
    let shape = |path_regex| {
        let Shape { prefix, suffix, is_exact, literals, .. } = Shape::of(path_regex);
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
    assert_eq!(shape("["), expect("", "", false, 0));
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
