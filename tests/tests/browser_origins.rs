//! A real browser, and pages of several origins and sites: what each may do, and what it may not.

use std::path::Path;
use std::process::Command;

use rig_tests::*;

/// Runs a story in `tests/browser` and returns its lines.
fn story(name: &str, arguments: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    assert!(folder.join("node_modules/playwright-core").exists(), "npm ci --prefix {}", folder.display());
    let output = Command::new("node").arg(folder.join(name)).args(arguments).output();
    let output = output.expect("node is installed");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{lines}\n{}", String::from_utf8_lossy(&output.stderr));
    lines
}

#[test]
fn f61_f62_the_browser_of_an_operator_is_nobodys_deputy() {
    let gateway = Gateway::start(&[]);
    let lines = story("operator.js", &[&gateway.internal().port().to_string()]);
    let mut expected = String::new();
    for host in ["evil.test", "localhost", "127.0.0.1"] {
        for form in ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"] {
            expected += &format!("{host}: form {form} 403\n");
        }
        expected += &format!("{host}: text 403\n{host}: read nothing\n");
    }
    expected += "link: swagger-ui 200\npage: operations shown\npage: json basic 201\npage: read basic 200\n";
    expected += "page: form basic 403\nlink: /v4/sessions 403\nlink: /metrics 403\nframe: swagger-ui 403\n";
    expected += "typed: /v4/sessions 200\nrebound: 421\n";
    assert_eq!(lines, expected);
    let is_revoked = |id: &str| gateway.ask_internal(&Request::get(format!("/v3/session-blacklist/{id}")));
    assert_eq!((is_revoked("victim").status, is_revoked("own").status), (404, 200));
}
