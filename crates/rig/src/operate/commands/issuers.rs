//! `rig issuers`.

use serde_json::Value;

use super::super::api::ApiAnswer;
use super::super::call::Call;
use super::super::operation::GatewayCommand;
use super::super::show::{instant, list, text, time};
use super::super::table::TextTable;

pub(super) const COMMAND: GatewayCommand = GatewayCommand {
    name: "issuers",
    about: "Lists the identity providers, with their keys and what they have reported last",
    arguments: Vec::new,
    call: |_| Some(Call::get("/v4/issuers".to_owned(), show)),
    compares: false,
};

fn show(answer: &ApiAnswer) -> String {
    let mut table = TextTable::new(&["ID", "ISSUER", "KEYS", "AGE", "LAST STATEMENTS", "LAST ERROR"]);
    for issuer in list(&answer.json["issuers"]) {
        let feeds = list(&issuer["feeds"]).map(|feed| {
            format!(
                "{} {} {}",
                text(&feed["feed"]),
                instant(&feed["lastStatementAt"]),
                text(&feed["lastResult"])
            )
        });
        let feeds: Vec<_> = feeds.collect();
        table.row(vec![
            text(&issuer["id"]),
            text(&issuer["issuer"]),
            text(&issuer["keys"]),
            issuer["ageSeconds"].as_u64().map_or_else(|| "-".to_owned(), time),
            if feeds.is_empty() { "-".to_owned() } else { feeds.join(", ") },
            text(last_error(issuer)),
        ]);
    }
    table.shown()
}

/// Returns the first error of an issuer: of its keys, its opaque tokens or its status lists.
fn last_error(issuer: &Value) -> &Value {
    let lists = list(&issuer["statusLists"]).map(|one| &one["lastError"]);
    let mut errors = [&issuer["lastError"], &issuer["opaqueTokens"]["lastError"]].into_iter().chain(lists);
    errors.find(|error| !error.is_null()).unwrap_or(&Value::Null)
}
