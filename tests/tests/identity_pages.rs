//! The settings in docs/identity.md and in the page of each provider are accepted by `rig check`.

use std::path::{Path, PathBuf};
use std::process::Command;

use rig_tests::*;

/// Returns the blocks of TOML of a page, as one file.
fn settings(page: &Path) -> String {
    let text = std::fs::read_to_string(page).expect("a page");
    let blocks = text.split("```toml\n").skip(1).map(|block| block.split_once("```").expect("an end").0);
    blocks.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_settings_of_the_pages_are_valid() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let entries = std::fs::read_dir(docs.join("identity")).expect("a folder");
    let mut pages: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    pages.push(docs.join("identity.md"));
    let folder = Folder::new();
    let secrets = folder.join("secrets");
    std::fs::create_dir(&secrets).expect("a folder");
    let mut checked = 0;
    for page in pages {
        let settings = settings(&page);
        let (file, name) = (folder.join("rig.toml"), page.display());
        // The files that the settings name.
        for secret in settings.split("/run/secrets/").skip(1) {
            let secret = secret.split('"').next().expect("a name");
            std::fs::write(Path::new(&secrets).join(secret), "a-secret-of-a-test-with-32-characters")
                .expect("a file");
        }
        std::fs::write(&file, settings.replace("/run/secrets", &secrets)).expect("a file");
        let output = Command::new(Gateway::binary()).args(["check", "--config", &file]).env_clear().output();
        let output = output.expect("the gateway runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}:\n{settings}\n{said}");
        checked += settings.matches("[[issuers]]").count();
    }
    assert!(checked >= 15, "only {checked} providers");
}
