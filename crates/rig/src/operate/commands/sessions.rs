//! `rig sessions`.

use super::super::api::ApiAnswer;
use super::super::call::{Call, Query};
use super::super::operation::{GatewayCommand, page};
use super::super::show::{instant, list, missing, more, text, yes};
use super::super::table::TextTable;

pub(super) const COMMAND: GatewayCommand = GatewayCommand {
    name: "sessions",
    about: "Lists the sessions that have connections",
    arguments: || page("after", "NAME", "Only sessions whose names come behind this one").into(),
    call: |line| {
        let query = Query::page(line, "after");
        Some(Call::get(query.behind("/v4/sessions".to_owned()), show))
    },
    compares: false,
};

fn show(answer: &ApiAnswer) -> String {
    let json = &answer.json;
    let mut table = TextTable::new(&["SESSION", "CONNECTIONS", "SINCE", "TRANSPORTS", "REVOKED"]);
    for session in list(&json["sessions"]) {
        let transports: Vec<_> = list(&session["transports"]).map(text).collect();
        table.row(vec![
            text(&session["name"]),
            text(&session["connectionCount"]),
            instant(&session["since"]),
            transports.join(","),
            yes(&session["revoked"]),
        ]);
    }
    let last = list(&json["sessions"]).last().map(|last| text(&last["name"]));
    table.shown() + &missing(json) + &more(json, "after", last)
}
