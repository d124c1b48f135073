//! Services that require HTTPS, a client certificate, or HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rig_tests::{Folder, Gateway, Request, Response, Wire, api, eventually};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// A certificate authority and the files that it has created.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Folder,
}

impl Authority {
    fn new() -> Self {
        Self::named("an authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let folder = Folder::new();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).expect("a file");
        Self { issuer, folder }
    }

    fn file(&self) -> String {
        self.folder.join("ca.pem")
    }

    /// Returns a certificate for this name, and its key.
    fn certify(&self, name: &str) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.issuer).expect("a certificate").into(), key)
    }

    /// Returns them as files.
    fn certify_to_files(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let (chain, private) = (format!("{name}.pem"), format!("{name}.key"));
        let (chain, private) = (self.folder.join(&chain), self.folder.join(&private));
        std::fs::write(&chain, params.signed_by(&key, &self.issuer).expect("a certificate").pem())
            .expect("a file");
        std::fs::write(&private, key.serialize_pem()).expect("a file");
        (chain, private)
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        roots.into()
    }

    /// Returns an acceptor for `localhost` with an expired certificate.
    fn expired(&self) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 2, 2);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").into();
        Self::acceptor((certificate, key), &["http/1.1"], None)
    }

    /// Returns an acceptor for `localhost`. If `clients` is given, clients must present a
    /// certificate of that authority.
    fn server(&self, protocols: &[&str], clients: Option<&Self>) -> TlsAcceptor {
        Self::acceptor(self.certify("localhost"), protocols, clients)
    }

    fn acceptor(
        (certificate, key): (CertificateDer<'static>, KeyPair),
        protocols: &[&str],
        clients: Option<&Self>,
    ) -> TlsAcceptor {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(clients.roots(), provider)
                    .build()
                    .expect("authorities"),
            ),
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config =
            builder.with_single_cert(vec![certificate], key.into()).expect("a key and its certificate");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A service that sends back bodies and trailers, and reports how it was asked.
struct Service {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _runtime: Runtime,
}

impl Service {
    /// Starts it. Without `tls`, it speaks only HTTP/2 in clear text.
    fn start(tls: Option<TlsAcceptor>) -> Self {
        Self::with_streams(tls, None)
    }

    /// Starts it with this limit of streams on each HTTP/2 connection.
    fn with_streams(tls: Option<TlsAcceptor>, streams: Option<u32>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let connections = Arc::<AtomicUsize>::default();
        let counter = connections.clone();
        runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => Box::pin(serve(tcp, true, streams)).await,
                        Some(tls) => {
                            // Clients that do not trust it close the connection.
                            let Ok(stream) = tls.accept(tcp).await else { return };
                            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                            Box::pin(serve(stream, http2, streams)).await;
                        }
                    }
                });
            }
        });
        Self { address, connections, _runtime: runtime }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Returns an API of the service under the name `localhost`.
    fn api(&self, scheme: &str, more: &Value) -> Value {
        self.api_at(&format!("{scheme}://localhost:{}", self.address.port()), more)
    }

    fn api_at(&self, url: &str, more: &Value) -> Value {
        let endpoints = json!([
            {"id": "get", "path_regex": "/.*", "method": "GET"},
            {"id": "post", "path_regex": "/.*", "method": "POST"},
        ]);
        let mut api = api("a", 1, &endpoints);
        api["proxy"] = json!({"targets": [{"url": url}]});
        api["proxy"].as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        api
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    streams: Option<u32>,
) {
    let bye = Arc::new(Notify::new());
    let farewell = bye.clone();
    let service = service_fn(move |request| answer(request, farewell.clone()));
    let io = TokioIo::new(stream);
    if !http2 {
        return http1::Builder::new().serve_connection(io, service).await.unwrap_or_default();
    }
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(streams);
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = bye.notified() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.unwrap_or_default();
}

