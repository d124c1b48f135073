//! `rig sessions`, `revoke` and others: the commands that an operator sends to a running gateway,
//! over its internal API; and `rig cluster`, which speaks to NATS.
//!
//! | file | contents |
//! | --- | --- |
//! | `commands` | each command: its arguments, its request, its answer as text |
//! | `cluster` | `rig cluster` |
//! | `operation` | what a command consists of |
//! | `line` | the values of a command line, and its mistakes |
//! | `call` | a request |
//! | `api` | HTTP |
//! | `trouble` | the errors, each with its exit code |
//! | `show`, `table` | values of the API as text |
//! | `text` | characters that are unsafe in a terminal |

mod api;
mod call;
pub(crate) mod cluster;
mod commands;
mod line;
mod operation;
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
pub(crate) use commands::commands;
use line::CommandLine;
use operation::GatewayCommand;
pub(crate) use trouble::Trouble;

/// One of the commands, as given on the command line.
#[derive(Debug)]
pub(crate) struct OperatorCommand {
    operation: &'static GatewayCommand,
    matches: ArgMatches,
}

impl OperatorCommand {
    /// Returns the arguments of a command; `None` if it is not one of these.
    pub(crate) fn from_matches(command: &str, matches: &ArgMatches) -> Option<Self> {
        let (command, matches) = match matches.subcommand() {
            Some(below) if command == "apis" => below,
            _ => (command, matches),
        };
        Some(Self { operation: commands::find(command)?, matches: matches.clone() })
    }

    /// Sends the request, and prints the answer.
    ///
    /// # Errors
    /// Fails if the command line or the settings file is wrong, or if the gateway cannot be reached
    /// or refuses.
    pub(crate) fn run(&self, given: Given, environment: &Environment) -> Result<(), ExitError> {
        let GatewayCommand { call, compares, .. } = *self.operation;
        let mut line = CommandLine::new(&self.matches, environment);
        let call = call(&mut line);
        let api = InternalPort::new(&mut line, given.value_of("API_TOKEN"));
        let json = line.switch("json");
        let mut mistakes = given.into_mistakes();
        mistakes.append(&mut line.mistakes);
        Mistakes(mistakes).into_result()?;
        let (Some(call), Some(api)) = (call, api) else {
            return Err(anyhow::anyhow!("the command line cannot be read").into());
        };
        let call = call.with_contents()?;
        let failed = |trouble: Trouble| if compares { trouble.of_comparing() } else { trouble };
        let asked = Instant::now();
        let answer = api.send(&call).map_err(failed)?;
        let took = asked.elapsed();
        if json {
            print(&answer.json_text())?;
        }
        if let Some(trouble) = Trouble::of(&answer, &api) {
            return Err(failed(trouble).into());
        }
        if !json {
            print(&(call.show)(&answer, took))?;
        }
        let differs = || Trouble::of_comparison(&answer).filter(|_| compares);
        let troubles = Trouble::of_dry_run(&answer).or_else(|| Trouble::of_pending(&answer));
        troubles.or_else(differs).map_or(Ok(()), |trouble| Err(trouble.into()))
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
    /// Prints the error. Returns its exit code.
    pub(crate) fn told(&self) -> u8 {
        print_error(&format!("{}\n", self.text));
        self.code
    }
}
