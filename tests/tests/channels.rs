//! The example in `examples/channels`: its pages in a real browser, its service against a real
//! Kafka, and all of it together.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of the sources")
}

fn venv(program: &str) -> PathBuf {
    root().join("target/venv/bin").join(program)
}

/// A program of the example; terminated when it is dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        command.current_dir(root()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("scripts/need installs it");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // It reads on, so that the program never waits.
            for line in stdout.lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        Self { child, lines }
    }

    /// Returns the next lines up to one that contains `word`.
    fn until(&self, word: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.contains(word)) {
            let line = self.lines.recv_timeout(2 * DEADLINE);
            lines.push(line.unwrap_or_else(|_| panic!("{word:?} is missing: {lines:?}")));
        }
        lines
    }

    fn terminate(&mut self) {
        if self.child.try_wait().expect("the child is ours").is_none() {
            drop(Command::new("kill").arg(self.child.id().to_string()).status());
        }
        let deadline = Instant::now() + DEADLINE;
        while self.child.try_wait().expect("the child is ours").is_none() {
            if Instant::now() > deadline {
                drop(self.child.kill());
                drop(self.child.wait());
                assert!(std::thread::panicking(), "it does not exit");
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// Runs the story of the pages, and returns what it prints.
fn story(urls: [&str; 2]) -> String {
    let folder = root().join("tests/browser");
    assert!(folder.join("node_modules/playwright-core").exists(), "npm ci --prefix {}", folder.display());
    let output = Command::new("node").arg(folder.join("channels.js")).args(urls).output();
    let output = output.expect("node is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Returns what the story prints up to the last request, which is wrong.
fn expected(status: u16) -> String {
    format!(
        "sse: subscribed to channels.news, channels.sports\n\
         ws: subscribed to channels.news, channels.sports\n\
         sent to music: {status}\n\
         sent to news: {status}\n\
         sse: [\"channels.news: <b>not bold</b>\"] 0\n\
         ws: [\"channels.music: la la\",\"channels.news: <b>not bold</b>\"] 0\n"
    )
}

/// Without Kafka: the endpoint is an HTTP service, and this test publishes the events.
#[test]
fn the_pages_subscribe_send_and_show_text() {
    let upstream = Upstream::start();
    let endpoint = json!([{
        "id": "send", "method": "POST", "path_regex": "/channels/messages",
        "response_headers": {"access-control-allow-origin": "*"},
    }]);
    let gateway = Gateway::start(&[]);
    let mut api = upstream.api("channels", &endpoint);
    api["auth_type"] = "none".into();
    post_api(&gateway, &api);
    let pages = unused_address();
    let mut server = Command::new(venv("python"));
    server.args(["-u", "-m", "http.server", &pages.port().to_string(), "--bind", "127.0.0.1"]);
    server.args(["--directory", "examples/channels/pages"]).stderr(Stdio::null());
    let server = Running::start(&mut server);
    server.until("Serving");

    let url = |name| format!("http://{pages}/{name}.html?gateway=http://{}", gateway.inbound());
    std::thread::scope(|scope| {
        let story = scope.spawn(|| story([&url("sse"), &url("ws")]));
        for _ in 0..2 {
            let request: Value = serde_json::from_slice(&upstream.next().body).expect("JSON");
            assert_eq!((&request["specversion"], &request["type"]), (&json!("1.0"), &json!("channels.send")));
            let event = json!({
                "specversion": "1.0",
                "type": format!("channels.{}", request["data"]["channel"].as_str().expect("a channel")),
                "source": "/test",
                "id": "1",
                "data": request["data"],
            });
            let published = Request::post_json("/_rig/v1/events", event.to_string()).send(gateway.inbound());
            assert_eq!(published.status, 202, "{}", published.text());
        }
        let told = story.join().expect("the story ends well");
        assert!(told.starts_with(&expected(200)), "{told}");
    });
}

#[test]
fn the_service_answers_and_publishes() {
    let kafka = KafkaServer::start();
    let client = kafka.client();
    let mut command = Command::new(venv("python"));
    command.args(["examples/channels/service.py", &kafka.address().to_string()]);
    let service = Running::start(&mut command);
    service.until("ready");

    let request = |data: Value, correlation: &str| {
        let event = json!({
            "specversion": "1.0", "type": "channels.send", "source": "/page", "id": "1", "data": data,
            "rig": {"correlation": correlation},
        });
        KafkaMessage::of(event.to_string())
    };
    let long = "x".repeat(501);
    client.produce(
        "channels-requests",
        &[
            request(json!({"channel": "news", "text": "hello"}), "one"),
            KafkaMessage::of("no JSON"),
            KafkaMessage::tombstone(),
            KafkaMessage::of("[]"),
            request(json!({"channel": "News", "text": "hello"}), "two"),
            request(json!({"channel": "news", "text": long}), "three"),
            request(Value::Null, "four"),
            request(json!({"channel": "sports", "text": "1:0"}), "five"),
        ],
    );
    let answers = client.await_messages("rig-proxy-response", 5);
    let told = answers.iter().map(|answer| {
        assert_eq!(answer.header_text("content-type").as_deref(), Some("application/json"));
        ["rig-correlation", "rig-response-code"].map(|name| answer.header_text(name).unwrap_or_default())
    });
    let expected = [("one", "201"), ("two", "400"), ("three", "400"), ("four", "400"), ("five", "201")];
    assert_eq!(told.collect::<Vec<_>>(), expected.map(|(token, code)| [token.to_owned(), code.to_owned()]));

    let events = client.read("rig");
    assert_eq!(events.len(), 2);
    for (event, (kind, text)) in events.iter().zip([("channels.news", "hello"), ("channels.sports", "1:0")]) {
        let json: Value = serde_json::from_str(&event.text()).expect("JSON");
        assert_eq!((json["type"].as_str(), json["data"]["text"].as_str()), (Some(kind), Some(text)));
        let structured = event.header_text("content-type").unwrap_or_default();
        assert!(structured.starts_with("application/cloudevents+json"), "{structured}");
    }
    let first: Value = serde_json::from_str(&answers[0].text()).expect("JSON");
    assert!(events[0].text().contains(first["id"].as_str().expect("the id of the event")));
}

#[test]
fn the_example_runs_with_one_command() {
    let ports = [(); 5].map(|()| unused_address());
    let names = ["KAFKA_PORT", "NATS_PORT", "INBOUND_PORT", "API_HTTP_PORT", "PAGES_PORT"];
    let mut command = Command::new(root().join("examples/channels/run"));
    command.env("RIG", Gateway::binary());
    command.envs(names.iter().zip(ports).map(|(name, address)| (name, address.port().to_string())));
    let mut example = Running::start(&mut command);
    let lines = example.until("Ctrl-C");
    // An event that is published before the gateway reads its topic would not be delivered.
    KafkaClient::start(ports[0], &[]).await_members("rig-kafka-to-filter", 1);

    let told = story([&lines[0], &lines[1]]);
    let refused = "sent to NOT A CHANNEL: 400\n\
                   answer: 400 {\"error\": \"expected a channel of 1 to 20 letters, a to z\"}\n";
    assert_eq!(told, expected(201) + refused);

    example.terminate();
    for address in ports {
        assert!(std::net::TcpStream::connect(address).is_err(), "{address} is still open");
    }
}

/// The script of `docs/brokers.md`.
#[test]
fn brokers_start_and_stop_with_one_command_and_lines_are_sent() {
    let ports = [(); 2].map(|()| unused_address());
    let script = |arguments: &[&str]| {
        let mut command = Command::new("bash");
        let ports = ports.map(|address| address.port().to_string());
        // Both outputs are one stream.
        command.args(["-c", "exec scripts/brokers \"$@\" 2>&1", "-"]).current_dir(root());
        command.stdout(Stdio::null()).args(arguments).envs(["KAFKA_PORT", "NATS_PORT"].iter().zip(ports));
        command
    };
    let mut brokers = Running::start(&mut script(&[]));
    brokers.until("Ctrl-C");
    let reader = Running::start(&mut script(&["read", "kafka", "rig"]));
    reader.until("reading");
    let mut nats = Wire::connect(ports[1]);
    nats.send("CONNECT {}\r\nSUB rig 1\r\nPING\r\n");
    nats.until(b"PONG\r\n").expect("it is subscribed");
    let folder = Folder::new();
    std::fs::write(folder.join("lines"), "one line\n\nanother").expect("a file");
    for kind in ["kafka", "nats"] {
        let lines = std::fs::File::open(folder.join("lines")).expect("a file");
        assert!(script(&["send", kind, "rig"]).stdin(lines).status().expect("bash").success());
    }
    nats.until(b"MSG rig 1 8\r\none line\r\nMSG rig 1 7\r\nanother\r\n").expect("both messages");
    let client = KafkaClient::start(ports[0], &[]);
    let texts: Vec<_> = client.read("rig").iter().map(KafkaMessage::text).collect();
    assert_eq!(texts, ["one line", "another"]);

    assert_eq!(reader.until("another"), ["one line", "", "another"]);

    assert_eq!(script(&[]).status().expect("bash").code(), Some(1), "the ports are in use");
    assert_eq!(script(&["send", "pigeon", "rig"]).status().expect("bash").code(), Some(2));
    brokers.terminate();
    for address in ports {
        assert!(std::net::TcpStream::connect(address).is_err(), "{address} is still open");
    }
}
