//! A real OpenID provider: oidc-provider, as `scripts/provider` starts it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::browser_cookies::{BrowserCookies, form, parameter, redirect};
use crate::client::Request;
use crate::encoded;
use crate::folder::Folder;
use crate::gateway::Gateway;
use crate::upstream::unused_address;
use crate::wire::{DEADLINE, eventually};

/// The running provider, and the server of the page of `examples/identity`; killed when it is
/// dropped.
pub struct Provider {
    child: Child,
    lines: Receiver<String>,
    ports: Ports,
    /// Where its keys are.
    folder: Folder,
}

/// Where it, its pages and its gateway listen.
#[derive(Clone, Copy)]
struct Ports {
    issuer: SocketAddr,
    pages: SocketAddr,
    gateway: SocketAddr,
}

/// A browser of a user: a session of its own at the provider.
pub struct Browser<'p> {
    provider: &'p Provider,
    cookies: BrowserCookies,
    user: String,
}

/// What a client has received for a login.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// For the gateway: a JWT (RFC 9068), or opaque.
    pub access: String,
    /// The ID token, for the client itself.
    pub id: String,
}

/// A back-channel logout, as the provider has seen it.
#[derive(Debug, PartialEq, Eq)]
pub struct Logout {
    /// The status of the answer, or why there was none.
    pub outcome: String,
    /// From the request to the head of the answer, in milliseconds.
    pub milliseconds: u64,
}

impl Tokens {
    /// Returns the claims of the access token, unverified.
    pub fn claims(&self) -> Value {
        claims_of(&self.access)
    }
}

/// Returns the claims of a token, unverified.
///
/// # Panics
/// Panics if it is no JWT.
pub fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT has three parts");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("claims")
}

impl Provider {
    /// Starts it on free ports, with one key, `a`; `scripts/need provider` installs it. Its logouts
    /// are sent to the gateway that [`Self::gateway`] starts.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start() -> Self {
        Self::start_by(&node)
    }

    /// Starts it as [`Self::start`] does. Its access tokens are opaque: the gateway has to ask
    /// about them.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start_opaque() -> Self {
        Self::start_by(&|folder| {
            let mut command = node(folder);
            command.env("OPAQUE", "yes");
            command
        })
    }

    /// Starts it by `scripts/provider`, as a reader of the documents does. It has a new key.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start_script() -> Self {
        Self::start_by(&|_| Command::new(root().join("scripts/provider")))
    }

    fn start_by(program: &dyn Fn(&Folder) -> Command) -> Self {
        let folder = Folder::new();
        // Another program may take a port between its choice and its use.
        let started = (0..5).find_map(|_| {
            let [issuer, pages, gateway] = [(); 3].map(|()| unused_address());
            let ports = Ports { issuer, pages, gateway };
            Some((run(program(&folder), ports)?, ports))
        });
        let ((child, lines), ports) = started.expect("the provider starts");
        Self { child, lines, ports, folder }
    }

    /// Stops it. Nothing listens on its port until [`Self::restart`].
    pub fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it anew with these keys, which are created at their first use; the first one signs.
    /// All its sessions are gone.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn restart(&mut self, keys: &[&str]) {
        self.stop();
        let started = run(node_with(&self.folder, keys), self.ports);
        (self.child, self.lines) = started.expect("its ports are still free");
    }

    /// Creates a key for [`Self::restart`] with this `kid`; other keys have their thumbprints.
    ///
    /// # Panics
    /// Panics if there is no `node`.
    pub fn create_key(&self, name: &str, kid: &str) {
        const CREATE: &str = r#"
            const { privateKey } = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 });
            console.log(JSON.stringify({ ...privateKey.export({ format: "jwk" }), kid: process.argv[1] }));
        "#;
        let output = Command::new("node").args(["-e", CREATE, kid]).output();
        let output = output.expect("scripts/need node installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(key_file(&self.folder, name), output.stdout).expect("a temporary file");
    }

    /// Starts a gateway for this provider with these settings.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn gateway(&self, settings: &[(&str, &str)]) -> Gateway {
        let port = self.ports.gateway.port().to_string();
        let mut all = vec![("INBOUND_PORT", &*port)];
        all.extend_from_slice(settings);
        Gateway::start_bare(&all)
    }

    /// Starts a gateway whose only source of tokens is this provider, as the documents say, and
    /// with these further settings.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn only_gateway(&self, settings: &[(&str, &str)]) -> Gateway {
        let issuer = self.issuer();
        let mut all = vec![
            ("OIDC_ISSUER", &*issuer),
            ("OIDC_AUDIENCE", "events"),
            ("OIDC_CLIENT_ID", "gateway"),
            ("OIDC_SESSION_FIELD", "/sid"),
        ];
        all.extend_from_slice(settings);
        self.gateway(&all)
    }

    /// Returns the text of `iss` in its tokens.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.ports.issuer)
    }

    /// Returns the URL of the page.
    pub fn page(&self) -> String {
        format!("http://localhost:{}/", self.ports.pages.port())
    }

    /// Returns where the gateway of [`Self::gateway`] listens.
    pub fn gateway_address(&self) -> SocketAddr {
        self.ports.gateway
    }

    /// Returns the key set that it serves.
    pub fn keys(&self) -> Value {
        Request::get("/jwks").send(self.ports.issuer).json()
    }

    /// Revokes an access token of the client `gateway` (RFC 7009).
    ///
    /// # Panics
    /// Panics if the provider does not do it.
    pub fn revoke(&self, token: &str) {
        let fields = [("token", token), ("client_id", "gateway")];
        let answer = form("/token/revocation", &fields).send(self.ports.issuer);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Opens a browser in which this user logs in when the first client asks for tokens.
    pub fn browser_of(&self, user: &str) -> Browser<'_> {
        Browser { provider: self, cookies: BrowserCookies::default(), user: user.to_owned() }
    }

    /// Waits for the next back-channel logout.
    ///
    /// # Panics
    /// Panics if none was sent.
    pub fn next_logout(&self) -> Logout {
        let line = eventually("a logout", || self.lines.try_recv().ok());
        let words: Vec<_> = line.split(' ').collect();
        let ["POST", _, outcome, "in", milliseconds, "ms"] = words[..] else {
            panic!("another line: {line}")
        };
        Logout { outcome: outcome.to_owned(), milliseconds: milliseconds.parse().expect("a number") }
    }
}