async fn answer(
    request: hyper::Request<Incoming>,
    bye: Arc<Notify>,
) -> Result<hyper::Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let host = head.uri.authority().map(|authority| authority.to_string());
    let host = host.or_else(|| Some(head.headers.get("host")?.to_str().ok()?.to_owned()));
    let body = body.collect().await?;
    let mut trailers = body.trailers().cloned().unwrap_or_default();
    trailers.insert("x-out", HeaderValue::from_static("1"));
    if head.uri.path() == "/bye" {
        bye.notify_one();
    }
    let mut headers = HeaderMap::new();
    headers.insert("trailer", HeaderValue::from_static("x-in, x-out"));
    headers.insert(
        "x-asked",
        format!("{:?} {} {}", head.version, host.expect("a request names its host"), head.uri.path())
            .parse()
            .expect("a header value"),
    );
    // Without this filter, an empty DATA frame would precede the trailers if there is no body.
    let data = Some(body.to_bytes()).filter(|data| !data.is_empty() || head.uri.path() == "/empty-frame");
    let frames = data.map(Frame::data).into_iter().chain([Frame::trailers(trailers)]);
    let frames = stream::iter(frames.map(Ok));
    let body = StreamBody::new(match head.uri.path() {
        "/held" => {
            let begun = Ok(Frame::data(Bytes::from_static(b"held")));
            stream::once(async { begun }).chain(stream::pending()).boxed()
        }
        _ => frames.boxed(),
    });
    let mut response = hyper::Response::new(body);
    *response.headers_mut() = headers;
    Ok(response)
}

fn gateway(api: &Value) -> Gateway {
    Gateway::start(&[("PROXY_CONFIG_FILE", &json!([api]).to_string())])
}

/// Returns how the service reports that it was asked.
fn asked(gateway: &Gateway, path: &str) -> String {
    let response = gateway.ask(&Request::get(path));
    assert_eq!(response.status, 200, "{}", response.text());
    response.header("x-asked").expect("an answer of the service").to_owned()
}

fn status(gateway: &Gateway) -> u16 {
    gateway.ask(&Request::get("/x")).status
}

/// Checks that bodies and trailers of many frames are forwarded in both directions.
fn assert_whole_bodies(gateway: &Gateway) {
    let body = vec![b'x'; 1 << 20];
    let response = gateway.ask(&Request::post_json("/x", &body));
    assert_eq!((response.status, response.body == body, response.whole), (200, true, true));
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("POST /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\nTrailer: x-in\r\n\r\n");
    wire.send("5\r\nhello\r\n6\r\n world\r\n0\r\nX-In: 7\r\n\r\n");
    let response = Response::read(&mut wire, false);
    let mut trailers = response.trailers.clone();
    trailers.sort();
    let trailers: Vec<_> =
        trailers.iter().map(|(name, value)| format!("{name}: {value}").to_lowercase()).collect();
    assert_eq!(
        (response.text().as_str(), trailers),
        ("hello world", vec!["x-in: 7".to_owned(), "x-out: 1".to_owned()])
    );
}

#[test]
fn a_service_of_an_authority_of_its_own_is_trusted_by_its_file() {
    let authority = Authority::new();
    let service = Service::start(Some(authority.server(&["http/1.1"], None)));
    let gateway = gateway(&service.api("https", &json!({"tls": {"ca_file": authority.file()}})));
    assert_eq!(asked(&gateway, "/y"), format!("HTTP/1.1 localhost:{} /y", service.address.port()));
    assert_whole_bodies(&gateway);
}

#[test]
fn a_service_of_another_authority_is_not_asked() {
    let (authority, other) = (Authority::new(), Authority::new());
    let service = Service::start(Some(authority.server(&["http/1.1"], None)));
    for more in [json!({"tls": {"ca_file": other.file()}}), json!({})] {
        assert_eq!(status(&gateway(&service.api("https", &more))), 502, "{more}");
    }
    assert!(service.connections() > 0, "it was never tried");
}

#[test]
fn a_service_under_another_name_is_not_asked() {
    let authority = Authority::new();
    let service = Service::start(Some(authority.server(&["http/1.1"], None)));
    let url = format!("https://{}", service.address);
    let gateway = gateway(&service.api_at(&url, &json!({"tls": {"ca_file": authority.file()}})));
    assert_eq!(status(&gateway), 502);
}

