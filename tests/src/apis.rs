//! Definitions of APIs.

use serde_json::{Value, json};

use crate::client::Request;
use crate::gateway::Gateway;

/// The least of an API, with one endpoint.
pub fn definition(id: &str, name: &str) -> Value {
    json!({
        "id": id,
        "name": name,
        "version_data": {"default": {"endpoints": [{"id": "e", "path_regex": format!("/{id}-v3"), "method": "GET"}]}},
        "proxy": {"target_url": "http://127.0.0.1", "port": 5555},
    })
}

/// Every definition of a gateway, as `id=name`.
///
/// # Panics
/// Where there is no list of them.
pub fn api_names(gateway: &Gateway) -> Vec<String> {
    let list = gateway.ask_internal(&Request::get("/v4/apis")).json();
    let name = |api: &Value| {
        format!("{}={}", api["id"].as_str().expect("a text"), api["name"].as_str().expect("a text"))
    };
    list.as_array().expect("a list").iter().map(name).collect()
}

/// Adds a definition.
///
/// # Panics
/// Where it is not taken.
pub fn post_api(gateway: &Gateway, api: &Value) {
    let response = gateway.ask_internal(&Request::post_json("/v3/apis", api.to_string()));
    assert_eq!(response.status, 201, "{}", response.text());
}
