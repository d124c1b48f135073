use super::*;

/// Resolves a few names as a test needs it, and addresses to themselves.
async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses = match host.as_str() {
        "id.example" | "keys.example" => "8.8.8.8",
        "id.corp" => "10.1.2.3",
        "keys.corp" => "192.168.7.8,fd00::8",
        "rebound.example" => "127.0.0.1",
        "mixed.example" => "10.0.0.1,9.9.9.9,169.254.169.254",
        "empty.example" => return Ok(Vec::new()),
        literal => literal,
    };
    let parse = |text: &str| text.parse().map(|ip| SocketAddr::new(ip, port));
    addresses.split(',').map(parse).collect::<Result<_, _>>().map_err(|_| io::Error::other("no such name"))
}

async fn reached(issuer: &str, insecure_http: bool, uri: &str) -> Result<String, String> {
    let reach = Reach::new(Some(&issuer.parse().unwrap()), &[], insecure_http);
    let found = reach.resolved(&uri.parse().unwrap(), resolve).await;
    let texts =
        |found: Vec<SocketAddr>| found.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ");
    found.map(texts).map_err(|error| error.to_string())
}

#[tokio::test]
async fn i16_another_host_must_not_lead_into_the_own_network() {
    for (uri, place) in [
        ("https://169.254.169.254/latest", "link-local"),
        ("https://127.0.0.1/", "loopback"),
        ("https://127.8.9.10:8443/", "loopback"),
        ("https://0.0.0.0/", "loopback"),
        ("https://10.0.0.1/", "private"),
        ("https://172.16.0.1/", "private"),
        ("https://172.31.255.255/", "private"),
        ("https://192.168.1.1/", "private"),
        ("https://100.64.0.1/", "private"),
        ("https://100.127.255.255/", "private"),
        ("https://192.0.0.1/", "reserved"),
        ("https://192.0.2.1/", "reserved"),
        ("https://198.18.0.1/", "reserved"),
        ("https://198.51.100.1/", "reserved"),
        ("https://203.0.113.1/", "reserved"),
        ("https://224.0.0.1/", "reserved"),
        ("https://255.255.255.255/", "reserved"),
        ("https://[::1]/", "loopback"),
        ("https://[::]/", "loopback"),
        ("https://[::ffff:127.0.0.1]/", "loopback"),
        ("https://[::ffff:7f00:1]/", "loopback"),
        ("https://[::127.0.0.1]/", "loopback"),
        ("https://[64:ff9b::169.254.169.254]/", "link-local"),
        ("https://[::ffff:0:10.0.0.1]/", "private"),
        ("https://[64:ff9b:1::1]/", "private"),
        ("https://[2002:a00:1::]/", "private"),
        ("https://[fe80::1]/", "link-local"),
        ("https://[febf::1]/", "link-local"),
        ("https://[fc00::1]/", "private"),
        ("https://[fdff::1]/", "private"),
        ("https://[fec0::1]/", "private"),
        ("https://[100::1]/", "reserved"),
        ("https://[2001::1]/", "reserved"),
        ("https://[2001:db8::1]/", "reserved"),
        ("https://[3fff::1]/", "reserved"),
        ("https://[ff02::1]/", "reserved"),
        ("https://[4000::1]/", "reserved"),
        ("https://rebound.example/", "loopback"),
    ] {
        let refused = reached("https://id.example/realm", true, uri).await.unwrap_err();
        assert!(refused.contains(&format!("a {place} address")), "{uri}: {refused}");
    }
    for uri in [
        "https://keys.example/",
        "https://9.9.9.9/",
        "https://172.15.0.1/",
        "https://172.32.0.1/",
        "https://100.63.0.1/",
        "https://100.128.0.1/",
        "https://[2606:4700::1111]/",
    ] {
        assert!(reached("https://id.example", false, uri).await.is_ok(), "{uri}");
    }
}