#[test]
fn without_a_file_whom_the_system_trusts_is_trusted() {
    let authority = Authority::new();
    let service = Service::start(Some(authority.server(&["http/1.1"], None)));
    let apis = json!([service.api("https", &json!({}))]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("SSL_CERT_FILE", &authority.file())]);
    assert_eq!(status(&gateway), 200);
}

#[test]
fn a_service_may_want_a_certificate() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let service = Service::start(Some(authority.server(&["http/1.1"], Some(&clients))));
    let (certificate, key) = clients.certify_to_files("gateway");
    let (foreign, foreign_key) = others.certify_to_files("gateway");
    let ca = authority.file();
    let with = |tls: &Value| gateway(&service.api("https", &json!({"tls": tls})));
    assert_eq!(status(&with(&json!({"ca_file": ca, "cert_file": certificate, "key_file": key}))), 200);
    assert_eq!(status(&with(&json!({"ca_file": ca}))), 502);
    assert_eq!(status(&with(&json!({"ca_file": ca, "cert_file": foreign, "key_file": foreign_key}))), 502);
}

#[test]
fn files_that_do_not_go_together_are_refused_where_they_are_needed() {
    let authority = Authority::new();
    let service = Service::start(Some(authority.server(&["http/1.1"], None)));
    let (certificate, _) = authority.certify_to_files("one");
    let (_, key) = authority.certify_to_files("other");
    let tls = json!({"tls": {"cert_file": certificate, "key_file": key}});
    let gateway = Gateway::start(&[]);
    let post = |scheme| {
        let body = service.api(scheme, &tls).to_string();
        gateway.ask_internal(&Request::post_json("/v3/apis", body))
    };
    let refused = post("https");
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(
        refused.text().contains("key_file") && refused.text().contains(&certificate),
        "{}",
        refused.text()
    );
    assert_eq!(post("http").status, 201);
}

#[test]
fn http2_is_spoken_over_tls_where_the_service_does_too() {
    let authority = Authority::new();
    let more = json!({"http2": true, "tls": {"ca_file": authority.file()}});
    let service = Service::start(Some(authority.server(&["h2", "http/1.1"], None)));
    let gateway_of = |service: &Service, more: &Value| gateway(&service.api("https", more));
    let gateway = gateway_of(&service, &more);
    assert_eq!(asked(&gateway, "/y"), format!("HTTP/2.0 localhost:{} /y", service.address.port()));
    assert_whole_bodies(&gateway);
    assert_eq!(service.connections(), 1, "all share one connection");
    let unasked = gateway_of(&service, &json!({"tls": {"ca_file": authority.file()}}));
    assert!(asked(&unasked, "/y").starts_with("HTTP/1.1 "), "only where the definition says so");
    let old = Service::start(Some(authority.server(&["http/1.1"], None)));
    assert!(
        asked(&gateway_of(&old, &more), "/y").starts_with("HTTP/1.1 "),
        "only where the service knows it"
    );
}

#[test]
fn f10_a_full_connection_over_tls_has_others_beside_it() {
    let authority = Authority::new();
    let more = json!({"http2": true, "tls": {"ca_file": authority.file()}});
    for allowed in [1, 3] {
        let service = Service::with_streams(Some(authority.server(&["h2"], None)), Some(allowed));
        let gateway = gateway(&service.api("https", &more));
        assert!(asked(&gateway, "/y").starts_with("HTTP/2.0 "));
        let mut held = Vec::new();
        // One after the other, then many at once.
        for crowd in [1; 8].iter().chain(&[12]) {
            let mut clients: Vec<_> =
                (0..*crowd).map(|_| Request::get("/held").start(gateway.inbound())).collect();
            for client in &mut clients {
                let head = Response::read_head(client).expect("an answer");
                assert_eq!(head.status, 200, "{allowed} streams: {}", gateway.log());
                assert!(client.until(b"held").is_some());
            }
            held.append(&mut clients);
        }
        let least = held.len().div_ceil(allowed as usize);
        assert!(service.connections() >= least, "{} connections, {allowed} streams", service.connections());
        assert!(service.connections() <= held.len() + 1, "{} connections", service.connections());
        assert!(!gateway.log().contains("service failed"), "{}", gateway.log());
    }
}

