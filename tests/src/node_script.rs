//! Stories in JavaScript, in folders of `tests`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Returns the command of a script in a folder of `tests`, whose packages `scripts/need` installs.
///
/// # Panics
/// Panics if they are not installed.
pub fn node_script(folder: &str, script: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let packages = folder.join("node_modules");
    assert!(packages.exists(), "npm ci --prefix {}", folder.display());
    let mut command = Command::new("node");
    command.arg(folder.join(script)).stdin(Stdio::null());
    command
}

/// Runs a story to its end, and returns what it prints.
///
/// # Panics
/// Panics if it fails.
pub fn run_story(command: &mut Command) -> String {
    let output = command.output().expect("scripts/need installs it");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{lines}\n{}", String::from_utf8_lossy(&output.stderr));
    lines
}

/// A story that runs beside the test, which reads its lines; killed when it is dropped.
pub struct Story {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Story {
    /// Starts it.
    ///
    /// # Panics
    /// Panics if it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("scripts/need installs it");
        let stdout = std::io::BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(stdout).map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        Self { child, lines }
    }

    /// Returns its next line.
    ///
    /// # Panics
    /// Panics at the deadline.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(2 * crate::wire::DEADLINE).expect("the story prints a line")
    }

    /// Skips its lines up to one with this text.
    ///
    /// # Panics
    /// Panics at the deadline.
    pub fn until(&self, text: &str) -> String {
        let mut lines = Vec::new();
        loop {
            let line = self.lines.recv_timeout(2 * crate::wire::DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("{text:?} is missing: {lines:#?}"));
            if line.contains(text) {
                return line;
            }
            lines.push(line);
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
