//! What the tests of reports share.

use std::collections::BTreeMap;

use rig_tests::*;
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) const OTHER_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The files of a gateway.
pub(crate) struct Files {
    pub(crate) folder: Folder,
    pub(crate) data: String,
    pub(crate) secret: String,
}

impl Files {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let (data, secret) = (folder.join("data"), folder.join("hook.secret"));
        let files = Self { folder, data, secret };
        files.write_secrets(&[SECRET]);
        files
    }

    /// Replaces the file at once, as an operator should.
    pub(crate) fn write_secrets(&self, secrets: &[&str]) {
        let new = self.folder.join("new.secret");
        std::fs::write(&new, secrets.join("\n") + "\n").expect("a file");
        std::fs::rename(new, &self.secret).expect("the same folder");
    }

    pub(crate) fn settings<'s>(&'s self, url: &'s str) -> Vec<(&'s str, &'s str)> {
        vec![
            ("DATA_DIR", &self.data),
            ("HOST", "node-1"),
            ("REVOCATION_HOOK_URL", url),
            ("REVOCATION_HOOK_SECRET_FILE", &self.secret),
        ]
    }

    pub(crate) fn start(&self, url: &str) -> Gateway {
        Gateway::start(&self.settings(url))
    }
}

pub(crate) fn post(gateway: &Gateway, order: &Value) -> Response {
    gateway.ask_internal(&Request::post_json("/v4/revocations", order.to_string()))
}

/// Revokes a session under an id that is its name.
pub(crate) fn revoke(gateway: &Gateway, session: &str) {
    let order = json!({ "session": session, "id": session, "validityInSeconds": 600, "force": true });
    let answer = post(gateway, &order);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

pub(crate) fn lift(gateway: &Gateway, id: &str) {
    let answer = gateway.ask_internal(&Request::new("DELETE", format!("/v4/revocations/{id}?by=bob")));
    assert_eq!(answer.status, 204, "{}", answer.text());
}

pub(crate) fn id_of(post: &HookPost) -> String {
    post.event()["data"]["id"].as_str().expect("a text").to_owned()
}

pub(crate) fn sent(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!(r#"rig_hook_events_total{{to="hook",result="{result}"}}"#))
}

/// Returns the first of the reports with each `webhook-id`, and checks that the others are the
/// same, byte for byte.
pub(crate) fn unique(posts: &[HookPost]) -> Vec<HookPost> {
    let mut first: BTreeMap<String, &HookPost> = BTreeMap::new();
    let mut unique = Vec::new();
    for post in posts {
        let id = post.request.header("webhook-id").expect("an id").to_owned();
        assert_eq!(post.event()["id"], json!(id));
        match first.get(&id) {
            Some(known) => assert_eq!(known.request.body, post.request.body),
            None => {
                first.insert(id, post);
                unique.push(post.clone());
            }
        }
    }
    unique
}

pub(crate) fn assert_order(unique: &[HookPost]) {
    let sequences: Vec<_> = unique.iter().map(HookPost::sequence).collect();
    assert!(sequences.is_sorted_by(|one, next| one < next), "{sequences:?}");
    assert!(sequences.iter().all(|sequence| sequence.len() == 20), "compared as texts");
}
