//! The subject alternative names of a certificate (RFC 5280, section 4.2.1.6).

use std::net::IpAddr;
use std::str::FromStr;

/// A subject alternative name. Each kind is compared with its own kind only, because an authority
/// that issues one kind of names may let its clients choose the text of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// `dNSName`, in lower case (RFC 5280, section 7.2: case does not matter).
    Dns(Box<str>),
    /// `uniformResourceIdentifier`, such as a SPIFFE ID: each byte matters.
    Uri(Box<str>),
    /// `rfc822Name`: each byte matters, since case does before the `@` (RFC 5280, section 7.5).
    Email(Box<str>),
}

/// The text is not a name that a certificate can be required to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateNameError {
    /// It is empty or longer than [`CertificateName::MAX`], or has characters that none of the
    /// kinds may have.
    #[error(
        "expected a DNS name, a URI (with a colon) or an email address (with an @), of 1 to {} printable ASCII characters",
        CertificateName::MAX
    )]
    Malformed,
    /// It is an IP address: these are another kind of name, which is not compared.
    #[error("an IP address; expected a DNS name, a URI or an email address")]
    Address,
    /// A pattern: names are compared as a whole.
    #[error("has a *: names are compared as a whole")]
    Wildcard,
}

/// Limit of the names that are read of a certificate. Further ones are ignored.
const MAX_NAMES: usize = 256;

/// The tags of DER (ITU-T X.690, section 8.1.2) that lead to the names.
const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `extensions`, `[3] EXPLICIT` (RFC 5280, section 4.1).
const EXTENSIONS: u8 = 0xa3;
/// `rfc822Name`, `[1] IMPLICIT IA5String`.
const EMAIL: u8 = 0x81;
/// `dNSName`, `[2] IMPLICIT IA5String`.
const DNS: u8 = 0x82;
/// `uniformResourceIdentifier`, `[6] IMPLICIT IA5String`.
const URI: u8 = 0x86;

/// `id-ce-subjectAltName`: 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

impl CertificateName {
    /// Length limit of a name that is required, in bytes: that of a SPIFFE ID.
    pub const MAX: usize = 2048;

    /// Returns the name of a tag; `None` for other kinds, and for what is not ASCII, which IA5
    /// strings are.
    fn new(tag: u8, text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
        match tag {
            DNS => Some(Self::Dns(text.to_ascii_lowercase().into())),
            URI => Some(Self::Uri(text.into())),
            EMAIL => Some(Self::Email(text.into())),
            _ => None,
        }
    }
}

impl FromStr for CertificateName {
    type Err = CertificateNameError;

    /// Parses a name that is required. Its kind follows from its text: a DNS name has neither `:`
    /// nor `@`, and an email address has no `:`.
    fn from_str(text: &str) -> Result<Self, CertificateNameError> {
        if !(1..=Self::MAX).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CertificateNameError::Malformed);
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(CertificateNameError::Address);
        }
        let tag = match text {
            text if text.contains(':') => URI,
            text if text.contains('@') => EMAIL,
            text if text.contains('*') => return Err(CertificateNameError::Wildcard),
            _ => DNS,
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if tag == DNS && !text.bytes().all(is_host) {
            return Err(CertificateNameError::Malformed);
        }
        Self::new(tag, text.as_bytes()).ok_or(CertificateNameError::Malformed)
    }
}

/// Returns the names of a certificate that was verified. Nothing of one that is not DER.
pub(super) fn of(certificate: &[u8]) -> Vec<CertificateName> {
    let Some(names) = alternative_names(certificate) else { return Vec::new() };
    elements(names).take(MAX_NAMES).filter_map(|(tag, text)| CertificateName::new(tag, text)).collect()
}

/// Returns the content of the extension with the names: the elements of `GeneralNames`.
fn alternative_names(certificate: &[u8]) -> Option<&[u8]> {
    let signed = content(SEQUENCE, content(SEQUENCE, certificate)?)?;
    let (_, extensions) = elements(signed).find(|(tag, _)| *tag == EXTENSIONS)?;
    let extensions = elements(content(SEQUENCE, extensions)?);
    let mut of_names = extensions.filter_map(|(tag, extension)| {
        let mut parts = elements(extension).filter(|_| tag == SEQUENCE);
        let is_names = parts.next()? == (OBJECT_IDENTIFIER, SUBJECT_ALT_NAME);
        // Between the two there may be whether the extension is critical.
        parts.find(|(tag, _)| is_names && *tag == OCTET_STRING)
    });
    content(SEQUENCE, of_names.next()?.1)
}

