//! The definitions of APIs in files: across a restart, at the start, and with `rig apis`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rig_tests::*;
use serde_json::json;

/// Kills a gateway.
fn kill(mut gateway: Gateway) {
    gateway.signal("KILL");
    gateway.exit_status();
}

fn rig(gateway: &Gateway, words: &[&str], input: &str) -> Output {
    let mut command = Command::new(Gateway::binary());
    command.args(words).env_clear().env("RIG_API", format!("http://{}", gateway.internal()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("rig has been built");
    // A program that reads no input may have exited already.
    drop(child.stdin.take().expect("stdin is piped").write_all(input.as_bytes()));
    child.wait_with_output().expect("the child is ours")
}

/// Returns the exit code and both outputs.
fn told(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).expect("UTF-8");
    (output.status.code(), text)
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let folder = Folder::new();
    let data = folder.join("data");
    let file = folder.join("apis.json");
    std::fs::write(
        &file,
        json!([definition("a", "file"), definition("b", "file"), definition("c", "file")]).to_string(),
    )
    .expect("a file");
    let start = || Gateway::start(&[("DATA_DIR", &data), ("PROXY_CONFIG_FILE", &file)]);
    let gateway = start();
    post_api(&gateway, &definition("new", "posted"));
    let put = Request::put_json("/v3/apis/a", definition("a", "changed").to_string());
    assert_eq!(gateway.ask_internal(&put).status, 200);
    assert_eq!(gateway.ask_internal(&Request::new("DELETE", "/v3/apis/b")).status, 204);
    let before = gateway.ask_internal(&Request::get("/v3/apis/new")).text();
    kill(gateway);

    let gateway = start();
    assert_eq!(api_names(&gateway), ["a=changed", "c=file", "new=posted"]);
    assert_eq!(gateway.ask_internal(&Request::get("/v3/apis/new")).text(), before);
    for warning in [
        "API a: its stored definition is served, not the other one of PROXY_CONFIG_FILE",
        "API b: was deleted, though PROXY_CONFIG_FILE has it",
    ] {
        assert!(gateway.log().contains(warning), "{}", gateway.log());
    }
    kill(gateway);

    // Definitions that were not changed at run time still follow the file.
    std::fs::write(&file, json!([definition("a", "newer"), definition("c", "newer")]).to_string())
        .expect("a file");
    assert_eq!(api_names(&start()), ["a=changed", "c=newer", "new=posted"]);
}

/// Returns the output of a gateway that does not start.
fn refusal(variables: &[(&str, &str)]) -> String {
    let ports = [("INBOUND_PORT", "0"), ("API_HTTP_PORT", "0")];
    let output =
        Command::new(Gateway::binary()).env_clear().envs(ports).envs(variables.iter().copied()).output();
    let output = output.expect("rig has been built");
    assert!(!output.status.success());
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn what_cannot_be_served_stops_the_start() {
    let folder = Folder::new();
    let data = folder.join("data");
    let gateway = Gateway::start(&[("DATA_DIR", &data)]);
    post_api(&gateway, &definition("a", "n"));
    kill(gateway);
    let stored = Path::new(&data).join("apis.json");
    let text = std::fs::read_to_string(&stored).expect("it was stored");
    for damaged in [&text[..text.len() / 2], "", "{}"] {
        std::fs::write(&stored, damaged).expect("a file");
        let told = refusal(&[("DATA_DIR", &data)]);
        assert!(told.contains(&format!("{} is damaged: ", stored.display())), "{told}");
    }
    std::fs::write(&stored, text.replace(r#""GET""#, r#""G T""#)).expect("a file");
    let told = refusal(&[("DATA_DIR", &data)]);
    let line = format!(
        "{}: API a: /version_data/default/endpoints/0/method: must be a method (RFC 9110)\n",
        stored.display()
    );
    assert!(told.ends_with(&line), "{told}");

    let (mut no_port, mut no_regex) = (definition("i", "n"), definition("i", "n"));
    no_port["proxy"]["port"] = json!(0);
    no_regex["version_data"]["default"]["endpoints"][0]["path_regex"] = json!("(");
    let file = json!([no_port, no_regex]).to_string();
    let told = refusal(&[("PROXY_CONFIG_FILE", &file)]);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[0].ends_with(": /0/proxy/port: must be between 1 and 65535"), "{told}");
    assert!(lines[1].ends_with(": /1/id: must be unique"), "{told}");
    assert!(lines[2].contains(": /1/version_data/default/endpoints/0/path_regex: "), "{told}");
}

#[test]
fn a_list_goes_out_and_comes_back() {
    let gateway = Gateway::start(&[]);
    post_api(&gateway, &definition("a", "one"));
    post_api(&gateway, &definition("b", "two"));
    let (code, exported) = told(&rig(&gateway, &["apis", "export"], ""));
    assert_eq!(code, Some(0), "{exported}");
    let diff = |list: &str| told(&rig(&gateway, &["apis", "diff", "-"], list));
    assert_eq!(diff(&exported), (Some(0), "nothing differs\n".to_owned()));

    let folder = Folder::new();
    let file = folder.join("apis.json");
    std::fs::write(&file, json!([definition("a", "changed"), definition("c", "new")]).to_string())
        .expect("a file");
    let lines = "changed a: /name\nremoved b\nadded c\n";
    let (code, text) = told(&rig(&gateway, &["apis", "diff", &file], ""));
    assert_eq!((code, text), (Some(1), format!("{lines}3 APIs differ\n")));
    let dry_run = told(&rig(&gateway, &["apis", "import", &file, "--dry-run"], ""));
    assert_eq!(dry_run, (Some(0), lines.to_owned()));
    assert_eq!(api_names(&gateway), ["a=one", "b=two"]);
    assert_eq!(told(&rig(&gateway, &["apis", "import", &file], "")), (Some(0), lines.to_owned()));
    assert_eq!(api_names(&gateway), ["a=changed", "c=new"]);

    // Another gateway accepts what this one exported, and this one accepts it again.
    let other = Gateway::start(&[("PROXY_CONFIG_FILE", exported.trim())]);
    assert_eq!(api_names(&other), ["a=one", "b=two"]);
    assert_eq!(told(&rig(&gateway, &["apis", "import", "-"], &exported)).0, Some(0));
    assert_eq!(diff(&exported), (Some(0), "nothing differs\n".to_owned()));
}

#[test]
fn a_comparison_that_failed_is_no_difference() {
    let gateway = Gateway::start(&[("API_TOKEN", "0123456789abcdef")]);
    assert_eq!(told(&rig(&gateway, &["apis", "diff", "-"], "[]")).0, Some(5));
    let unreachable = ["apis", "diff", "-", "--api", "http://127.0.0.1:1"];
    assert_eq!(told(&rig(&gateway, &unreachable, "[]")).0, Some(2));
    let (code, text) = told(&rig(&gateway, &["apis", "import", "/no/such/file"], ""));
    assert_eq!((code, text.as_str()), (Some(2), "/no/such/file: No such file or directory (os error 2)\n"));
    let (code, text) = told(&rig(&gateway, &["apis"], ""));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("needs a command behind it"), "{text}");
}

#[test]
fn one_faulty_of_many_changes_nothing() {
    let gateway = Gateway::start(&[]);
    post_api(&gateway, &definition("a", "one"));
    let mut list: Vec<_> = (0..50).map(|number| definition(&number.to_string(), "n")).collect();
    list[30]["proxy"]["port"] = json!("80");
    let list = json!(list).to_string();
    let response = gateway.ask_internal(&Request::put_json("/v4/apis", &list));
    assert_eq!(response.status, 400);
    assert_eq!(
        response.json()["errors"],
        json!([{"pointer": "/30/proxy/port", "detail": "must be integer"}])
    );
    for command in ["import", "diff"] {
        let refused = told(&rig(&gateway, &["apis", command, "-"], &list));
        assert_eq!(refused, (Some(2), "30/proxy/port: must be integer\n".to_owned()));
    }
    assert_eq!(api_names(&gateway), ["a=one"]);
}
