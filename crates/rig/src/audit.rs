//! `rig audit verify`: checks that the audit log is what the gateway wrote.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::settings::Given;

/// Returns the command line.
pub(crate) fn command() -> Command {
    Command::new("audit").about("Looks after the audit log").subcommand_required(true).subcommand(
        Command::new("verify")
            .about("Checks that no line of the audit log was changed, removed or inserted: 0 whole, 1 not")
            .arg(
                Arg::new("file")
                    .value_name("FILE")
                    .help("Audit logs, in their order; not given: audit.log in DATA_DIR")
                    .action(ArgAction::Append)
                    .value_parser(value_parser!(PathBuf)),
            ),
    )
}

/// Returns the files to verify; empty for the one of the settings.
pub(crate) fn files(matches: &ArgMatches) -> Vec<PathBuf> {
    let verify = matches.subcommand_matches("verify");
    verify.and_then(|verify| verify.get_many("file")).into_iter().flatten().cloned().collect()
}

/// Verifies files that continue each other, and prints what was found.
///
/// # Errors
/// Fails with the first fault, and its file.
pub(crate) fn verify(files: &[PathBuf], given: &Given) -> anyhow::Result<()> {
    let folder = PathBuf::from(given.value_of("DATA_DIR"));
    let own = [folder.join("audit.log")];
    let files = if files.is_empty() { &own[..] } else { files };
    let beside = files.last().and_then(|last| last.parent()).unwrap_or(Path::new("."));
    let known = journal::committed_audit_head(beside);
    let told = match known {
        Some(_) => "as the revocation log beside it knows it",
        None => {
            "whether lines are missing at its end cannot be known: no revocation log beside it, or it is in use"
        }
    };
    let mut before: Option<journal::Verified> = None;
    for (n, file) in files.iter().enumerate() {
        let goes_on = n + 1 < files.len();
        let verified = verify_one(file, known.as_ref(), goes_on, before.as_ref());
        let verified = verified.with_context(|| file.display().to_string())?;
        let (lines, first, last) = (verified.lines, verified.first, verified.last());
        let told = if goes_on { "goes on in the next" } else { told };
        writeln!(
            std::io::stdout(),
            "{}: {lines} lines, {first} to {last}, head {}; {told}",
            file.display(),
            verified.head
        )?;
        before = Some(verified);
    }
    Ok(())
}

fn verify_one(
    file: &Path,
    known: Option<&journal::ChainHead>,
    goes_on: bool,
    before: Option<&journal::Verified>,
) -> anyhow::Result<journal::Verified> {
    anyhow::ensure!(std::fs::metadata(file)?.is_file(), "not a file");
    let verified = journal::verify(File::open(file)?, known, goes_on)?;
    if let Some(before) = before {
        anyhow::ensure!(verified.follows(before), "does not follow the file before it");
    }
    Ok(verified)
}
