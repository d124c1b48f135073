//! A real nginx as the service behind the gateway.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::folder::Folder;
use crate::program::Program;
use crate::upstream::unused_address;

/// A running nginx that serves a folder and accepts files by `PUT`; stopped when it is dropped.
pub struct Nginx {
    _program: Program,
    address: SocketAddr,
    folder: Folder,
}

impl Nginx {
    /// Starts it on a free port; `scripts/need nginx` installs it.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start() -> Self {
        Self::start_with("root www; location / { dav_methods PUT; }")
    }

    /// Starts it with these directives of the server (http://nginx.org/en/docs/dirindex.html).
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start_with(directives: &str) -> Self {
        Self::start_on("", directives)
    }

    /// Starts it with these directives, over HTTP/2 in clear text by prior knowledge.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start_http2(directives: &str) -> Self {
        Self::start_on("http2", directives)
    }

    fn start_on(protocol: &str, directives: &str) -> Self {
        let folder = Folder::new();
        std::fs::create_dir(folder.path().join("www")).expect("a folder in a folder");
        // Another program may take the port between its choice and its use.
        for _ in 0..5 {
            let address = unused_address();
            if let Some(program) = Self::try_start(&folder, protocol, directives, address) {
                return Self { _program: program, address, folder };
            }
        }
        panic!(
            "nginx did not start: {}",
            std::fs::read_to_string(folder.join("error.log")).unwrap_or_default()
        );
    }

    fn try_start(folder: &Folder, protocol: &str, directives: &str, address: SocketAddr) -> Option<Program> {
        let config = folder.join("nginx.conf");
        let text = CONFIG
            .replace("ADDRESS", &address.to_string())
            .replace("PROTOCOL", protocol)
            .replace("DIRECTIVES", directives);
        std::fs::write(&config, text).expect("a file in a folder");
        let mut command = Command::new("nginx");
        command.args(["-p", &folder.join(""), "-c", &config, "-e", &folder.join("error.log")]);
        Program::start(command.stderr(Stdio::null()), address)
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Creates a sparse file of this many zero bytes. Its path in a URL is its name.
    ///
    /// # Panics
    /// Panics if there is no room for its name.
    pub fn serve(&self, name: &str, bytes: u64) {
        let file = std::fs::File::create(self.folder.path().join("www").join(name)).expect("a file");
        file.set_len(bytes).expect("a sparse file");
    }

    /// Returns the size of a file, if it exists.
    pub fn size(&self, name: &str) -> Option<u64> {
        std::fs::metadata(self.folder.path().join("www").join(name)).ok().map(|file| file.len())
    }
}

/// One process, no body limit.
const CONFIG: &str = "
daemon off;
master_process off;
pid nginx.pid;
events { worker_connections 8192; }
http {
    access_log off;
    client_max_body_size 0;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    send_timeout 120s;
    server {
        listen ADDRESS backlog=4096 PROTOCOL;
        DIRECTIVES
    }
}
";
