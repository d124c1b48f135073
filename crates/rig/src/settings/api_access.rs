//! Who may call the internal port: `API_TOKEN`, and the entries of `API_ACCESS`.

use std::sync::Arc;

use admin::{Access, AccessEntry, ApiToken, Proof, Right, TokenFile};
use auth::Issuers;
use serde_json::Value;

use super::issuers::value::{POINTER, pointer};
use super::kind::ValueKind;
use super::reader::Reader;
use super::tables::{Table, read_tables};

/// Limit of the number of entries. Each is looked at for a request.
const MOST: usize = 64;

/// Limit of a name, in characters.
const MAX_NAME: usize = 64;

const NAME: ValueKind = ValueKind::Text {
    placeholder: "NAME",
    expected: "a text of 1 to 64 characters without control characters",
};

const RIGHT: ValueKind = ValueKind::Word(&["read", "revoke", "publish", "admin"]);

const ISSUER: ValueKind = ValueKind::Text { placeholder: "ID", expected: "the id of one of the ISSUERS" };

const CERTIFICATE: ValueKind = ValueKind::Text {
    placeholder: "NAME",
    expected: "a subject alternative name: a DNS name, a URI or an email address",
};

/// The members that say how a caller proves who it is.
const PROOFS: [&str; 3] = ["token_file", "issuer", "certificate"];

/// What entries refer to.
struct Known<'k> {
    issuers: &'k Issuers,
    has_client_ca: bool,
}

/// Reads all callers. `token` is that of `API_TOKEN`; `has_client_ca` says whether clients may
/// present certificates.
pub(super) fn read(
    reader: &mut Reader,
    token: Option<ApiToken>,
    issuers: &Issuers,
    has_client_ca: bool,
) -> Access {
    let before = reader.mistakes();
    let tables = read_tables(reader, "API_ACCESS", MOST);
    if tables.is_empty() && reader.is_set("API_ACCESS") && reader.mistakes() == before {
        // It would let everybody in.
        reader.mistake("API_ACCESS", "has no entry");
    }
    let known = Known { issuers, has_client_ca };
    let mut entries: Vec<AccessEntry> = Vec::new();
    for mut table in tables {
        if let Some(entry) = read_entry(&mut table, &known) {
            check_unique(&mut table, &entry, token.as_ref(), &entries);
            entries.push(entry);
        }
        table.finish(reader);
    }
    let takes_certificates = entries.iter().any(|entry| matches!(entry.proof, Proof::Certificate(_)));
    if has_client_ca && !takes_certificates && reader.mistakes() == before {
        reader.warn("API_CLIENT_CA: no entry of API_ACCESS has a certificate".to_owned());
    }
    Access::new(token, entries)
}

/// Reads an entry; `None` if it has mistakes that leave nothing to work with.
fn read_entry(table: &mut Table, known: &Known<'_>) -> Option<AccessEntry> {
    let name = table.needed("name", NAME, |text, kind| {
        let fits = (1..=MAX_NAME).contains(&text.chars().count()) && !text.contains(char::is_control);
        if fits { Ok(Arc::from(text)) } else { Err(format!("expected {kind}")) }
    });
    if !table.has("rights") {
        table.mistake("rights", format!("missing; expected a list, each {RIGHT}"));
    }
    let rights = table.texts("rights", Right::ALL.len(), RIGHT, |text, kind| {
        Right::named(text).ok_or_else(|| format!("expected {kind}"))
    });
    let proof = read_proof(table, known);
    Some(AccessEntry { name: name?, rights: rights?, proof: proof? })
}

/// Reads how a caller proves who it is: in exactly one of three ways.
fn read_proof(table: &mut Table, known: &Known<'_>) -> Option<Proof> {
    let given: Vec<_> = PROOFS.into_iter().filter(|name| table.has(name)).collect();
    match given[..] {
        [] if table.has("claim") || table.has("value") => {
            table.mistake("issuer", format!("missing; expected {ISSUER}"));
        }
        [] => table.mistake("", "missing: token_file, or issuer with claim and value, or certificate"),
        [_] => {}
        [first, ref others @ ..] => {
            for other in others {
                table.mistake(other, format!("{first} is there too: one or the other"));
            }
        }
    }
    let is_jwt = table.has("issuer");
    if !is_jwt && given.len() == 1 {
        for name in ["claim", "value"] {
            if table.has(name) {
                table.mistake(name, format!("{} is there: only tokens of an issuer have claims", given[0]));
            }
        }
    }
    let token = read_token(table).map(Proof::Token);
    let jwt = read_jwt(table, is_jwt, known.issuers);
    let certificate = table.text("certificate", CERTIFICATE, |text, _| match known.has_client_ca {
        true => text.parse().map(Proof::Certificate).map_err(|error| format!("{error}")),
        false => Err("needs API_CLIENT_CA: the authorities of such certificates".to_owned()),
    });
    if given.len() == 1 { token.or(jwt).or(certificate) } else { None }
}

fn read_token(table: &mut Table) -> Option<TokenFile> {
    let path = table.secret_file("token_file")?;
    let loaded = TokenFile::load(&path);
    loaded.map_err(|error| table.mistake("token_file", error.to_string())).ok()
}

/// Reads the claim of a JWT. `is_jwt` if its members are needed.
fn read_jwt(table: &mut Table, is_jwt: bool, issuers: &Issuers) -> Option<Proof> {
    let issuer = table.text("issuer", ISSUER, |id, kind| match issuers.with_id(id) {
        Some(issuer) => Ok(issuer.config.issuer.clone()),
        None => Err(format!("expected {kind}")),
    });
    let claim = match is_jwt {
        true => table.needed("claim", POINTER, pointer),
        false => table.text("claim", POINTER, pointer),
    };
    let value = match table.take("value") {
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value),
        Some(Value::String(text)) if !text.is_empty() => Some(Value::String(text)),
        Some(other) => {
            table.refuse("value", &other, &"a text, a number, true or false");
            None
        }
        None => {
            if is_jwt {
                table.mistake("value", "missing: the value of the claim");
            }
            None
        }
    };
    Some(Proof::Jwt { issuer: issuer?, claim: claim?, value: value? })
}

/// Notes if the entry has the name or the token of another one.
fn check_unique(table: &mut Table, entry: &AccessEntry, token: Option<&ApiToken>, others: &[AccessEntry]) {
    if others.iter().any(|other| other.name == entry.name) {
        table.mistake("name", format!("{:?} is the name of another entry", entry.name));
    }
    let Proof::Token(file) = &entry.proof else { return };
    if token.is_some_and(|token| file.holds(token)) {
        table.mistake("token_file", "the token is that of API_TOKEN");
    }
    let holder = others.iter().find(|other| match &other.proof {
        Proof::Token(other) => other.is_same(file),
        Proof::Jwt { .. } | Proof::Certificate(_) => false,
    });
    if let Some(holder) = holder {
        table.mistake("token_file", format!("the token is that of {:?}", holder.name));
    }
}
