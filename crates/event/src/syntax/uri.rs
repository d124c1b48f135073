//! URIs: RFC 3986. Only checked, never resolved.

/// Returns `true` if this is a `URI-reference` (section 4.1). The empty text is one.
pub(crate) fn is_uri_reference(text: &str) -> bool {
    let (scheme, rest) = split_scheme(text);
    match scheme {
        Some(scheme) => is_scheme(scheme) && is_hierarchy(rest),
        None => is_hierarchy(rest),
    }
}

/// Returns `true` if this is a URI with a scheme (section 3). A fragment is accepted, unlike in
/// section 4.3, since it is common in the names of schemas.
pub(crate) fn is_absolute_uri(text: &str) -> bool {
    split_scheme(text).0.is_some() && is_uri_reference(text)
}

/// A colon before any `/`, `?` or `#` ends a scheme; a relative path must not have one there
/// (section 4.2).
fn split_scheme(text: &str) -> (Option<&str>, &str) {
    match text.find([':', '/', '?', '#']) {
        Some(at) if text.as_bytes()[at] == b':' => (Some(&text[..at]), &text[at + 1..]),
        _ => (None, text),
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Checks `[//authority] path [?query] [#fragment]`.
fn is_hierarchy(text: &str) -> bool {
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let (authority, path) = match text.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", text),
    };
    is_authority(authority)
        && consists_of(path, b":@/")
        && consists_of(query, b":@/?")
        && consists_of(fragment, b":@/?")
}

fn is_authority(authority: &str) -> bool {
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if !consists_of(user, b":") {
        return false;
    }
    let (name, port) = match host.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, port)) if is_ip_literal(address) => ("", port),
            _ => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    is_port && consists_of(name, b"")
}

/// Returns `true` for an IPv6 address or an `IPvFuture` (section 3.2.2).
fn is_ip_literal(address: &str) -> bool {
    if address.parse::<std::net::Ipv6Addr>().is_ok() {
        return true;
    }
    let Some((version, rest)) = address.strip_prefix(['v', 'V']).and_then(|future| future.split_once('.'))
    else {
        return false;
    };
    let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_version && !rest.is_empty() && !rest.contains('%') && consists_of(rest, b":")
}

/// Returns `true` if the text contains only `unreserved`, `pct-encoded`, `sub-delims` (section 2)
/// and the given characters.
fn consists_of(text: &str, also: &[u8]) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => {
                [bytes.next(), bytes.next()].iter().all(|hex| hex.is_some_and(|hex| hex.is_ascii_hexdigit()))
            }
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) || also.contains(&byte),
        };
        if !fits {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_rfc_3986() {
        for good in [
            "",
            "#fragment",
            "/path",
            "a/b:c",
            "./a:b",
            "?q=/?x",
            "//authority/path",
            "ftp://ftp.is.co.za/rfc/rfc1808.txt",
            "ldap://[2001:db8::7]/c=GB?objectClass?one",
            "mailto:John.Doe@example.com",
            "tel:+1-816-555-1212",
            "urn:oasis:names:specification:docbook:dtd:xml:4.1.2",
            "http://user:pass@host:8080/%7Ea?b#c",
            "http://host:/",
            "http://[v1.fe:x]/",
        ] {
            assert!(is_uri_reference(good), "{good}");
        }
        for bad in [
            "a b",
            ":a",
            "1a:b",
            "a_b:c",
            "/a%2",
            "/a%zz",
            "/ü",
            "/<a>",
            "a\\b",
            "#a#b",
            "http://[::1",
            "http://[::g]/",
            "http://[v.a]/",
            "http://host:80a/",
            "http://a[b]/",
            "http://a@b@c/",
            "/[a]",
            "/a\"",
            "/{a}",
        ] {
            assert!(!is_uri_reference(bad), "{bad}");
        }
    }

    #[test]
    fn an_absolute_uri_has_a_scheme() {
        assert!(is_absolute_uri("https://example.com/schema.json#/definitions/a"));
        assert!(is_absolute_uri("urn:a:b"));
        for bad in ["", "/schema", "schema.json", "//example.com/schema", "#a", "http://a b"] {
            assert!(!is_absolute_uri(bad), "{bad}");
        }
    }
}
