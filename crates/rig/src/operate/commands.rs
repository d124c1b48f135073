//! The command lines.

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgAction, Command};

/// All commands; the last three are below `apis`.
pub(crate) const NAMES: [&str; 8] =
    ["sessions", "session", "revoke", "lift", "revocations", "export", "import", "diff"];

/// Where the internal API of a gateway on this host is.
pub(super) const DEFAULT_API: &str = "http://127.0.0.1:4010";

/// The variable for another place.
pub(super) const API_VARIABLE: &str = "RIG_API";

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 the gateway cannot be reached, or failed; 2 the command line or a value is wrong; \
3 there is no such session or revocation; 4 refused (with --dry-run: would be); 5 the API_TOKEN is missing or wrong.

The API_TOKEN is read from the environment or the settings file.";

const EXIT_CODES_OF_DIFF: &str = "\
Exit codes: 0 nothing differs; 1 something does; 2 the command line or the file is wrong, or the gateway cannot be \
reached, or failed; 5 the API_TOKEN is missing or wrong.

The API_TOKEN is read from the environment or the settings file.";

/// The commands that ask a running gateway.
pub(crate) fn commands() -> [Command; 6] {
    let page = |cursor, help| {
        [
            flag("limit", "N", "Entries to ask for, 1 to 1000 [default: 100]"),
            flag(cursor, cursor_name(cursor), help),
        ]
    };
    let by = || flag("by", "WHO", "Who asks; the audit log keeps it [default: USER of the environment]");
    let dry_run = || switch("dry-run", "Only say what it would do");
    [
        command("sessions", "Lists the sessions that have connections")
            .args(page("after", "Only sessions whose names come behind this one")),
        command("session", "Shows a session and its connections")
            .arg(value("name", "NAME", "The name of the session"))
            .args(page("after", "Only connections with a higher number than this")),
        command(
            "revoke",
            "Ends sessions: refuses their tokens for a while, and terminates their connections",
        )
        .args([
            flag("session", "NAME", "All tokens of this session"),
            flag("claim", "POINTER=VALUE", "All tokens with this claim, such as /sub=alice")
                .allow_hyphen_values(true),
            flag(
                "jwt",
                "TOKEN",
                "The session of this token, for as long as the token is good; - reads it from \
                                      standard input, where other users of the host do not see it",
            )
            .allow_hyphen_values(true),
            flag("for", "TIME", "How long, such as 30s, 10m, 2h, 7d"),
            flag("until", "INSTANT", "Until when, such as 2030-01-01T00:00:00Z"),
            flag(
                "issued-up-to",
                "INSTANT",
                "Only tokens issued up to then: now, seconds since 1970, or RFC 3339",
            ),
            switch("disconnect", "Terminate the connections only; the tokens stay good"),
            flag("reason", "TEXT", "Why; the audit log keeps it"),
            by(),
            flag("id", "ID", "Names the revocation; twice with one id is done once [default: a UUID]"),
            switch("force", "Also where it ends before the token of an open connection does"),
            dry_run(),
        ]),
        command("lift", "Takes a revocation back before its time")
            .arg(value("id", "ID", "The id of the revocation"))
            .args([by(), dry_run()]),
        command("revocations", "Lists the revocations in force, the youngest first")
            .args(page("before", "From the page before: what next says there")),
        apis(),
    ]
}

/// `rig apis` and its commands.
fn apis() -> Command {
    let file = || value("file", "FILE", "A JSON list of definitions, as of export; - reads standard input");
    let about = "Takes the definitions of APIs out of a gateway, and brings them in";
    Command::new("apis").about(about).subcommand_required(true).disable_help_subcommand(true).subcommands([
        command("export", "Prints all definitions as a JSON list, such as PROXY_CONFIG_FILE takes"),
        command(
            "import",
            "Makes a list of definitions those of the gateway: all of it, or nothing where one is wrong",
        )
        .args([file(), switch("dry-run", "Only say what would differ")]),
        command("diff", "Says what an import would change: exit code 0 nothing, 1 something")
            .arg(file())
            .after_help(EXIT_CODES_OF_DIFF),
    ])
}

fn command(name: &'static str, about: &'static str) -> Command {
    let api = format!("Where the internal API is [default: {DEFAULT_API}] [env: {API_VARIABLE}]");
    Command::new(name)
        .about(about)
        .after_help(EXIT_CODES)
        .arg(flag("api", "URL", api).help_heading("Gateway"))
        .arg(switch("json", "Print the answer of the API as it is").help_heading("Gateway"))
}

fn cursor_name(cursor: &str) -> &'static str {
    if cursor == "before" { "CURSOR" } else { "NAME" }
}

/// A flag with a value. It takes any text, any number of times: what is wrong is found with all the
/// rest.
fn flag(id: &'static str, value: &'static str, help: impl Into<clap::builder::StyledStr>) -> Arg {
    let arg = Arg::new(id).long(id).value_name(value).help(help.into());
    arg.action(ArgAction::Append).value_parser(OsStringValueParser::new())
}

fn switch(id: &'static str, help: &'static str) -> Arg {
    Arg::new(id).long(id).action(ArgAction::SetTrue).overrides_with(id).help(help)
}

fn value(id: &'static str, name: &'static str, help: &'static str) -> Arg {
    Arg::new(id)
        .value_name(name)
        .help(help)
        .action(ArgAction::Append)
        .value_parser(OsStringValueParser::new())
}
