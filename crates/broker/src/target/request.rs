//! A request as an event: RIG's member `rig`, and the trace.

use auth::TokenSources;
use http::header::{AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION};
use http::uri::Authority;
use http::{HeaderMap, HeaderName};
use proxy::TargetRequest;
use serde_json::{Map, Value, json};
use telemetry::{TRACEPARENT, TRACESTATE};

use crate::producer::Produced;

/// Parameters of the query that carry tokens: RIG's, and the one of RFC 6750, section 2.3.
const TOKENS: [&str; 2] = ["jwt", "access_token"];

/// The member of an event whose value orders it among others (CloudEvents, the extension
/// Partitioning).
const PARTITION_KEY: &str = "partitionkey";

/// Which credentials of a request do not get into its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// All that the gateway knows: headers of HTTP, and where the API has its tokens.
    Dropped(TokenSources),
    /// None.
    Kept,
}

/// Why a body is no event that can be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFault {
    /// It is not JSON; says why.
    #[error("{0}")]
    NotJson(String),
    /// It is no object with a `specversion`.
    #[error("no object with a specversion")]
    NotAnEvent,
    /// A member that orders events is no string.
    #[error("{0} must be a string")]
    NoText(&'static str),
}

/// Reads the event of a request, and adds to it what RIG adds.
pub(crate) fn event(
    body: &[u8],
    request: &TargetRequest,
    credentials: &Credentials,
) -> Result<Produced, BodyFault> {
    let value: Value = serde_json::from_slice(body).map_err(|error| BodyFault::NotJson(error.to_string()))?;
    let Value::Object(mut members) = value else { return Err(BodyFault::NotAnEvent) };
    if !members.contains_key("specversion") {
        return Err(BodyFault::NotAnEvent);
    }
    let given = members.remove("rig");
    let of_rig = text(given.as_ref().and_then(|rig| rig.get("target_partition")), "rig.target_partition")?;
    let key = match of_rig {
        Some(key) => Some(key),
        None => text(members.get(PARTITION_KEY), PARTITION_KEY)?,
    };
    for name in [TRACEPARENT, TRACESTATE] {
        let value = request.http.headers().get(&name).and_then(|value| value.to_str().ok());
        if let Some(value) = value {
            members.insert(name.as_str().to_owned(), value.into());
        }
    }
    members.insert("rig".to_owned(), Value::Object(context(request, credentials)));
    Ok(Produced { members, key })
}

fn text(value: Option<&Value>, name: &'static str) -> Result<Option<String>, BodyFault> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(BodyFault::NoText(name)),
    }
}

/// Returns the member `rig`: what a service needs to know of the request.
fn context(request: &TargetRequest, credentials: &Credentials) -> Map<String, Value> {
    let http = &request.http;
    let scheme = if request.is_secure { "https" } else { "http" };
    let authority = authority(http.headers(), http.uri().authority());
    let port = authority.as_ref().and_then(Authority::port_u16);
    let host = authority.as_ref().map_or("", |authority| authority.host());
    let query = http.uri().query().unwrap_or_default();
    let rig = json!({
        "remoteip": request.client.ip().to_canonical().to_string(),
        "host": host.trim_start_matches('[').trim_end_matches(']'),
        "port": port.unwrap_or(if request.is_secure { 443 } else { 80 }),
        "scheme": scheme,
        "headers": headers(http.headers(), credentials),
        "method": http.method().as_str(),
        "path": http.uri().path(),
        "query": credentials.left_of(query),
    });
    let Value::Object(mut rig) = rig else { return Map::new() };
    if let Some(token) = &request.correlation {
        rig.insert("correlation".to_owned(), token.as_str().into());
    }
    if !request.claims.is_empty() {
        rig.insert("claims".to_owned(), request.claims.clone().into());
    }
    rig
}

fn authority(headers: &HeaderMap, of_uri: Option<&Authority>) -> Option<Authority> {
    let of_header = headers.get(HOST).and_then(|host| host.as_bytes().try_into().ok());
    of_header.or_else(|| of_uri.cloned())
}

/// Returns the headers as pairs, in alphabetical order; those that are given more than once are
/// joined.
fn headers(headers: &HeaderMap, credentials: &Credentials) -> Vec<[String; 2]> {
    let shown = |name: &&HeaderName| {
        // These are members of the event.
        ![TRACEPARENT, TRACESTATE].contains(*name) && credentials.allow(name)
    };
    let mut pairs: Vec<_> = headers
        .keys()
        .filter(shown)
        .map(|name| {
            let values: Vec<_> =
                headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            [name.as_str().to_owned(), values.join(", ")]
        })
        .collect();
    pairs.sort_unstable();
    pairs
}

impl Credentials {
    fn allow(&self, name: &HeaderName) -> bool {
        match self {
            Self::Kept => true,
            Self::Dropped(sources) => {
                ![AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name)
                    && sources.header.as_ref() != Some(name)
            }
        }
    }

    /// Returns the query without tokens, otherwise unchanged.
    fn left_of(&self, query: &str) -> String {
        let Self::Dropped(sources) = self else { return query.to_owned() };
        let is_token = |pair: &&str| {
            let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name);
            name.is_some_and(|name| TOKENS.contains(&&*name) || sources.query.as_deref() == Some(&*name))
        };
        let left: Vec<_> = query.split('&').filter(|pair| !is_token(pair)).collect();
        left.join("&")
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::{BodyExt, Empty};

    use super::*;

