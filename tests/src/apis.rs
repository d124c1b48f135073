//! Definitions of APIs.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::client::Request;
use crate::gateway::Gateway;

/// Returns the smallest valid definition, with one endpoint.
pub fn definition(id: &str, name: &str) -> Value {
    json!({
        "id": id,
        "name": name,
        "version_data": {"default": {"endpoints": [{"id": "e", "path_regex": format!("/{id}-v3"), "method": "GET"}]}},
        "proxy": {"target_url": "http://127.0.0.1", "port": 5555},
    })
}

/// Returns every definition of a gateway, as `id=name`.
///
/// # Panics
/// Panics if they cannot be listed.
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
/// Panics if it is refused.
pub fn post_api(gateway: &Gateway, api: &Value) {
    let response = gateway.ask_internal(&Request::post_json("/v3/apis", api.to_string()));
    assert_eq!(response.status, 201, "{}", response.text());
}

/// Returns an API of this service with these endpoints, which accept tokens in the header and in
/// the query.
pub fn api_of(id: &str, service: SocketAddr, endpoints: Value) -> Value {
    json!({
        "id": id,
        "name": id,
        "auth_type": "jwt",
        "auth": { "use_header": true, "header_name": "Authorization", "use_query": true, "query_name": "token" },
        "versioned": false,
        "version_data": { "default": { "endpoints": endpoints } },
        "proxy": { "use_env": false, "target_url": format!("http://{}", service.ip()), "port": service.port() },
    })
}

/// Returns endpoints that forward every request with one of these methods, whatever its path.
pub fn everything(methods: &[&str]) -> Value {
    methods.iter().map(|method| json!({ "id": method, "method": method, "path_regex": "/.*" })).collect()
}

/// Returns a `PROXY_CONFIG_FILE` with one API that forwards every request over HTTP/2, by prior
/// knowledge.
pub fn pass_all_http2(service: SocketAddr) -> String {
    let mut api = api_of("all", service, everything(&["GET", "POST", "PUT"]));
    api["proxy"]["http2"] = true.into();
    json!([api]).to_string()
}

/// Returns a `PROXY_CONFIG_FILE` with one API that forwards every request.
pub fn pass_all(service: SocketAddr) -> String {
    json!([api_of("all", service, everything(&["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]))])
        .to_string()
}