/// Returns the content of the first element, which must have this tag.
fn content(tag: u8, der: &[u8]) -> Option<&[u8]> {
    let ((found, content), _) = element(der)?;
    (found == tag).then_some(content)
}

/// Returns tags and contents of consecutive elements, up to the first that is malformed.
fn elements(mut der: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (found, rest) = element(der)?;
        der = rest;
        Some(found)
    })
}

/// An element's tag and content, and the bytes behind it.
type Element<'d> = ((u8, &'d [u8]), &'d [u8]);

/// Splits off the first element: a tag of one byte, and a length of up to four (ITU-T X.690,
/// section 8.1.3).
fn element(der: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    // A tag of several bytes, which certificates do not have.
    (tag & 0x1f != 0x1f).then_some(((tag, content), rest))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn parsed(text: &str) -> CertificateName {
        text.parse().unwrap()
    }

    #[test]
    fn all_names_of_the_three_kinds_are_read_and_no_others() {
        let names = vec![
            SanType::IpAddress([10, 0, 0, 1].into()),
            SanType::DnsName("CI.example".try_into().unwrap()),
            SanType::Rfc822Name("Ops@example.com".try_into().unwrap()),
            SanType::URI("spiffe://example/ns/ops".try_into().unwrap()),
            SanType::DnsName("*.example".try_into().unwrap()),
        ];
        let expected = [
            parsed("ci.example"),
            parsed("Ops@example.com"),
            parsed("spiffe://example/ns/ops"),
            CertificateName::Dns("*.example".into()),
        ];
        assert_eq!(of(&certificate(names)), expected);
        assert_eq!(of(&certificate(Vec::new())), []);
    }

    #[test]
    fn a_text_of_another_kind_is_another_name() {
        // A client may be free to choose one of the kinds only.
        let names = vec![
            SanType::URI("ci.example".try_into().unwrap()),
            SanType::DnsName("ops@example.com".try_into().unwrap()),
            SanType::Rfc822Name("spiffe://example/ops".try_into().unwrap()),
        ];
        let found = of(&certificate(names));
        assert_eq!(found.len(), 3);
        for name in ["ci.example", "ops@example.com", "spiffe://example/ops"] {
            assert!(!found.contains(&parsed(name)), "{name}");
        }
    }

    #[test]
    fn of_many_names_the_first_ones_count() {
        let name = |number| SanType::DnsName(format!("n{number}.example").try_into().unwrap());
        let found = of(&certificate((0..MAX_NAMES + 9).map(name).collect()));
        assert_eq!(found.len(), MAX_NAMES);
        assert!(found.contains(&parsed("n0.example")));
    }

    #[test]
    fn required_names_are_whole_names() {
        assert_eq!(parsed("CI.example"), CertificateName::Dns("ci.example".into()));
        assert_ne!(parsed("spiffe://a/B"), parsed("spiffe://a/b"));
        assert_ne!(parsed("a@example.com"), parsed("A@example.com"));
        assert_eq!(parsed("urn:uuid:1@2"), CertificateName::Uri("urn:uuid:1@2".into()));
        for (text, error) in [
            ("", CertificateNameError::Malformed),
            ("a b", CertificateNameError::Malformed),
            ("ünicode.example", CertificateNameError::Malformed),
            ("a/b", CertificateNameError::Malformed),
            ("a\nb", CertificateNameError::Malformed),
            ("10.0.0.1", CertificateNameError::Address),
            ("::1", CertificateNameError::Address),
            ("*.example", CertificateNameError::Wildcard),
            ("*", CertificateNameError::Wildcard),
        ] {
            assert_eq!(text.parse::<CertificateName>(), Err(error), "{text}");
        }
        let longest = |length| "a".repeat(length).parse::<CertificateName>().is_ok();
        assert_eq!([CertificateName::MAX, CertificateName::MAX + 1].map(longest), [true, false]);
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        for der in [
            &[][..],
            &[SEQUENCE],
            &[SEQUENCE, 0x80],
            &[SEQUENCE, 5, 1],
            &[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[SEQUENCE, 0x85, 0, 0, 0, 0, 1, 1],
            &[0x1f, 1, 1],
        ] {
            assert_eq!(element(der), None, "{der:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_and_any_damage_are_read_without_a_panic(
            bytes in vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            of(&bytes);
            let mut damaged = certificate(vec![SanType::DnsName("a.example".try_into().unwrap())]);
            let at = at.index(damaged.len());
            damaged[at] = byte;
            of(&damaged);
        }
    }
}
