//! `rig sessions`, `revoke` and their like: what an operator asks a running gateway for, over its
//! internal API.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `commands` | the command lines |
//! | `line` | what was written on one, and all that is wrong with it |
//! | `call` | the request that it stands for |
//! | `apis` | definitions of APIs, from a file and to one |
//! | `api` | HTTP |
//! | `trouble` | what can go wrong, and the exit code of each |
//! | `show`, `table` | answers for people |
//! | `text` | letters that a terminal must not see |

mod api;
mod apis;
mod call;
mod commands;
mod line;
mod show;
mod table;
mod text;
mod trouble;

use std::io::Write;
use std::time::Instant;

use clap::ArgMatches;

use telemetry::print_error;

use crate::ExitError;
use crate::settings::{Environment, Given, Mistakes};

use api::InternalPort;
use call::Call;
pub(crate) use commands::{NAMES, commands};
use line::CommandLine;
pub(crate) use trouble::Trouble;

/// One of the commands, as it was written.
#[derive(Debug)]
pub(crate) struct OperatorCommand {
    command: &'static str,
    matches: ArgMatches,
}

impl OperatorCommand {
    /// What was written behind a command of ours; `None`: it is not ours.
    pub(crate) fn from_matches(command: &str, matches: &ArgMatches) -> Option<Self> {
        let named = |command| NAMES.into_iter().find(|name| *name == command);
        let (command, matches) = match matches.subcommand() {
            Some((within, matches)) if command == "apis" => (named(within)?, matches),
            _ => (named(command)?, matches),
        };
        Some(Self { command, matches: matches.clone() })
    }

    /// Asks the gateway, and prints what it answers.
    ///
    /// # Errors
    /// The line or the settings file is wrong, the gateway cannot be reached, or it refuses.
    pub(crate) fn run(&self, given: Given, environment: &Environment) -> Result<(), ExitError> {
        let mut line = CommandLine::new(&self.matches, environment);
        let call = Call::new(self.command, &mut line);
        let api = InternalPort::new(&mut line, given.value_of("API_TOKEN"));
        let json = line.switch("json");
        let mut mistakes = given.into_mistakes();
        mistakes.append(&mut line.mistakes);
        Mistakes(mistakes).into_result()?;
        let (Some(call), Some(api)) = (call, api) else {
            return Err(anyhow::anyhow!("the command line cannot be read").into());
        };
        let call = call.with_contents()?;
        let asked = Instant::now();
        let answer = api.send(&call).map_err(|trouble| trouble.of_command(&call.what))?;
        let took = asked.elapsed();
        if json {
            print(&answer.json_text())?;
        }
        if let Some(trouble) = Trouble::of(&answer, &api) {
            return Err(trouble.of_command(&call.what).into());
        }
        if !json {
            print(&show::answer(&call, &answer, took))?;
        }
        let trouble = Trouble::of_dry_run(&answer).or_else(|| Trouble::of_comparison(&call.what, &answer));
        trouble.map_or(Ok(()), |trouble| Err(trouble.into()))
    }
}

fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

impl From<Trouble> for ExitError {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Trouble {
    /// Says what went wrong, and returns the exit code for it.
    pub(crate) fn told(&self) -> u8 {
        print_error(&format!("{}\n", self.text));
        self.code
    }
}
