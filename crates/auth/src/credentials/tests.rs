use super::*;

fn headers(pairs: &[(&HeaderName, &[u8])]) -> HeaderMap {
    pairs.iter().map(|(name, value)| ((*name).clone(), HeaderValue::from_bytes(value).unwrap())).collect()
}

/// Returns the tokens of a header, each in brackets.
fn bearer(value: &str) -> String {
    let headers = headers(&[(&AUTHORIZATION, value.as_bytes())]);
    bearer_tokens(&headers, &AUTHORIZATION).map(|token| format!("[{token}]")).collect()
}

fn everywhere() -> TokenSources {
    TokenSources {
        header: Some(AUTHORIZATION),
        query: Some("jwt".into()),
        cookie: Some("token".into()),
        subprotocol: true,
    }
}

fn found(headers: &HeaderMap, query: &str) -> Vec<(String, TokenPlace)> {
    let sources = everywhere();
    let found = sources.credentials(headers, Some(query));
    found.map(|credential| (credential.token.into_owned(), credential.place)).collect()
}

#[test]
fn rigs_forms_of_the_header() {
    for (value, tokens) in [
        ("Bearer a", "[a]"),
        ("bearer a, Bearer b", "[a][b]"),
        ("Bearer a,b", "[a][b]"),
        ("BEARER\ta", "[a]"),
        ("Bearer  a ,, b", "[a][b]"),
        ("Bearer , a", "[a]"),
        ("a", "[a]"),
        ("a, b", "[a][b]"),
        ("Bearer", ""),
        (", ,", ""),
        ("", ""),
        // Neither a token nor another scheme: refused by verification.
        ("Bearer Bearer a", "[Bearer a]"),
        ("Bearer a b", "[a b]"),
    ] {
        assert_eq!(bearer(value), tokens, "{value}");
    }
}

