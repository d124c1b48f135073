//! `/metrics`, as read by Prometheus and its tools.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rig_tests::*;
use serde_json::{Value, json};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Starts a gateway on which every metric family has samples.
fn busy() -> (Gateway, Upstream) {
    let upstream = Upstream::start();
    let endpoints = json!([{"id": "e", "path_regex": "/open/(a|\\d{2}|\"x\")", "method": "GET"}]);
    let apis = json!([upstream.api("shop", &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("CANARY_INTERVAL", "100ms")]);
    gateway.ask(&Request::get("/open/a"));
    gateway.ask(&Request::get("/nowhere"));
    let query = format!("jwt={}&subscriptions={}", token_of("s"), encoded(r#"[{"eventType":"greeting"}]"#));
    let mut stream = Sse::connect(gateway.inbound(), &query);
    stream.welcome();
    gateway.publish(&greeting("1", "bob"));
    stream.next_data();
    gateway.blacklist("s");
    gateway.ask(&Request::get("/_rig/v1/connection/sse?jwt=garbage"));
    eventually("a run of the canary", || {
        (gateway.metric_sum("rig_canary_runs_total", &[("result", "ok")]) > 0.0).then_some(())
    });
    (gateway, upstream)
}

/// Returns the content type and the text of `/metrics` with this `Accept`.
fn scraped(gateway: &Gateway, accept: Option<&str>) -> (String, String) {
    let mut request = Request::get("/metrics");
    if let Some(accept) = accept {
        request = request.header("Accept", accept);
    }
    let response = gateway.ask_internal(&request);
    assert_eq!((response.status, response.header("vary")), (200, Some("accept")));
    (response.header("content-type").expect("a type").to_owned(), response.text())
}

/// Returns the output of `promtool check metrics`.
fn complaints(text: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (scripts/need promtool)");
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    let told = [output.stdout, output.stderr].concat();
    format!("{:?} {}", output.status.code(), String::from_utf8_lossy(&told)).trim().to_owned()
}

#[test]
fn f30_the_scraper_chooses_the_format_and_promtool_finds_no_fault() {
    let (gateway, _upstream) = busy();
    for accept in
        [None, Some("*/*"), Some("text/plain;version=0.0.4"), Some("text/html"), Some("application/json")]
    {
        let (kind, text) = scraped(&gateway, accept);
        assert_eq!(kind, TEXT, "{accept:?}");
        assert!(text.contains("\n# TYPE rig_connections_opened_total counter\n"), "{text}");
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
        assert_eq!(complaints(&text), "Some(0)", "{text}");
    }
    let asks = [
        "application/openmetrics-text",
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4",
        "application/openmetrics-text; version=1.0.0, */*",
    ];
    for accept in asks {
        let (kind, text) = scraped(&gateway, Some(accept));
        assert_eq!(kind, OPENMETRICS, "{accept}");
        assert!(
            text.contains("\n# TYPE rig_connections_opened counter\n") && text.ends_with("# EOF\n"),
            "{text}"
        );
    }
    assert_eq!(scraped(&gateway, Some("application/openmetrics-text;q=0.1, text/plain;q=0.9")).0, TEXT);
    // Both formats contain the same samples.
    let names = |accept| {
        let (_, text) = scraped(&gateway, Some(accept));
        let names = text.lines().filter(|line| !line.starts_with('#'));
        names.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("text/plain"), names("application/openmetrics-text"));
}

#[test]
fn every_metric_has_a_help_text_and_is_documented() {
    let (gateway, _upstream) = busy();
    let (_, text) = scraped(&gateway, Some("text/plain"));
    let documents = ["observability", "sessions", "identity"].map(|name| {
        let path = format!("{}/../docs/{name}.md", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("a document")
    });
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help text");
        assert!(documents.concat().contains(name), "{name} is not documented");
    }
}

/// A running Prometheus; stopped when it is dropped.
struct Prometheus {
    child: Child,
    port: u16,
    _folder: Folder,
}

impl Prometheus {
    fn start(gateway: &Gateway) -> Self {
        let folder = Folder::new();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
        let target = gateway.internal();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: rig\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        std::fs::write(folder.join("prometheus.yml"), config).expect("a file");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", folder.join("data")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed (scripts/need promtool)");
        Self { child, port, _folder: folder }
    }

    /// Returns the value of a sample once it exists.
    fn sample(&self, query: &str) -> String {
        eventually(query, || {
            let mut wire = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            let target = format!("/api/v1/query?query={}", encoded(query));
            write!(wire, "GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
            let mut answer = String::new();
            wire.read_to_string(&mut answer).ok()?;
            let json: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
            Some(json["data"]["result"][0]["value"][1].as_str()?.to_owned())
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn f30_prometheus_scrapes_what_it_asks_for() {
    let (gateway, _upstream) = busy();
    // By default, Prometheus asks for OpenMetrics.
    let prometheus = Prometheus::start(&gateway);
    let ok = "rig_proxy_requests_total{status=\"ok\"}";
    for query in [ok, "up", "count(rig_session_kills_total > 0)", "count(process_cpu_seconds_total)"] {
        assert_eq!(prometheus.sample(query), "1", "{query}");
    }
}

#[test]
fn f79_the_process_has_the_metrics_of_prometheus_libraries() {
    let gateway = Gateway::start_with_descriptors(256, &[]);
    let seconds = || std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
    let before = gateway.metric("process_cpu_seconds_total");
    let open = gateway.metric("process_open_fds");
    assert!((10.0..200.0).contains(&open), "{open}");
    assert_eq!(gateway.metric("process_max_fds"), 256.0);
    assert!((seconds() - gateway.metric("process_start_time_seconds")).abs() < 60.0);
    let resident = gateway.metric("process_resident_memory_bytes");
    let truth = gateway.memory().0 as f64;
    assert!((truth / 2.0..truth * 2.0).contains(&resident), "{resident} {truth}");
    assert!(gateway.metric("process_virtual_memory_bytes") >= resident);
    assert!(gateway.metric("process_threads") >= 3.0);
    let streams: Vec<Sse> = (0..20).map(|_| Sse::connect(gateway.inbound(), "")).collect();
    // The earlier count may include sockets of scrapes.
    assert!(gateway.metric("process_open_fds") > open + 10.0);
    drop(streams);
    eventually("processor time", || {
        (gateway.metric("process_cpu_seconds_total") > before + 0.01).then_some(())
    });
}

/// Scrapes matter most when clients have taken every descriptor.
#[test]
fn f79_a_scrape_succeeds_without_descriptors() {
    let gateway = Gateway::start_with_descriptors(100, &[]);
    let mut scraper = Wire::connect(gateway.internal());
    let ask = Request::get("/metrics").bytes(gateway.internal());
    scraper.send(&ask);
    assert_eq!(Response::read(&mut scraper, false).status, 200);
    let flood: Vec<Wire> = (0..100).map(|_| Wire::connect(gateway.inbound())).collect();
    eventually("the flood", || {
        scraper.send(&ask);
        let text = Response::read(&mut scraper, false).text();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
            line.trim().parse::<f64>().expect("a number")
        };
        assert!(value("process_resident_memory_bytes") > 0.0 && value("process_cpu_seconds_total") >= 0.0);
        (value("process_open_fds") >= 80.0).then_some(())
    });
    drop(flood);
}

#[test]
fn the_old_address_of_the_openapi_document_leads_to_the_new_one() {
    let gateway = Gateway::start(&[]);
    let answer = gateway.ask_internal(&Request::get("/swagger-ui/rig_api_swagger.json"));
    assert_eq!((answer.status, answer.header("location")), (307, Some("/openapi.json")));
    assert_eq!(gateway.ask_internal(&Request::get("/openapi.json")).json()["openapi"], "3.1.0");
}
