//! What an issuer is asked about its tokens: the table `introspection`, and `status_lists`.

use auth::{IntrospectionConfig, ListsConfig};
use http::Uri;

use super::value::{self, ANY_TEXT, URL};
use crate::settings::kind::ValueKind;
use crate::settings::tables::Table;

/// Limit of the places of status lists.
const PLACES: usize = 16;

/// Limit of a prefix of opaque tokens, in bytes.
const PREFIX: usize = 64;

const TOKEN_PREFIX: ValueKind = ValueKind::Text {
    placeholder: "TEXT",
    expected: "what tokens begin with: at most 64 visible ASCII characters; empty for all",
};

const PLACE: ValueKind = ValueKind::Text {
    placeholder: "URL",
    expected: "an https:// URL, or http:// of this host, that ends in /, without query",
};

/// Reads how the issuer is asked about opaque tokens; `None` if it is not.
pub(super) fn introspection(issuer: &mut Table, insecure: bool) -> Option<IntrospectionConfig> {
    let mut table = issuer.table("introspection")?;
    let prefix = table.text("prefix", TOKEN_PREFIX, |text, kind| {
        let is_good = text.len() <= PREFIX && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_good { Ok(text.to_owned()) } else { Err(format!("expected {kind}")) }
    });
    let url = table.needed("url", URL, |text, _| value::url(text, insecure));
    let client_id = table.needed("client_id", ANY_TEXT, value::text);
    if !table.has("client_secret_file") {
        table.mistake("client_secret_file", "missing: the file of the client's secret");
    }
    let client_secret_file = table.secret_file("client_secret_file");
    issuer.adopt(table);
    Some(IntrospectionConfig {
        prefix: prefix.unwrap_or_default(),
        url: url?,
        client_id: client_id?,
        client_secret_file: client_secret_file?,
    })
}

/// Reads where the status lists are that tokens may refer to; `None` if they are not looked at.
pub(super) fn status_lists(issuer: &mut Table, insecure: bool) -> Option<ListsConfig> {
    let prefixes = issuer.texts("status_lists", PLACES, PLACE, |text, kind| place(text, kind, insecure))?;
    Some(ListsConfig { prefixes })
}

/// Parses what the URIs of status lists begin with.
fn place(text: &str, kind: ValueKind, insecure: bool) -> Result<Uri, String> {
    value::url(text, insecure)?;
    ListsConfig::prefix(text).map_err(|_| format!("expected {kind}"))
}