#[test]
fn f48_other_schemes_are_not_split_at_commas() {
    for value in [
        "Basic Zm9vOmJhcg==",
        r#"Digest username="u", realm="r""#,
        r#"Digest username="u",realm=r,algorithm=MD5,nc=00000001"#,
        r#"digest username = "u" , realm = "r""#,
        r#"Digest username="a, Bearer b", realm="\", Bearer c""#,
        "AWS4-HMAC-SHA256 Credential=K/20260101/eu/s3/aws4_request, SignedHeaders=host;range, Signature=fe5f",
        r#"OAuth realm="x", oauth_consumer_key="k", oauth_token="t""#,
        r#"Hawk id="dh37", ts="1353832234", nonce="j4h3g2", mac="6R4rV5=""#,
        "Negotiate YIIJ, next",
        "GNAP 80UPRY5NM33OMUKMKSKU",
        "DPoP eyJ.a.b",
    ] {
        assert_eq!(bearer(value), "", "{value}");
    }
    // Two fields that a client or a proxy has joined (RFC 9110, section 5.3): the part with our
    // scheme counts.
    assert_eq!(bearer(r#"Digest username="u", realm="r", Bearer a"#), "[a]");
    assert_eq!(bearer(r#"Bearer a, Digest username="u", realm="r""#), "[a]");
}

#[test]
fn bytes_that_are_not_ascii_make_a_token_invalid_and_hide_nothing() {
    let headers = headers(&[
        (&AUTHORIZATION, b"Bearer a\xff"),
        (&AUTHORIZATION, b"Digest username=\"Jos\xe9\", realm=\"r\""),
        (&AUTHORIZATION, b"Bearer b"),
    ]);
    assert_eq!(bearer_tokens(&headers, &AUTHORIZATION).collect::<Vec<_>>(), ["a\u{fffd}", "b"]);
}

#[test]
fn d14_header_query_and_cookie_are_taken() {
    let token = |text: &str, place| (text.to_owned(), place);
    let with = |value: &'static [u8]| headers(&[(&AUTHORIZATION, value), (&COOKIE, b"x=1; token=c")]);
    assert_eq!(
        found(&with(b"Bearer a"), "jwt=b"),
        [token("a", TokenPlace::Header), token("b", TokenPlace::Query)]
    );
    assert_eq!(found(&with(b"Basic eA=="), "x=y"), [token("c", TokenPlace::Cookie)]);
    let both = found(&with(b""), "jwt=b&x=jwt&%6Awt=c+d&jwt=");
    assert_eq!(both, [token("b", TokenPlace::Query), token("c d", TokenPlace::Query)]);
}

/// PHP reads these names as `access_token`.
#[test]
fn f05_a_parameter_that_php_reads_as_the_token_is_one() {
    let sources = TokenSources { query: Some("access_token".to_owned()), ..TokenSources::default() };
    let none = HeaderMap::new();
    let found = |query: &str| sources.credentials(&none, Some(query)).count();
    for name in [
        "access.token",
        "access+token",
        "access%20token",
        "access%5Btoken",
        "access[token",
        "ACCESS.TOKEN",
        "?access_token",
    ] {
        assert_eq!(found(&format!("a=1&{name}=b")), 1, "{name}");
        assert_eq!(found(&format!("a=1;{name}=b")), 1, "{name}");
    }
    for name in ["accessXtoken", "access-token", "access_tokens", "xaccess.token", "accesstoken"] {
        assert_eq!(found(&format!("{name}=b")), 0, "{name}");
    }
}

#[test]
fn f49_an_explicit_token_makes_the_cookie_not_count() {
    let both = headers(&[(&AUTHORIZATION, b"Bearer a"), (&COOKIE, b"token=stale")]);
    assert_eq!(found(&both, "").len(), 1);
    let cookie = headers(&[(&COOKIE, b"token=stale")]);
    assert_eq!(found(&cookie, "jwt=b"), [("b".to_owned(), TokenPlace::Query)]);
    assert_eq!(found(&cookie, "jwt="), [("stale".to_owned(), TokenPlace::Cookie)]);
}

#[test]
fn f46_foreign_cookies_do_not_count() {
    for field in [
        &b"name=Jos\xc3\xa9; token=t"[..],
        b"name=Jos\xe9;token=t",
        b"token=t; name=Jos\xe9",
        b"flag; =x; a=b=c; q=\"x; token=t",
        b"Token=other; xtoken=other; token =t",
        b"token=\"t\"",
        b" token = t ;",
        b"token=; token=t",
    ] {
        let tokens = found(&headers(&[(&COOKIE, field)]), "");
        assert_eq!(tokens, [("t".to_owned(), TokenPlace::Cookie)], "{}", field.escape_ascii());
    }
    let split = headers(&[(&COOKIE, b"token=t"), (&COOKIE, b"n=\xff"), (&COOKIE, b"token=u")]);
    assert_eq!(found(&split, "").len(), 2, "each is verified");
    assert_eq!(cookies(&split, "n").collect::<Vec<_>>(), [b"\xff"]);
}

/// Returns the fields that a service gets.
fn strip(headers: &HeaderMap, name: &str) -> Vec<Vec<u8>> {
    let unchanged = || headers.get_all(COOKIE).iter().cloned().collect();
    let fields = stripped_cookies(headers, name, |token| token == b"good").unwrap_or_else(unchanged);
    fields.iter().map(|field| field.as_bytes().to_vec()).collect()
}

#[test]
fn f05_a_cookie_that_was_not_verified_is_stripped() {
    let stripped = |fields: &[&'static [u8]]| {
        let fields: Vec<_> = fields.iter().map(|field| (&COOKIE, *field)).collect();
        strip(&headers(&fields), "token").join(&b'|')
    };
    assert_eq!(stripped(&[b"a=1;  b=\xff; token=bad;c=\"x\" "]), b"a=1;  b=\xff;c=\"x\" ");
    assert_eq!(stripped(&[b"token=bad; a=1"]), b"a=1");
    assert_eq!(stripped(&[b"a=1; token=\"bad\""]), b"a=1");
    assert_eq!(stripped(&[b"token=bad", b"a=1", b"token =worse; b"]), b"a=1|b");
    assert_eq!(
        stripped(&[b"token=good; token=\"good\"; token=; Token=good; xtoken=bad; tok=bad"]),
        b"token=good; token=\"good\"; token=; Token=good; xtoken=bad; tok=bad"
    );
    assert_eq!(stripped(&[b"token=bad"]), b"");
}

/// ASP.NET Core compares names without case, Python drops blanks of Unicode and of Latin-1, PHP
/// reads a dot as an underscore; and the last one wins.
#[test]
fn f05_a_cookie_that_a_service_may_read_as_the_token_is_stripped() {
    let stripped = |name: &str, field: &'static [u8]| strip(&headers(&[(&COOKIE, field)]), name).concat();
    for field in [
        &b"a=1; Token=bad"[..],
        b"a=1; \xa0token=bad",
        b"a=1; \x85token=bad",
        b"a=1; \xe2\x80\x80token=bad",
        b"a=1; token\xc2\xa0=bad",
        b"a=1; token[]=bad",
        b"a=1; token[x]=bad",
        b"a=1;\ttoken=bad",
        b"a=1; b=2 token=bad",
        b"a=1; b=\"x\" token=bad",
        b"a=1; token=good token=bad",
        b"a=1; x=y,token=bad",
        b"a=1; x=y, Token=bad",
        b"a=1; %74oken=bad",
        b"a=1; x=y,%74oken=bad",
    ] {
        assert_eq!(stripped("token", field), b"a=1", "{}", field.escape_ascii());
    }
    for field in [&b"a=1; access.token=bad"[..], b"a=1; access[token=bad", b"a=1; Access token=bad"] {
        assert_eq!(stripped("access_token", field), b"a=1", "{}", field.escape_ascii());
    }
    let others = b"accessXtoken=bad; access-token=bad; access_tokens=bad; \xe9access_token=bad";
    assert_eq!(stripped("access_token", others), others);
}

#[test]
fn i36_subprotocols_that_begin_with_bearer_are_tokens() {
    let explicit = |tokens: &[&str]| {
        tokens.iter().map(|token| ((*token).to_owned(), TokenPlace::Subprotocol)).collect::<Vec<_>>()
    };
    for (offers, tokens) in [
        (&["rig, bearer.a.b.c"][..], &["a.b.c"][..]),
        (&["bearer.a", "cloudevents.json,bearer.b"], &["a", "b"]),
        // One that is empty is a token too, and never valid: it must not make room for a cookie.
        (&["bearer."], &[""]),
    ] {
        let mut all = headers(&[(&COOKIE, b"token=c")]);
        offers.iter().for_each(|offer| {
            all.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(offer).unwrap());
        });
        assert_eq!(found(&all, ""), explicit(tokens), "{offers:?}");
        let elsewhere = TokenSources { subprotocol: false, ..everywhere() };
        let places: Vec<_> = elsewhere.credentials(&all, None).map(|one| one.place).collect();
        assert_eq!(places, [TokenPlace::Cookie], "{offers:?}");
    }
    let none = headers(&[(&SEC_WEBSOCKET_PROTOCOL, b"rig, Bearer.a, bearer, xbearer.a")]);
    assert_eq!(found(&none, ""), []);
}
