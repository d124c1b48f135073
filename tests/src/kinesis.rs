//! Stand-ins for Amazon Kinesis and DynamoDB: kinesis-local and dynalite.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::folder::Folder;
use crate::program::Program;
use crate::upstream::unused_address;

/// Both services; killed when they are dropped.
pub struct Kinesis {
    _kinesis: Program,
    dynamodb: Option<Program>,
    kinesis_address: SocketAddr,
    dynamodb_address: SocketAddr,
    folder: Folder,
}

impl Kinesis {
    /// Starts both on free ports, with their files in a temporary folder; `scripts/need kinesis`
    /// installs them. They take any credentials.
    ///
    /// # Panics
    /// Panics if they do not start.
    pub fn start() -> Self {
        // Another program may take a port between its choice and its use.
        (0..5).find_map(|_| Self::try_start()).expect("kinesis-local and dynalite start")
    }

    fn try_start() -> Option<Self> {
        let folder = Folder::new();
        let (plain, tls) = (unused_address(), unused_address());
        let program = installed("kinesis-local");
        // It looks for its certificate in the present folder.
        let mut command = Command::new("node");
        command.arg("main.js").current_dir(program.parent().expect("it is in a folder"));
        for action in ["CREATE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS", "REGISTER_STREAM_CONSUMER"] {
            command.env(format!("{action}_DURATION"), "10ms");
        }
        command.env("KINESIS_MOCK_PLAIN_PORT", plain.port().to_string());
        command.env("KINESIS_MOCK_TLS_PORT", tls.port().to_string());
        command.env("LOG_LEVEL", "ERROR").stdout(Stdio::null()).stderr(Stdio::null());
        let kinesis = Program::start(&mut command, plain)?;
        let dynamodb_address = unused_address();
        let dynamodb = Some(dynalite(dynamodb_address, &folder)?);
        Some(Self { _kinesis: kinesis, dynamodb, kinesis_address: plain, dynamodb_address, folder })
    }

    /// Returns the URL of Kinesis.
    pub fn url(&self) -> String {
        format!("http://{}", self.kinesis_address)
    }

    /// Returns the URL of DynamoDB.
    pub fn dynamodb_url(&self) -> String {
        format!("http://{}", self.dynamodb_address)
    }

    /// Kills DynamoDB.
    pub fn kill_dynamodb(&mut self) {
        self.dynamodb = None;
    }

    /// Starts DynamoDB again, on the same port and with the same tables.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn restart_dynamodb(&mut self) {
        self.kill_dynamodb();
        self.dynamodb = dynalite(self.dynamodb_address, &self.folder);
        assert!(self.dynamodb.is_some(), "the port is still free");
    }
}

fn dynalite(address: SocketAddr, folder: &Folder) -> Option<Program> {
    let mut command = Command::new("node");
    command.arg(installed("dynalite")).args(["--host", &address.ip().to_string()]);
    command.args(["--port", &address.port().to_string(), "--path", &folder.join("tables")]);
    command.args(["--createTableMs", "5"]).stdout(Stdio::null()).stderr(Stdio::null());
    Program::start(&mut command, address)
}

fn installed(package: &str) -> PathBuf {
    let main = if package == "dynalite" { "cli.js" } else { "main.js" };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kinesis/node_modules");
    let program = folder.join(package).join(main);
    assert!(program.exists(), "scripts/need kinesis installs it");
    program
}
