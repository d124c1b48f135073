//! `rig revocations`.

use std::time::Duration;

use super::super::api::ApiAnswer;
use super::super::call::{Call, Query, escaped};
use super::super::operation::{GatewayCommand, flag, page, value};
use super::super::show::{LONGEST, instant, list, more, nodes, terminated, text, time, whose};
use super::super::table::TextTable;
use super::super::text::cut;
use super::revoke::revoked;

pub(super) const COMMAND: GatewayCommand = GatewayCommand {
    name: "revocations",
    about: "Lists the revocations in force, the youngest first; or shows one",
    arguments: || {
        let id = value("id", "ID", "Only this one, with what it did at each node of a cluster");
        let [limit, before] = page("before", "CURSOR", "From the page before: what next says there");
        let issuer =
            flag("issuer", "ISSUER", "Only those of tokens of this issuer alone: the exact text of its iss");
        vec![id, issuer, limit, before]
    },
    call: |line| {
        if !line.has("id") {
            let mut query = Query::page(line, "before");
            query.add("issuer", line.once("issuer"));
            return Some(Call::get(query.behind("/v4/revocations".to_owned()), show));
        }
        for flag in ["issuer", "limit", "before"] {
            if line.has(flag) {
                line.wrong(&format!("--{flag}"), "an ID is given as well: one or the other");
            }
        }
        let id = line.needed("id", "ID")?;
        Some(Call::get(format!("/v4/revocations/{}", escaped(&id)), show_one))
    },
    compares: false,
};

fn show_one(answer: &ApiAnswer) -> String {
    revoked(&answer.json, true, Duration::ZERO) + &nodes(&answer.json)
}

fn show(answer: &ApiAnswer) -> String {
    let json = &answer.json;
    let is_cluster = list(&json["revocations"]).any(|one| one["cluster"].is_string());
    let mut titles = vec!["REVOCATION", "WHOSE", "MODE", "LEFT", "TERMINATED", "ACCEPTED", "BY", "REASON"];
    titles.extend(is_cluster.then_some("CLUSTER"));
    let mut table = TextTable::new(&titles);
    for one in list(&json["revocations"]) {
        let mut row = vec![
            text(&one["id"]),
            whose(one),
            text(&one["mode"]),
            one["remainingSeconds"].as_u64().map_or_else(|| "-".to_owned(), time),
            text(&terminated(one)),
            instant(&one["acceptedAt"]),
            text(&one["by"]),
            cut(&text(&one["reason"]), LONGEST),
        ];
        row.extend(is_cluster.then(|| text(&one["cluster"])));
        table.row(row);
    }
    let cursor =
        json["next"].as_str().and_then(|next| next.rsplit_once("before=")).map(|(_, at)| at.to_owned());
    table.shown() + &more(json, "before", cursor)
}
