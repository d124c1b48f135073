//! Valid and invalid definitions.

mod beyond_rig;
mod property;
mod rig;

use serde_json::{Value, json};

use super::Api;

/// An environment without variables.
fn nothing(_: &str) -> Option<String> {
    None
}

fn parse(document: &Value) -> Api {
    Api::parse(document, &nothing).map(|(api, _)| api).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// Returns each fault as `pointer: reason`.
fn faults(document: &Value) -> Vec<String> {
    Api::parse(document, &nothing).unwrap_err().iter().map(ToString::to_string).collect()
}

fn warnings(document: &Value) -> Vec<String> {
    let (_, warnings) = Api::parse(document, &nothing).unwrap();
    warnings.into_iter().map(|warning| warning.0).collect()
}

/// Returns a minimal API with one endpoint.
fn least() -> Value {
    json!({
        "id": "a",
        "name": "n",
        "version_data": {"default": {"endpoints": [{"id": "e", "path_regex": "/x", "method": "GET"}]}},
        "proxy": {"target_url": "http://127.0.0.1", "port": 5555},
    })
}

/// Returns the minimal API with a member set at a pointer. Missing objects on the way are created.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = least();
    set(&mut document, pointer, value);
    document
}

fn set(document: &mut Value, pointer: &str, value: Value) {
    let mut place = document;
    for name in pointer.split('/').skip(1) {
        place = match name.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[name],
        };
    }
    *place = value;
}

/// Returns the pointer of a member of the endpoint.
fn endpoint(name: &str) -> String {
    format!("/version_data/default/endpoints/0/{name}")
}

/// Returns an API with a secured endpoint and a member of it set.
fn secured(name: &str, value: Value) -> Value {
    let mut document = with("/auth_type", json!("jwt"));
    set(&mut document, "/auth", json!({"use_header": true, "header_name": "Authorization"}));
    set(&mut document, &endpoint("secured"), json!(true));
    set(&mut document, &endpoint(name), value);
    document
}