#[tokio::test]
async fn i16_addresses_are_allowed_where_the_issuer_is_itself() {
    let allowed = async |issuer: &str, uri: &str| reached(issuer, false, uri).await.is_ok();
    assert!(allowed("https://id.corp", "https://keys.corp/").await);
    assert!(allowed("https://id.corp", "https://100.64.1.1/").await);
    assert!(!allowed("https://id.corp", "https://169.254.169.254/").await);
    assert!(!allowed("https://id.corp", "https://127.0.0.1/").await);
    assert!(allowed("http://127.0.0.1:4000", "https://[::1]:5000/").await);
    assert!(!allowed("http://127.0.0.1:4000", "https://10.0.0.1/").await);
    assert!(!allowed("https://nowhere.example", "https://10.0.0.1/").await);
    // The operator's own word is enough for the issuer's host.
    assert!(allowed("https://169.254.1.1", "https://169.254.1.1/keys").await);
}

#[tokio::test]
async fn i16_only_the_addresses_that_are_allowed_are_left() {
    let found = reached("https://id.example", false, "https://mixed.example:8443/").await;
    assert_eq!(found.unwrap(), "9.9.9.9:8443");
    let refused = reached("https://id.example", false, "https://empty.example/").await.unwrap_err();
    assert_eq!(refused, "empty.example cannot be resolved: no address");
    let refused = reached("https://id.example", false, "https://nowhere.example/").await.unwrap_err();
    assert_eq!(refused, "nowhere.example cannot be resolved: no such name");
}

#[tokio::test]
async fn i16_without_tls_only_the_own_host_and_only_on_loopback() {
    for (issuer, insecure_http, uri, expected) in [
        ("http://127.0.0.1:4000", false, "http://127.0.0.1:5000/", Ok("127.0.0.1:5000")),
        ("http://[::1]", false, "http://[::1]/", Ok("[::1]:80")),
        ("http://rebound.example", false, "http://REBOUND.example./", Ok("127.0.0.1:80")),
        (
            "https://id.example",
            false,
            "http://id.example/keys",
            Err(
                "http is allowed only to loopback addresses; id.example is at 8.8.8.8 (insecure_http allows it)",
            ),
        ),
        ("http://id.corp", true, "http://id.corp:8080/", Ok("10.1.2.3:8080")),
        (
            "https://id.example",
            true,
            "http://keys.example/",
            Err("keys.example is not named by the settings, so https is required"),
        ),
        ("https://id.example", true, "ftp://id.example/", Err("neither https nor http")),
        ("https://id.example", true, "/keys", Err("neither https nor http")),
        (
            "https://id.example",
            true,
            "https://id.example@keys.example/",
            Err("a user name or password in a URI is not supported"),
        ),
    ] {
        let found = reached(issuer, insecure_http, uri).await;
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{uri}");
    }
}

/// The system's resolver reads numbers in other forms as addresses, so they are checked as such.
#[tokio::test]
async fn i16_addresses_in_other_forms_are_addresses() {
    let reach = Reach::new(Some(&"https://8.8.8.8".parse().unwrap()), &[], false);
    for (host, address) in [
        ("2852039166", "169.254.169.254"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("0x7f.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
    ] {
        let refused = reach.addresses(&format!("https://{host}/").parse().unwrap()).await.unwrap_err();
        match refused {
            AddressError::Place(_, found, Place::Loopback) if host == "localhost" => {
                assert!(found.is_loopback())
            }
            AddressError::Place(_, found, _) => assert_eq!(found.to_string(), address, "{host}"),
            other => panic!("{host}: {other}"),
        }
    }
}

/// The operator has named one service of a host, not every other one there.
#[tokio::test]
async fn i16_a_host_that_is_named_beside_the_issuer_is_named_with_its_port() {
    let named = ["http://127.0.0.1:9000/introspect".parse().unwrap()];
    let reach = Reach::new(Some(&"https://id.example".parse().unwrap()), &named, false);
    let reached = async |uri: &str| reach.resolved(&uri.parse().unwrap(), resolve).await.is_ok();
    assert!(reached("http://127.0.0.1:9000/other").await);
    assert!(!reached("http://127.0.0.1:4010/v4/sessions").await);
    assert!(reached("https://id.example:8443/keys").await);
}