/// Returns the log lines with this message, as JSON.
fn lines(gateway: &Gateway, message: &str) -> Vec<Value> {
    let log = gateway.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}

#[test]
fn f17_a_certificate_that_is_not_trusted_has_a_line_with_the_reason() {
    // Authorities are distinguished by their names.
    let (authority, other) = (Authority::named("one"), Authority::named("another"));
    let trusted = json!({"tls": {"ca_file": authority.file()}});
    let good = Service::start(Some(authority.server(&["http/1.1"], None)));
    let expired = Service::start(Some(authority.expired()));
    let unknown = Service::start(Some(other.server(&["http/1.1"], None)));
    let address = format!("https://{}", good.address);
    for (api, reason) in [
        (expired.api("https", &trusted), "invalid peer certificate: certificate expired"),
        (unknown.api("https", &trusted), "invalid peer certificate: UnknownIssuer"),
        (
            good.api_at(&address, &trusted),
            "invalid peer certificate: certificate not valid for name \"127.0.0.1\"",
        ),
    ] {
        let apis = json!([api]).to_string();
        let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("REQUEST_LOG", "console")]);
        for _ in 0..3 {
            let answer = gateway.ask(&Request::get("/x"));
            assert_eq!((answer.status, &*answer.text()), (502, "Bad gateway."), "the client learns no more");
        }
        let told = eventually("three requests in the log", || {
            Some(lines(&gateway, "request")).filter(|requests| requests.len() == 3)
        });
        let reason = format!("TLS handshake failed: {reason}");
        let has_reason = |line: &Value| line["reason"].as_str().is_some_and(|text| text.starts_with(&reason));
        assert!(told.iter().all(has_reason), "{reason}: {told:?}");
        let [line] = &lines(&gateway, "service failed")[..] else { panic!("{}", gateway.log()) };
        assert!(has_reason(line) && line["level"] == "WARN" && line["api"] == "a", "{line}");
        assert!(line["server"].as_str().is_some_and(|server| !server.is_empty()), "{line}");
    }
}

#[test]
fn http2_is_spoken_in_clear_where_the_definition_says_so() {
    let service = Service::start(None);
    let gateway = gateway(&service.api("http", &json!({"http2": true})));
    assert_eq!(asked(&gateway, "/y"), format!("HTTP/2.0 localhost:{} /y", service.address.port()));
    assert_whole_bodies(&gateway);
    assert_eq!(service.connections(), 1, "all share one connection");
}

#[test]
fn a_connection_that_a_service_has_said_goodbye_on_costs_no_request() {
    let service = Service::start(None);
    let gateway = gateway(&service.api("http", &json!({"http2": true})));
    for _ in 0..20 {
        asked(&gateway, "/bye");
        asked(&gateway, "/x");
        assert_eq!(gateway.ask(&Request::post_json("/x", "{}")).status, 200);
    }
    assert!(service.connections() > 1, "it has sent GOAWAY");
}

/// Time limit within which a changed file is read again.
const SOON: std::time::Duration = std::time::Duration::from_secs(5);

/// Waits until files have been reloaded this many times, and checks that this was within [`SOON`].
fn await_reload(gateway: &Gateway, times: usize) {
    let began = std::time::Instant::now();
    eventually("the new credentials", || {
        let read = gateway.log().matches("certificates for a service reloaded").count();
        (read == times).then_some(())
    });
    assert!(began.elapsed() <= SOON, "{:?}", began.elapsed());
}

