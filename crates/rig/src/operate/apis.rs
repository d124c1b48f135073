//! `rig apis`: the definitions of a gateway as a list in a file, both ways.

use std::path::PathBuf;

use serde_json::Value;

use super::call::{Call, CallBody, What};
use super::line::CommandLine;
use super::text::{safe, safe_json};

/// The call of `rig apis` and one of its commands; `None`: the mistakes say why.
pub(super) fn call(command: &str, line: &mut CommandLine<'_>) -> Option<Call> {
    if command == "export" {
        let path = "/v4/apis".to_owned();
        return Some(Call { what: What::Export, method: "GET", path, body: None });
    }
    let file = line.needed("file", "FILE");
    let (what, dry_run) = match command {
        "diff" => (What::Diff, true),
        _ => (What::Import, line.switch("dry-run")),
    };
    let path = if dry_run { "/v4/apis?dry_run=true" } else { "/v4/apis" };
    let body = Some(CallBody::File(PathBuf::from(file?)));
    Some(Call { what, method: "PUT", path: path.to_owned(), body })
}

/// A list that `PROXY_CONFIG_FILE` takes.
pub(super) fn exported(json: &Value) -> String {
    safe_json(&format!("{json:#}\n"))
}

/// Each API that differs and each warning, a line.
pub(super) fn differences(json: &Value) -> String {
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
    shown
}

/// How many APIs differ.
pub(super) fn differing(json: &Value) -> usize {
    json["differences"].as_array().map_or(0, Vec::len)
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
        assert_eq!(differing(&answer), 2);
        assert_eq!(differences(&json!({"differences": [], "warnings": []})), "nothing differs\n");
        assert_eq!(exported(&json!([{"id": "\u{9b}"}])), "[\n  {\n    \"id\": \"\\u009b\"\n  }\n]\n");
    }
}
