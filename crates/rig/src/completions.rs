//! `rig completions`: prints the completion script for a shell.

use std::ffi::OsString;

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgAction, Command};
use clap_complete::{Shell, generate};

use crate::cli;
use crate::settings::{Given, Mistake, Mistakes, Source};

/// The supported shells, in the order in which errors list them.
const SHELLS: [(&str, Shell); 3] = [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

/// Returns the command line.
pub(crate) fn command() -> Command {
    Command::new("completions").about("Prints completions for a shell: bash, zsh or fish").arg(
        Arg::new("shell")
            .value_name("SHELL")
            .help("bash, zsh or fish; for bash: source <(rig completions bash)")
            .action(ArgAction::Append)
            .value_parser(OsStringValueParser::new()),
    )
}

/// Returns the script for a shell.
///
/// # Errors
/// Fails if the shell is not supported, with all other mistakes of the command line.
pub(crate) fn script(shells: &[OsString], given: Given) -> Result<Vec<u8>, Mistakes> {
    let named = match shells {
        [name] => SHELLS.iter().find(|(known, _)| name == known),
        _ => None,
    };
    let mut mistakes = given.into_mistakes();
    if named.is_none() {
        let (name, reason) = ("SHELL".to_owned(), "expected bash, zsh or fish".to_owned());
        mistakes.push(Mistake { source: Source::Flag, name, value: None, reason });
    }
    Mistakes(mistakes).into_result()?;
    let mut script = Vec::new();
    if let Some((_, shell)) = named {
        generate(*shell, &mut cli::command(), "rig", &mut script);
    }
    Ok(script)
}