/// Replaces a file as a whole: it is never seen half written.
fn replace(path: &str, text: &str) {
    let new = format!("{path}.new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(new, path).expect("a file in its place");
}

#[test]
fn f12_whom_a_definition_trusts_changes_with_its_file() {
    let (authority, other) = (Authority::new(), Authority::new());
    for protocol in ["http/1.1", "h2"] {
        let service = Service::start(Some(authority.server(&[protocol], None)));
        std::fs::write(other.folder.join("used.pem"), other.issuer.pem()).expect("a file");
        let used = other.folder.join("used.pem");
        let more = json!({"http2": protocol == "h2", "tls": {"ca_file": used}});
        let gateway = gateway(&service.api("https", &more));
        assert_eq!(status(&gateway), 502);
        // A file that is read while it is being written is damaged: the old one stays in use until
        // the file is complete.
        let pem = authority.issuer.pem();
        std::fs::write(&used, &pem[..pem.len() / 2]).expect("a file");
        eventually("the complaint", || gateway.log().contains("the old ones stay").then_some(()));
        assert_eq!(status(&gateway), 502);
        replace(&used, &pem);
        await_reload(&gateway, 1);
        assert_eq!(status(&gateway), 200);
        // The pooled connection was opened under the old file, so it is not reused.
        let connections = service.connections();
        replace(&used, &other.issuer.pem());
        await_reload(&gateway, 2);
        assert_eq!(status(&gateway), 502);
        assert!(service.connections() > connections, "another one was tried");
    }
}

#[test]
fn f12_the_certificate_that_a_service_sees_changes_with_its_files() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let service = Service::start(Some(authority.server(&["http/1.1"], Some(&clients))));
    let (certificate, key) = clients.certify_to_files("gateway");
    let (foreign, foreign_key) = others.certify_to_files("gateway");
    // The layout of secrets in Kubernetes: paths that lead through a link to the folder of a
    // version.
    let folder = Folder::new();
    let link = |path: String| std::path::PathBuf::from(path);
    for (version, chain, private) in [("..1", &foreign, &foreign_key), ("..2", &certificate, &key)] {
        std::fs::create_dir(folder.join(version)).expect("a folder");
        std::fs::copy(chain, folder.join(&format!("{version}/tls.crt"))).expect("a copy");
        std::fs::copy(private, folder.join(&format!("{version}/tls.key"))).expect("a copy");
    }
    std::os::unix::fs::symlink("..1", link(folder.join("..data"))).expect("a link");
    for name in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), link(folder.join(name))).expect("a link");
    }
    let tls = json!({"ca_file": authority.file(), "cert_file": folder.join("tls.crt"), "key_file": folder.join("tls.key")});
    let gateway = gateway(&service.api("https", &json!({"tls": tls})));
    assert_eq!(status(&gateway), 502);
    std::os::unix::fs::symlink("..2", link(folder.join("..tmp"))).expect("a link");
    std::fs::rename(folder.join("..tmp"), folder.join("..data")).expect("a link in its place");
    await_reload(&gateway, 1);
    assert_eq!(status(&gateway), 200);
}

/// More empty frames than a connection to a service may carry.
const MANY: usize = 250;

/// Starts a service over TLS and one in clear text, each behind a gateway that speaks HTTP/2 to it.
fn of_http2() -> [(Service, Gateway); 2] {
    let authority = Authority::new();
    let tls = Service::start(Some(authority.server(&["h2"], None)));
    let clear = Service::start(None);
    let of_tls = gateway(&tls.api("https", &json!({"http2": true, "tls": {"ca_file": authority.file()}})));
    let of_clear = gateway(&clear.api("http", &json!({"http2": true})));
    [(tls, of_tls), (clear, of_clear)]
}

#[test]
fn over_http2_a_client_that_has_left_holds_no_place() {
    for (service, gateway) in of_http2() {
        for nth in 0..MANY {
            let answer = gateway.ask(&Request::get("/x"));
            assert_eq!((answer.status, answer.whole), (200, true), "{nth}");
        }
        assert_eq!(service.connections(), 1, "all share one connection");
        eventually("all places are free", || (gateway.metric("rig_tcp_connections") <= 1.0).then_some(()));
    }
}

/// A flood of empty frames is an attack, so a connection is closed at the 101st
/// (ENHANCE_YOUR_CALM).
#[test]
fn a_service_that_sends_empty_frames_gets_another_connection() {
    for (service, gateway) in of_http2() {
        let answers = |_: &usize| {
            let mut wire = Request::get("/empty-frame").start(gateway.inbound());
            Response::read_head(&mut wire).is_some_and(|answer| answer.status == 200)
        };
        let answered = (0..MANY).filter(answers).count();
        assert_eq!((answered, service.connections()), (MANY - MANY / 101, 1 + MANY / 101));
        assert_eq!(status(&gateway), 200);
    }
}