impl Browser<'_> {
    /// Returns tokens of a client of the provider (`gateway`, `gateway-without-sid`), by
    /// authorization code with PKCE (RFC 7636).
    ///
    /// # Panics
    /// Panics if there are none.
    pub fn tokens(&mut self, client: &str) -> Tokens {
        let target = self.authorize(client);
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("redirect_uri", &*self.provider.page()),
            ("code", parameter(&target, "code")),
            ("code_verifier", VERIFIER),
        ];
        let answer = self.cookies.send(form("/token", &fields), self.provider.ports.issuer);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let token =
            |name: &str| answer.json()[name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned();
        Tokens { access: token("access_token"), id: token("id_token") }
    }

    /// Asks for a code, and logs in if the provider wants that. Returns where the provider sends
    /// the browser then.
    fn authorize(&mut self, client: &str) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
        let target = format!(
            "/auth?response_type=code&client_id={client}&redirect_uri={}&scope=openid&state=s\
             &code_challenge={challenge}&code_challenge_method=S256",
            encoded(&self.provider.page())
        );
        let address = self.provider.ports.issuer;
        let mut answer = self.cookies.send(Request::get(target), address);
        if redirect(&answer).starts_with("/login/") {
            let named = self.cookies.send(form(redirect(&answer), &[("name", &self.user)]), address);
            answer = self.cookies.send(Request::get(redirect(&named)), address);
        }
        redirect(&answer).to_owned()
    }

    /// Logs out of the provider. When this returns, it has sent its logouts to the gateway: one for
    /// each client that this browser has tokens of.
    ///
    /// # Panics
    /// Panics if the provider does not do it.
    pub fn log_out(mut self) {
        let address = self.provider.ports.issuer;
        let asked = self.cookies.send(Request::get("/session/end"), address).text();
        let (_, secret) = asked.split_once(r#"name="xsrf" value=""#).expect("a form");
        let (secret, _) = secret.split_once('"').expect("an end");
        let fields = [("xsrf", secret), ("logout", "yes")];
        let answer = self.cookies.send(form("/session/end/confirm", &fields), address);
        assert!(redirect(&answer).starts_with("/session/end/success"), "{}", answer.shown());
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The secret of PKCE: of the shortest length that is allowed (RFC 7636, section 4.1).
const VERIFIER: &str = "a-verifier-of-the-tests-with-43-characters-";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of the sources")
}

fn node(folder: &Folder) -> Command {
    node_with(folder, &["a"])
}

/// Returns the command that starts the provider with these keys.
fn node_with(folder: &Folder, keys: &[&str]) -> Command {
    let example = root().join("examples/identity");
    assert!(example.join("node_modules/oidc-provider").exists(), "scripts/need provider installs it");
    let keys: Vec<_> = keys.iter().map(|name| key_file(folder, name)).collect();
    let mut command = Command::new("node");
    command.arg(example.join("provider.mjs")).env("KEYS", keys.join(","));
    command
}

fn key_file(folder: &Folder, name: &str) -> String {
    folder.join(&format!("{name}.json"))
}

/// Starts the provider. Returns it with its further lines; `None` if it exits before it listens.
fn run(mut command: Command, ports: Ports) -> Option<(Child, Receiver<String>)> {
    let Ports { issuer, pages, gateway } = ports;
    command.env("ISSUER_PORT", issuer.port().to_string()).env("PAGES_PORT", pages.port().to_string());
    command.env("GATEWAY", format!("http://{gateway}")).stdin(Stdio::null());
    // It warns of its version, and of its sessions in memory.
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("scripts/need node installs it");
    let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        // It reads on, so that the program never waits.
        for line in stdout.lines().map_while(Result::ok) {
            drop(sender.send(line));
        }
    });
    // The channel is closed if the program exits.
    match lines.recv_timeout(DEADLINE) {
        Ok(line) if line.contains("Ctrl-C") => Some((child, lines)),
        _ => {
            drop(child.kill());
            drop(child.wait());
            None
        }
    }
}
