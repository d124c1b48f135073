//! One issuer in the environment: the variables `OIDC_…`.

use auth::{Audience, IssuerConfig};
use identity::FeedConfig;

use super::{Common, IssuerRead, Taken, one, value};
use crate::settings::access::list;
use crate::settings::reader::Reader;

/// Its id.
const ID: &str = "oidc";

/// The variables that say more about it.
const OTHERS: [&str; 3] = ["OIDC_AUDIENCE", "OIDC_SESSION_FIELD", "OIDC_CLIENT_ID"];

/// Reads the issuer; `None` if it is not set.
pub(super) fn read(reader: &mut Reader, common: &Common, taken: &mut Taken) -> Option<IssuerRead> {
    let issuer = reader.optional("OIDC_ISSUER", |text, _| value::discovered(text, false));
    let texts = |text: &str, kind| {
        let texts = list(text, &kind)?;
        if texts.len() > value::MOST_TEXTS {
            return Err(format!("more than {} texts; expected {kind}", value::MOST_TEXTS));
        }
        texts.iter().map(|text| value::text(text, kind)).collect::<Result<Vec<_>, _>>()
    };
    let audience = reader.optional("OIDC_AUDIENCE", texts);
    let session_field = reader.optional("OIDC_SESSION_FIELD", value::pointer);
    let client_ids = reader.optional("OIDC_CLIENT_ID", texts);
    if !reader.is_set("OIDC_ISSUER") {
        for name in OTHERS {
            if reader.is_set(name) {
                reader.mistake(name, "has no effect without OIDC_ISSUER");
            }
        }
        return None;
    }
    if !reader.is_set("OIDC_AUDIENCE") {
        reader.mistake("OIDC_AUDIENCE", "missing: the audience (aud) of the tokens of OIDC_ISSUER; or any");
    }
    let audience = match audience? {
        texts if texts == [one::ANY] => Audience::Any,
        texts if texts.iter().any(|text| text == one::ANY) => {
            reader.mistake("OIDC_AUDIENCE", "any stands alone");
            Audience::Any
        }
        texts => Audience::OneOf(texts),
    };
    let issuer = issuer?;
    for (kind, text) in [("id", &ID.into()), ("issuer", &issuer)] {
        if let Err(other) = taken.take(kind, text, "OIDC_ISSUER".to_owned()) {
            reader.mistake("OIDC_ISSUER", format!("its {kind} is that of {other}"));
        }
    }
    let config = IssuerConfig::new(ID, issuer, audience);
    let session_field = session_field.unwrap_or_else(|| common.session_field.clone());
    let client_ids = client_ids.unwrap_or_default();
    let feed = FeedConfig { client_ids, ..one::feed(&config, common, &session_field) };
    Some(IssuerRead { config, feed, subject_issuers: Vec::new() })
}
