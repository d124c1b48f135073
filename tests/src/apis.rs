//! Definitions of APIs for tests, in RIG's format.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// An API of that service, with these endpoints, that takes tokens by header and by query.
pub fn api(id: &str, service: SocketAddr, endpoints: Value) -> Value {
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

/// Endpoints that pass on whatever comes, by these methods, under any path.
pub fn everything(methods: &[&str]) -> Value {
    methods.iter().map(|method| json!({ "id": method, "method": method, "path_regex": "/.*" })).collect()
}

/// A `PROXY_CONFIG_FILE` with one API that passes on whatever comes.
pub fn pass_all(service: SocketAddr) -> String {
    json!([api("all", service, everything(&["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]))])
        .to_string()
}