    fn request(target: &str, headers: &[(&str, &str)]) -> TargetRequest {
        let mut builder = Request::post(target);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        TargetRequest {
            http: builder.body(body).unwrap(),
            client: ([192, 0, 2, 1], 5).into(),
            is_secure: false,
            correlation: None,
            claims: Map::new(),
        }
    }

    fn dropped() -> Credentials {
        Credentials::Dropped(TokenSources {
            header: Some(HeaderName::from_static("x-token")),
            query: Some("key".to_owned()),
            cookie: None,
            subprotocol: false,
        })
    }

    fn read(body: &str, request: &TargetRequest, credentials: &Credentials) -> Value {
        Value::Object(event(body.as_bytes(), request, credentials).unwrap().members)
    }

    const BODY: &str =
        r#"{"specversion":"0.2","type":"t","source":"/cli","id":"1","data":{"n":1.10},"rig":{"x":1}}"#;

    #[test]
    fn the_event_has_what_rig_adds() {
        let mut asked = request(
            "/myapi/publish?a=1",
            &[
                ("host", "api.example.com:4000"),
                ("content-type", "application/json"),
                ("accept", "a/b"),
                ("accept", "*/*"),
                ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ],
        );
        asked.correlation = Some("token".to_owned());
        let expected = json!({
            "specversion": "0.2", "type": "t", "source": "/cli", "id": "1",
            "data": serde_json::from_str::<Value>(r#"{"n":1.10}"#).unwrap(),
            "rig": {
                "correlation": "token", "remoteip": "192.0.2.1", "host": "api.example.com", "port": 4000,
                "scheme": "http",
                "headers": [["accept", "a/b, */*"], ["content-type", "application/json"],
                            ["host", "api.example.com:4000"]],
                "method": "POST", "path": "/myapi/publish", "query": "a=1",
            },
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        });
        assert_eq!(read(BODY, &asked, &dropped()), expected);
    }

    #[test]
    fn hosts_have_ports_or_those_of_the_scheme() {
        for (host, secure, expected) in [
            ("[2001:db8::1]:8", false, json!(["2001:db8::1", 8])),
            ("a", false, json!(["a", 80])),
            ("a", true, json!(["a", 443])),
            ("", false, json!(["", 80])),
        ] {
            let mut asked = request("/", &[("host", host)]);
            asked.is_secure = secure;
            let rig = read(BODY, &asked, &dropped())["rig"].take();
            assert_eq!(json!([rig["host"], rig["port"]]), expected, "{host}");
        }
    }

    #[test]
    fn b12_credentials_do_not_get_into_the_event() {
        let mut asked = request(
            "/p?jwt=S1&a=1&key=S2&access_token=S3&%6bey=S4&b",
            &[("authorization", "Bearer S5"), ("cookie", "c=S6"), ("x-token", "S7"), ("x-user", "u")],
        );
        let hidden = read(BODY, &asked, &dropped());
        let text = hidden.to_string();
        assert!((1..=7).all(|number| !text.contains(&format!("S{number}"))), "{text}");
        assert_eq!(hidden["rig"]["query"], "a=1&b");
        assert_eq!(hidden["rig"]["headers"], json!([["x-user", "u"]]));
        let kept = read(BODY, &asked, &Credentials::Kept);
        assert_eq!(kept["rig"]["query"], "jwt=S1&a=1&key=S2&access_token=S3&%6bey=S4&b");
        assert!(kept.to_string().contains("Bearer S5"), "{kept}");
        assert_eq!(hidden["rig"].get("claims"), None);
        asked.claims.insert("x-user".to_owned(), json!(["alice"]));
        assert_eq!(read(BODY, &asked, &dropped())["rig"]["claims"], json!({"x-user": ["alice"]}));
    }

    #[test]
    fn b11_keys_are_strings() {
        let asked = request("/", &[]);
        let key = |members: &str| {
            let body = format!(r#"{{"specversion":"1.0"{members}}}"#);
            event(body.as_bytes(), &asked, &Credentials::Kept).map(|event| event.key)
        };
        assert_eq!(key(""), Ok(None));
        assert_eq!(key(r#","rig":{"target_partition":"k"}"#), Ok(Some("k".to_owned())));
        assert_eq!(key(r#","rig":{"target_partition":"k"},"partitionkey":"p""#), Ok(Some("k".to_owned())));
        assert_eq!(key(r#","rig":{"target_partition":null},"partitionkey":"p""#), Ok(Some("p".to_owned())));
        assert_eq!(key(r#","rig":5"#), Ok(None));
        for wrong in ["1", "{}", "[]", "true"] {
            let of_rig = key(&format!(r#","rig":{{"target_partition":{wrong}}}"#));
            assert_eq!(of_rig, Err(BodyFault::NoText("rig.target_partition")));
            assert_eq!(key(&format!(r#","partitionkey":{wrong}"#)), Err(BodyFault::NoText("partitionkey")));
        }
    }

    #[test]
    fn bodies_that_are_no_events_are_told_apart() {
        let asked = request("/", &[]);
        let fault = |body: &[u8]| event(body, &asked, &Credentials::Kept).unwrap_err();
        for body in ["{}", "[]", "5", "null", r#"{"cloudEventsVersion":"0.1"}"#] {
            assert_eq!(fault(body.as_bytes()), BodyFault::NotAnEvent, "{body}");
        }
        for body in [&b""[..], b"{", b"\xff", b"nojson", b"{} x"] {
            assert!(matches!(fault(body), BodyFault::NotJson(_)), "{body:?}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(fault(deep.as_bytes()), BodyFault::NotJson(_)));
    }
}
