//! `rig session`.

use serde_json::Value;

use super::super::api::ApiAnswer;
use super::super::call::{Call, Query, escaped};
use super::super::operation::{GatewayCommand, page, value};
use super::super::show::{LONGEST, connections, instant, list, missing, more, text};
use super::super::table::TextTable;
use super::super::text::{cut, safe};

pub(super) const COMMAND: GatewayCommand = GatewayCommand {
    name: "session",
    about: "Shows a session and its connections",
    arguments: || {
        let page = page("after", "CONNECTION", "Only connections that come behind this one");
        [value("name", "NAME", "The name of the session")].into_iter().chain(page).collect()
    },
    call: |line| {
        let name = line.needed("name", "NAME");
        let query = Query::page(line, "after");
        Some(Call::get(query.behind(format!("/v4/sessions/{}", escaped(&name?))), show))
    },
    compares: false,
};

fn show(answer: &ApiAnswer) -> String {
    let json = &answer.json;
    let mut table = TextTable::new(&[
        "CONNECTION",
        "TRANSPORT",
        "SINCE",
        "FROM",
        "TOKEN EXPIRES",
        "DELIVERED",
        "DROPPED",
        "SUBSCRIBED TO",
        "USER AGENT",
    ]);
    for connection in list(&json["connections"]) {
        let types: Vec<_> = list(&connection["subscriptions"]).map(|one| text(&one["eventType"])).collect();
        table.row(vec![
            place(connection),
            text(&connection["transport"]),
            instant(&connection["since"]),
            text(&connection["remoteAddress"]),
            instant(&connection["tokenExpiresAt"]),
            text(&connection["delivered"]),
            text(&connection["dropped"]),
            cut(&types.join(","), LONGEST),
            cut(&text(&connection["userAgent"]), LONGEST),
        ]);
    }
    let last = list(&json["connections"]).last().map(place);
    let state = if json["revoked"] == true { "revoked" } else { "not revoked" };
    let count = connections(&json["connectionCount"]);
    let table = if last.is_some() { table.shown() } else { String::new() };
    let (missing, more) = (missing(json), more(json, "after", last));
    format!("{}: {state}, {count}\n{table}{missing}{more}", safe(&text(&json["name"])))
}

/// Formats the number of a connection, and its node in a cluster.
fn place(connection: &Value) -> String {
    match connection["node"].as_str() {
        Some(node) => format!("{}@{node}", text(&connection["id"])),
        None => text(&connection["id"]),
    }
}
