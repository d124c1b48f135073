//! A real nginx as the service behind the gateway.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::folder::Folder;
use crate::wire::DEADLINE;

/// A running nginx that serves a folder and takes files by `PUT`; ends with its variable.
pub struct Nginx {
    child: Child,
    address: SocketAddr,
    folder: Folder,
}

impl Nginx {
    /// Starts it on a free port; `scripts/need nginx` installs it.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start() -> Self {
        Self::start_with("root www; location / { dav_methods PUT; }")
    }

    /// Starts it with these directives of its server (http://nginx.org/en/docs/dirindex.html).
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start_with(directives: &str) -> Self {
        Self::start_on("", directives)
    }

    /// The same over HTTP/2 in clear, by prior knowledge.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start_http2(directives: &str) -> Self {
        Self::start_on("http2", directives)
    }

    fn start_on(protocol: &str, directives: &str) -> Self {
        let folder = Folder::new();
        std::fs::create_dir(folder.path().join("www")).expect("a folder in a folder");
        // Another program may take the port between its choice and its use.
        for _ in 0..5 {
            if let Some((child, address)) = Self::try_start(&folder, protocol, directives) {
                return Self { child, address, folder };
            }
        }
        panic!(
            "nginx did not come up: {}",
            std::fs::read_to_string(folder.join("error.log")).unwrap_or_default()
        );
    }

    fn try_start(folder: &Folder, protocol: &str, directives: &str) -> Option<(Child, SocketAddr)> {
        let address =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let config = folder.join("nginx.conf");
        let text = CONFIG
            .replace("ADDRESS", &address.to_string())
            .replace("PROTOCOL", protocol)
            .replace("DIRECTIVES", directives);
        std::fs::write(&config, text).expect("a file in a folder");
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let mut child = Command::new("nginx")
            .env("PATH", path)
            .args(["-p", &folder.join(""), "-c", &config, "-e", &folder.join("error.log")])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed: scripts/need nginx");
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline && child.try_wait().expect("the child is ours").is_none() {
            if TcpStream::connect(address).is_ok() {
                return Some((child, address));
            }
            std::thread::yield_now();
        }
        drop(child.kill());
        drop(child.wait());
        None
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A file of that many bytes, all zero, which takes no room; its path in a URL is its name.
    ///
    /// # Panics
    /// Where there is no room for its name.
    pub fn serve(&self, name: &str, bytes: u64) {
        let file = std::fs::File::create(self.folder.path().join("www").join(name)).expect("a file");
        file.set_len(bytes).expect("a sparse file");
    }

    /// The size of a file, where it is there.
    pub fn size(&self, name: &str) -> Option<u64> {
        std::fs::metadata(self.folder.path().join("www").join(name)).ok().map(|file| file.len())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
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
