//! `rig apis`: exports and imports the definitions of a gateway as a list in a file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Command};
use serde_json::Value;

use super::super::call::{Call, CallBody};
use super::super::line::CommandLine;
use super::super::operation::{GatewayCommand, dry_run, value};
use super::super::show;
use super::super::table::TextTable;
use super::super::text::{safe, safe_json};

/// The commands below `rig apis`.
pub(super) const COMMANDS: [GatewayCommand; 3] = [
    GatewayCommand {
        name: "export",
        about: "Prints all definitions as a JSON list, such as PROXY_CONFIG_FILE takes",
        arguments: Vec::new,
        call: |_| Some(Call::get("/v4/apis".to_owned(), |answer| exported(&answer.json))),
        compares: false,
    },
    GatewayCommand {
        name: "import",
        about: "Makes a list of definitions those of the gateway: all of it, or nothing where one is wrong",
        arguments: || vec![file(), dry_run("Only say what would differ")],
        call: |line| {
            let dry_run = line.switch("dry-run");
            put(line, dry_run)
        },
        compares: false,
    },
    GatewayCommand {
        name: "diff",
        about: "Says what an import would change: exit code 0 nothing, 1 something",
        arguments: || vec![file()],
        call: |line| put(line, true),
        compares: true,
    },
];

/// Returns the command line of `rig apis`.
pub(super) fn group() -> Command {
    Command::new("apis")
        .about("Takes the definitions of APIs out of a gateway, and brings them in")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(COMMANDS.iter().map(GatewayCommand::command))
}

fn file() -> Arg {
    value("file", "FILE", "A JSON list of definitions, as of export; - reads standard input")
}

fn put(line: &mut CommandLine<'_>, dry_run: bool) -> Option<Call> {
    let file = line.needed("file", "FILE")?;
    Some(Call {
        method: "PUT",
        path: if dry_run { "/v4/apis?dry_run=true" } else { "/v4/apis" }.to_owned(),
        body: Some(CallBody::File(PathBuf::from(file))),
        waits: Duration::ZERO,
        show: Box::new(|answer, _| differences(&answer.json)),
    })
}

/// Formats a list that `PROXY_CONFIG_FILE` accepts.
fn exported(json: &Value) -> String {
    safe_json(&format!("{json:#}\n"))
}

/// Formats each changed API and each warning as a line.
fn differences(json: &Value) -> String {
    let list = |name: &str| json[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| safe(value.as_str().unwrap_or_default());
    let difference = |one: &Value| {
        let pointers: Vec<_> = one["pointers"].as_array().into_iter().flatten().map(text).collect();
        let place = if pointers.is_empty() { String::new() } else { format!(": {}", pointers.join(", ")) };
        format!("{} {}{place}\n", text(&one["what"]), text(&one["id"]))
    };
    let mut shown: String = list("differences").iter().map(difference).collect();
    if shown.is_empty() {
        shown.push_str("nothing differs\n");
    }
    shown.extend(list("warnings").iter().map(|warning| format!("warning: {}\n", text(warning))));
    shown + &nodes(json)
}

/// Formats which nodes of a cluster serve the definitions; empty without a cluster.
fn nodes(json: &Value) -> String {
    let Some(cluster) = json["cluster"].as_str() else { return String::new() };
    let mut table = TextTable::new(&["NODE", "STATE", "REVISION", "REASON"]);
    for one in show::list(&json["nodes"]) {
        table.row(["node", "state", "revision", "reason"].map(|name| show::text(&one[name])).into());
    }
    format!("cluster: {}, revision {}\n{}", safe(cluster), show::text(&json["revision"]), table.shown())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_lines_that_a_terminal_may_see() {
        let answer = json!({
            "differences": [
                {"id": "a\u{1b}[31m", "what": "changed", "pointers": ["/name", "/proxy/port"]},
                {"id": "b", "what": "removed"},
            ],
            "warnings": ["/0/nmae: unknown; did you mean name?"],
        });
        assert_eq!(
            differences(&answer),
            "changed a\\u{1b}[31m: /name, /proxy/port\nremoved b\nwarning: /0/nmae: unknown; did you mean name?\n"
        );
        assert_eq!(differences(&json!({"differences": [], "warnings": []})), "nothing differs\n");
        let answer = json!({
            "differences": [], "warnings": [], "cluster": "refused", "revision": 7, "nodes": [
                {"node": "a", "state": "served", "revision": 7},
                {"node": "b", "state": "refused", "revision": 5, "reason": "no \u{1b}"},
            ],
        });
        insta::assert_snapshot!(differences(&answer), @r"
        nothing differs
        cluster: refused, revision 7
        NODE  STATE    REVISION  REASON
        a     served   7         -
        b     refused  5         no \u{1b}
        ");
        assert_eq!(exported(&json!([{"id": "\u{9b}"}])), "[\n  {\n    \"id\": \"\\u009b\"\n  }\n]\n");
    }
}
