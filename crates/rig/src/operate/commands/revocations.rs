//! `rig revocations`.

use super::super::api::ApiAnswer;
use super::super::call::{Call, Query};
use super::super::operation::{GatewayCommand, page};
use super::super::show::{LONGEST, instant, list, more, text, time, whose};
use super::super::table::TextTable;
use super::super::text::cut;

pub(super) const COMMAND: GatewayCommand = GatewayCommand {
    name: "revocations",
    about: "Lists the revocations in force, the youngest first",
    arguments: || page("before", "CURSOR", "From the page before: what next says there").into(),
    call: |line| {
        let query = Query::page(line, "before");
        Some(Call::get(query.behind("/v4/revocations".to_owned()), show))
    },
    compares: false,
};

fn show(answer: &ApiAnswer) -> String {
    let json = &answer.json;
    let mut table =
        TextTable::new(&["REVOCATION", "WHOSE", "MODE", "LEFT", "TERMINATED", "ACCEPTED", "BY", "REASON"]);
    for one in list(&json["revocations"]) {
        table.row(vec![
            text(&one["id"]),
            whose(one),
            text(&one["mode"]),
            one["remainingSeconds"].as_u64().map_or_else(|| "-".to_owned(), time),
            text(&one["connectionsTerminated"]),
            instant(&one["acceptedAt"]),
            text(&one["by"]),
            cut(&text(&one["reason"]), LONGEST),
        ]);
    }
    let cursor =
        json["next"].as_str().and_then(|next| next.rsplit_once("before=")).map(|(_, at)| at.to_owned());
    table.shown() + &more(json, "before", cursor)
}
