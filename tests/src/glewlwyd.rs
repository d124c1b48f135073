//! Another real OpenID provider: Glewlwyd, of which Debian has a package.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::browser_cookies::{BrowserCookies, form, parameter, redirect};
use crate::client::{Request, Response};
use crate::encoded;
use crate::folder::Folder;
use crate::program::Program;
use crate::provider::{Tokens, claims_of};
use crate::upstream::unused_address;

/// The tables that its package creates.
const TABLES: &str = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3";
const PASSWORD: &str = "only-for-tests";
const REDIRECT: &str = "http://127.0.0.1:9/";
const CLIENT: &str = "gateway";

/// A running Glewlwyd with the client `gateway` and a database of its own; killed when it is
/// dropped.
///
/// Its ID tokens have a `sid`. Its access tokens have none, and their `aud` is the scope, `openid`.
/// Its logout tokens have a `sid` and no `exp`, and are of the type `JWT`. It signs with ES256.
pub struct Glewlwyd {
    _program: Program,
    address: SocketAddr,
    gateway: SocketAddr,
    _folder: Folder,
}

/// A browser that is logged in.
pub struct GlewlwydLogin<'p> {
    provider: &'p Glewlwyd,
    cookies: BrowserCookies,
}

impl Glewlwyd {
    /// Starts it on a free port with these users; `scripts/need glewlwyd` installs it. Its logouts
    /// are sent to [`Self::gateway_address`], for the issuer `gl`.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start(users: &[&str]) -> Self {
        // Another program may take a port between its choice and its use.
        let provider = (0..5).find_map(|_| Self::try_start()).expect("Glewlwyd starts");
        provider.set_up(users);
        provider
    }

    fn try_start() -> Option<Self> {
        let folder = Folder::new();
        let [address, gateway] = [(); 2].map(|()| unused_address());
        let database = folder.join("database");
        let tables = std::fs::File::open(TABLES).expect("scripts/need glewlwyd installs it");
        let status = Command::new("sqlite3").arg(&database).stdin(tables).status();
        assert!(status.expect("sqlite3 is installed with it").success());
        let config = format!(
            r#"port = {port}
bind_address = "127.0.0.1"
external_url = "http://{address}"
login_url = "login.html"
api_prefix = "api"
log_mode = "console"
log_level = "NONE"
session_key = "session"
admin_session_authentication = "cookie"
profile_session_authentication = "cookie"
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "/usr/lib/glewlwyd/user"
client_module_path = "/usr/lib/glewlwyd/client"
user_auth_scheme_module_path = "/usr/lib/glewlwyd/scheme"
plugin_module_path = "/usr/lib/glewlwyd/plugin"
hash_algorithm = "SHA512"
database = {{ type = "sqlite3"
path = "{database}" }};
"#,
            port = address.port(),
        );
        std::fs::write(folder.join("config"), config).expect("a temporary file");
        let mut command = Command::new("glewlwyd");
        command.args(["--config-file", &folder.join("config")]).stdout(Stdio::null()).stderr(Stdio::null());
        let program = Program::start(&mut command, address)?;
        Some(Self { _program: program, address, gateway, _folder: folder })
    }

    /// Creates the plugin of OpenID Connect, the client and the users.
    fn set_up(&self, users: &[&str]) {
        let mut admin = BrowserCookies::default();
        // The administrator of the package's tables.
        let name = json!({ "username": "admin", "password": "password" });
        self.call(&mut admin, "POST", "/auth/", &name);
        let key = KeyPair::generate().expect("a key");
        let plugin = json!({
            "module": "oidc", "name": "oidc", "display_name": "oidc", "enabled": true,
            "parameters": {
                "iss": self.issuer(), "jwt-type": "ecdsa", "jwt-key-size": "256", "jwks-show": true,
                "key": key.serialize_pem(), "cert": key.public_key_pem(),
                "code-duration": 600, "refresh-token-duration": 3600, "access-token-duration": 3600,
                "allow-non-oidc": true, "auth-type-code-enabled": true, "auth-type-token-enabled": false,
                "auth-type-implicit-enabled": false, "auth-type-password-enabled": false,
                "auth-type-client-enabled": false, "auth-type-refresh-enabled": true,
                "session-management-allowed": true, "session-cookie-name": "sid",
                "session-cookie-expiration": 3600, "front-channel-logout-allowed": false,
                "back-channel-logout-allowed": true,
            },
        });
        self.call(&mut admin, "POST", "/mod/plugin/", &plugin);
        let client = json!({
            "client_id": CLIENT, "name": CLIENT, "enabled": true, "confidential": false,
            "redirect_uri": [REDIRECT], "authorization_type": ["code"],
            "backchannel_logout_uri": format!("http://{}/_rig/v1/issuers/gl/logout", self.gateway),
            "backchannel_logout_session_required": "1",
        });
        self.call(&mut admin, "POST", "/client/", &client);
        for user in users {
            let user = json!({
                "username": user, "password": PASSWORD, "enabled": true, "scope": ["openid"],
            });
            self.call(&mut admin, "POST", "/user/", &user);
        }
    }

    fn call(&self, cookies: &mut BrowserCookies, method: &str, path: &str, body: &Value) -> Response {
        let request = Request::new(method, format!("/api{path}")).header("Content-Type", "application/json");
        let answer = cookies.send(request.body(body.to_string()), self.address);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        answer
    }

    /// Returns the text of `iss` in its tokens.
    pub fn issuer(&self) -> String {
        format!("http://{}/api/oidc", self.address)
    }

    /// Returns where the gateway that gets its logouts has to listen.
    pub fn gateway_address(&self) -> SocketAddr {
        self.gateway
    }

    /// Logs a user in, in a browser of their own.
    ///
    /// # Panics
    /// Panics if there is no such user.
    pub fn log_in(&self, user: &str) -> GlewlwydLogin<'_> {
        let mut cookies = BrowserCookies::default();
        let name = json!({ "username": user, "password": PASSWORD });
        self.call(&mut cookies, "POST", "/auth/", &name);
        self.call(&mut cookies, "PUT", &format!("/auth/grant/{CLIENT}"), &json!({ "scope": "openid" }));
        GlewlwydLogin { provider: self, cookies }
    }
}

impl GlewlwydLogin<'_> {
    /// Returns tokens of the client, by authorization code.
    ///
    /// # Panics
    /// Panics if there are none.
    pub fn tokens(&mut self) -> Tokens {
        let target = format!(
            "/api/oidc/auth?g_continue&response_type=code&client_id={CLIENT}&redirect_uri={}&scope=openid\
             &state=s&nonce=a-nonce-of-tests",
            encoded(REDIRECT)
        );
        let answer = self.cookies.send(Request::get(target), self.provider.address);
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT),
            ("redirect_uri", REDIRECT),
            ("code", parameter(redirect(&answer), "code")),
        ];
        let answer = self.cookies.send(form("/api/oidc/token", &fields), self.provider.address);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let token =
            |name: &str| answer.json()[name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned();
        Tokens { access: token("access_token"), id: token("id_token") }
    }

    /// Logs out of the provider. It sends its logouts in the background.
    ///
    /// # Panics
    /// Panics if the provider does not do it.
    pub fn log_out(mut self, tokens: &Tokens) {
        let sid = claims_of(&tokens.id)["sid"].as_str().expect("a session of the provider").to_owned();
        let request = Request::new("DELETE", format!("/api/oidc/session/{sid}/"));
        let answer = self.cookies.send(request, self.provider.address);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
