//! Commands for a running gateway, and the arguments they share.

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgAction, Command};

use super::call::Call;
use super::line::CommandLine;

/// Default address of the internal API: on this host.
pub(super) const DEFAULT_API: &str = "http://127.0.0.1:4010";

/// The variable that sets another address.
pub(super) const API_VARIABLE: &str = "RIG_API";

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 the gateway cannot be reached, or failed; 2 the command line or a value is wrong; \
3 there is no such session or revocation; 4 refused (with --dry-run: would be); 5 the API_TOKEN is missing or wrong; \
6 done on the node that was asked, but not confirmed by every node of the cluster.

The API_TOKEN is read from the environment or the settings file.";

const EXIT_CODES_OF_DIFF: &str = "\
Exit codes: 0 nothing differs; 1 something does; 2 the command line or the file is wrong, or the gateway cannot be \
reached, or failed; 5 the API_TOKEN is missing or wrong.

The API_TOKEN is read from the environment or the settings file.";

/// A command for a running gateway.
#[derive(Debug)]
pub(super) struct GatewayCommand {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// The line of the help that describes it.
    pub(super) about: &'static str,
    /// The flags and values of this command alone.
    pub(super) arguments: fn() -> Vec<Arg>,
    /// Returns the request of a command line; `None` if the line has mistakes.
    pub(super) call: fn(&mut CommandLine<'_>) -> Option<Call>,
    /// Whether its exit codes are those of comparing programs: 1 if there are differences, and 2 if
    /// the comparison failed.
    pub(super) compares: bool,
}

impl GatewayCommand {
    /// Returns the command line.
    pub(super) fn command(&self) -> Command {
        let api = format!("Where the internal API is [default: {DEFAULT_API}] [env: {API_VARIABLE}]");
        Command::new(self.name)
            .about(self.about)
            .after_help(if self.compares { EXIT_CODES_OF_DIFF } else { EXIT_CODES })
            .arg(flag("api", "URL", api).help_heading("Gateway"))
            .arg(switch("json", "Print the answer of the API as it is").help_heading("Gateway"))
            .args((self.arguments)())
    }
}

/// Returns the flags of a paginated list. `cursor` is the flag that continues it.
pub(super) fn page(cursor: &'static str, value: &'static str, help: &'static str) -> [Arg; 2] {
    [flag("limit", "N", "Entries to ask for, 1 to 1000 [default: 100]"), flag(cursor, value, help)]
}

/// Returns the flag that names who makes the request.
pub(super) fn by() -> Arg {
    flag("by", "WHO", "Who asks; the audit log keeps it [default: USER of the environment]")
}

/// Returns the flag that says how long to wait for the other nodes of a cluster.
pub(super) fn wait(default: &str) -> Arg {
    let help = format!(
        "How long to wait for the other nodes of a cluster, such as 500ms, 5s, 1m [default: {default}]"
    );
    flag("wait", "TIME", help)
}

/// Returns the flag of a dry run.
pub(super) fn dry_run(help: &'static str) -> Arg {
    switch("dry-run", help)
}

/// Returns a flag with a value. It accepts any text, any number of times: its mistakes are reported
/// together with all others.
pub(super) fn flag(id: &'static str, value: &'static str, help: impl Into<clap::builder::StyledStr>) -> Arg {
    let arg = Arg::new(id).long(id).value_name(value).help(help.into());
    arg.action(ArgAction::Append).value_parser(OsStringValueParser::new())
}

pub(super) fn switch(id: &'static str, help: &'static str) -> Arg {
    Arg::new(id).long(id).action(ArgAction::SetTrue).overrides_with(id).help(help)
}

pub(super) fn value(id: &'static str, name: &'static str, help: &'static str) -> Arg {
    Arg::new(id)
        .value_name(name)
        .help(help)
        .action(ArgAction::Append)
        .value_parser(OsStringValueParser::new())
}
