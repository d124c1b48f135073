//! Parses the command line, which is built from the table of settings, into a command and the given
//! flags.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::OsStringValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::settings::table::{self, Setting};
use crate::settings::{CONFIG_VARIABLE, Flags, Mistake, Source};
use crate::{audit, completions, operate, token};

const ABOUT: &str = "The Reactive Interaction Gateway: delivers events to frontends, and ends their sessions";

const AFTER: &str = "\
A flag wins over the environment, the environment over the file, the file over the default. \
The keys of the file are the names of the environment in lower case, such as inbound_port = 4000. \
Secrets belong into the environment or the file: other users of the host can read flags.";

/// The flags of `rig check`.
const ONLINE: &str = "online";
const FETCH: &str = "fetch";

/// Maximum width of the help in columns; longer lines are hard to read.
const WIDEST: usize = 110;

/// The command of a command line.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// Serve until a signal.
    Serve(Flags),
    /// Validate the settings, and look at what they name.
    Check(Flags, Looks),
    /// Mint a token.
    Token(Flags, token::TokenRequest),
    /// Send a request to a running gateway.
    Operate(Flags, operate::OperatorCommand),
    /// Look after the stream of a cluster.
    Cluster(Flags, operate::cluster::ClusterCommand),
    /// Verify these audit logs; if empty, the one of the settings.
    Audit(Flags, Vec<PathBuf>),
    /// Print completions for a shell.
    Completions(Flags, Vec<OsString>),
    /// Print this help or version and exit.
    Print(clap::Error),
}

/// What `rig check` connects to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Looks {
    /// The brokers of the settings.
    pub(crate) online: bool,
    /// The identity providers of the settings.
    pub(crate) fetch: bool,
}

/// Parses a command line, whose first argument is the name of the program.
///
/// A mistake does not stop the parser: it is noted and its argument removed, so that all mistakes
/// are reported at once, together with those of the other sources.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Invocation {
    // With their positions, which do not change when other arguments are removed.
    let mut arguments: Vec<_> = arguments.into_iter().enumerate().collect();
    let mut mistakes = Vec::new();
    let matches = loop {
        match command().try_get_matches_from(arguments.iter().map(|(_, argument)| argument)) {
            Ok(matches) => break matches,
            Err(error) if !error.use_stderr() => return Invocation::Print(error),
            Err(error) => {
                let (mistake, index) = explain(&error, &arguments);
                mistakes.push(mistake);
                let Some(index) = index else { break ArgMatches::default() };
                put_aside(&mut arguments, index);
            }
        }
    };
    asked(&matches, mistakes)
}

/// Returns the command line as clap defines it.
pub(crate) fn command() -> Command {
    Command::new("rig")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER)
        .max_term_width(WIDEST)
        .next_line_help(true)
        .disable_help_subcommand(true)
        .arg(config().help_heading("Settings file"))
        .args(settings())
        .subcommand(
            Command::new("check")
                .about("Validates all settings and leaves: 0 valid, 2 not. Takes the flags of rig")
                .arg(online())
                .arg(fetch())
                .arg(config())
                .args(settings().map(|flag| flag.hide(true))),
        )
        .subcommand(token::command().arg(config()))
        .subcommands(operate::commands().map(with_config))
        .subcommand(with_config(operate::cluster::command()))
        .subcommand(audit::command().mut_subcommands(|verify| verify.arg(config())))
        .subcommand(completions::command())
}

/// Returns whether there is a command of this name.
fn is_command(text: &str) -> bool {
    command().get_subcommands().any(|command| command.get_name() == text)
}

fn config() -> Arg {
    let help = format!("A file with settings, as TOML [env: {CONFIG_VARIABLE}]");
    flag("config").value_name("FILE").help(help)
}

/// Returns the flag by which `rig check` connects.
fn online() -> Arg {
    let help = "Connects to the brokers of the settings too, and looks for topics, subjects, streams, the group, \
                the schema registry and its schemas: a line for each, 1 if one cannot be used";
    Arg::new(ONLINE).long(ONLINE).action(ArgAction::SetTrue).overrides_with(ONLINE).help(help)
}

/// Returns the flag by which `rig check` fetches keys.
fn fetch() -> Arg {
    let help = "Fetches the metadata and the keys of the identity providers of the settings too: a line for each, 1 if \
                one cannot be used";
    Arg::new(FETCH).long(FETCH).action(ArgAction::SetTrue).overrides_with(FETCH).help(help)
}

/// Adds the flag for the settings file to a command, or to its subcommands.
fn with_config(command: Command) -> Command {
    if command.has_subcommands() {
        return command.mut_subcommands(with_config);
    }
    command.arg(config().help_heading("Gateway"))
}

fn settings() -> impl Iterator<Item = Arg> {
    table::GROUPS.iter().flat_map(|group| {
        group.settings.iter().map(|setting| {
            flag(setting.name)
                .long(setting.flag())
                // Otherwise a PEM (`-----BEGIN`) would be reported as an unknown flag, with its
                // text.
                .allow_hyphen_values(setting.secret)
                .value_name(setting.kind.placeholder())
                .help(help(setting))
                .help_heading(group.heading)
        })
    })
}

/// Returns a flag that accepts any text, any number of times: its mistakes are reported together
/// with all others.
fn flag(id: &'static str) -> Arg {
    Arg::new(id).long(id).action(ArgAction::Append).value_parser(OsStringValueParser::new())
}

fn help(setting: &Setting) -> String {
    let Setting { name, kind, help, .. } = setting;
    let default = if setting.default.is_empty() { "not set" } else { setting.default };
    let secret = if setting.secret { " [secret]" } else { "" };
    format!("{help}. Allowed: {kind}{secret} [default: {default}] [env: {name}]")
}

fn asked(matches: &ArgMatches, mistakes: Vec<Mistake>) -> Invocation {
    let mut flags = Flags { mistakes, ..Flags::default() };
    collect(matches, &mut flags);
    match matches.subcommand() {
        Some(("check", matches)) => {
            collect(matches, &mut flags);
            let looks = Looks { online: matches.get_flag(ONLINE), fetch: matches.get_flag(FETCH) };
            Invocation::Check(flags, looks)
        }
        Some((command, matches)) => {
            for (name, _) in std::mem::take(&mut flags.settings) {
                let flag =
                    table::all().find(|setting| setting.name == name).map_or_else(String::new, Setting::flag);
                flags
                    .mistakes
                    .push(mistake(format!("--{flag}"), &format!("rig {command} takes no settings as flags")));
            }
            collect_config(matches.subcommand().map_or(matches, |(_, matches)| matches), &mut flags);
            if let Some(request) = operate::cluster::ClusterCommand::from_matches(command, matches) {
                return Invocation::Cluster(flags, request);
            }
            match operate::OperatorCommand::from_matches(command, matches) {
                Some(request) => Invocation::Operate(flags, request),
                None if command == "audit" => Invocation::Audit(flags, audit::files(matches)),
                None if command == "completions" => {
                    let shells = matches.get_many::<OsString>("shell").unwrap_or_default();
                    Invocation::Completions(flags, shells.cloned().collect())
                }
                None => Invocation::Token(flags, token::TokenRequest::from_matches(matches)),
            }
        }
        None => Invocation::Serve(flags),
    }
}

fn collect(matches: &ArgMatches, flags: &mut Flags) {
    collect_config(matches, flags);
    for setting in table::all() {
        let values = matches.try_get_many::<OsString>(setting.name).ok().flatten().unwrap_or_default();
        flags.settings.extend(values.map(|value| (setting.name, value.clone())));
    }
}

fn collect_config(matches: &ArgMatches, flags: &mut Flags) {
    let files = matches.try_get_many::<OsString>("config").ok().flatten().unwrap_or_default();
    for file in files {
        match &flags.config {
            None if file.is_empty() => flags.mistakes.push(mistake("--config".to_owned(), "needs a value")),
            None => flags.config = Some(PathBuf::from(file)),
            Some(_) => flags.mistakes.push(mistake("--config".to_owned(), "given more than once")),
        }
    }
}

/// Returns the mistake, and the argument to remove. Texts that are not flags are not quoted: one
/// may be a part of a secret.
fn explain(error: &clap::Error, arguments: &[(usize, OsString)]) -> (Mistake, Option<usize>) {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let wrong = context(ContextKind::InvalidArg).or_else(|| context(ContextKind::InvalidSubcommand));
    // clap reports `--inbound-port <PORT>` if the value is missing.
    let wrong = wrong
        .map(|wrong| if wrong.starts_with('-') { wrong.split(' ').next().unwrap_or(wrong) } else { wrong });
    let meant = context(ContextKind::SuggestedArg).or_else(|| context(ContextKind::SuggestedSubcommand));
    let index = wrong.and_then(|wrong| arguments.iter().rposition(|(_, argument)| is_named(argument, wrong)));
    let index = index.filter(|index| *index > 0);
    let (source, name) = match (wrong, index) {
        (Some(flag), _) if flag.starts_with('-') => (Source::Flag, flag.to_owned()),
        (_, Some(index)) => (Source::Argument(arguments[index].0), String::new()),
        _ => (Source::Flag, String::new()),
    };
    let reason = match (error.kind(), meant) {
        (ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand, Some(meant)) => {
            format!("unknown; did you mean {meant}?")
        }
        (ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand, None) => {
            "unknown; rig --help names all flags and commands".to_owned()
        }
        (ErrorKind::MissingSubcommand, _) => "needs a command behind it, which its --help names".to_owned(),
        (ErrorKind::InvalidValue, _) => "needs a value".to_owned(),
        (kind, _) => kind.as_str().unwrap_or("cannot be read").to_owned(),
    };
    (Mistake { source, name, value: None, reason }, index)
}

fn is_named(argument: &OsStr, name: &str) -> bool {
    let argument = argument.to_string_lossy();
    let (flag, _) = argument.split_once('=').unwrap_or((&argument, ""));
    // Other short flags may follow in the same argument: `-xV`.
    flag == name || argument == name || (name.len() == 2 && !name.starts_with("--") && flag.starts_with(name))
}

/// Removes an argument and, if it is a flag, its value.
fn put_aside(arguments: &mut Vec<(usize, OsString)>, index: usize) {
    let (_, removed) = arguments.remove(index);
    let removed = removed.to_string_lossy();
    let takes_value = removed.starts_with("--") && !removed.contains('=');
    let is_value = |(_, next): &(usize, OsString)| {
        let next = next.to_string_lossy();
        !next.starts_with('-') && !is_command(&next)
    };
    if takes_value && arguments.get(index).is_some_and(is_value) {
        arguments.remove(index);
    }
}

fn mistake(name: String, reason: &str) -> Mistake {
    Mistake { source: Source::Flag, name, value: None, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Invocation {
        super::parse(line.split(' ').map(OsString::from))
    }

    fn mistakes(line: &str) -> Vec<String> {
        match parse(line) {
            Invocation::Serve(flags) | Invocation::Check(flags, _) | Invocation::Token(flags, _) => {
                flags.mistakes.iter().map(Mistake::to_string).collect()
            }
            Invocation::Operate(flags, _)
            | Invocation::Cluster(flags, _)
            | Invocation::Audit(flags, _)
            | Invocation::Completions(flags, _) => flags.mistakes.iter().map(Mistake::to_string).collect(),
            Invocation::Print(_) => panic!("help"),
        }
    }

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn help_documents_every_setting() {
        let help = command().term_width(100).render_long_help().to_string();
        for setting in table::all() {
            assert!(help.contains(&format!("--{} <", setting.flag())), "{}", setting.name);
            let words: Vec<_> = help.split_whitespace().collect();
            let name = format!("{}]", setting.name);
            assert!(words.windows(2).any(|pair| pair == ["[env:", name.as_str()]), "{}", setting.name);
        }
        insta::assert_snapshot!("help", help);
    }

    #[test]
    fn help_of_the_subcommands_is_short() {
        let mut command = command().term_width(100);
        command.build();
        let check = command.find_subcommand_mut("check").unwrap().render_long_help().to_string();
        assert!(!check.contains("--inbound-port"), "{check}");
        insta::assert_snapshot!("help_check", check);
        insta::assert_snapshot!(
            "help_token",
            command.find_subcommand_mut("token").unwrap().render_long_help()
        );
        insta::assert_snapshot!(
            "help_revoke",
            command.find_subcommand_mut("revoke").unwrap().render_long_help()
        );
        let apis = command.find_subcommand_mut("apis").unwrap();
        let mut helps = apis.render_long_help().to_string();
        for name in ["export", "import", "diff"] {
            helps += &apis.find_subcommand_mut(name).unwrap().render_long_help().to_string();
        }
        insta::assert_snapshot!("help_apis", helps);
        let cluster = command.find_subcommand_mut("cluster").unwrap();
        let mut helps = cluster.render_long_help().to_string();
        for name in ["init", "check", "adopt", "nodes", "upgrade"] {
            helps += &cluster.find_subcommand_mut(name).unwrap().render_long_help().to_string();
        }
        insta::assert_snapshot!("help_cluster", helps);
    }

    #[test]
    fn flags_may_stand_before_and_behind_the_subcommand() {
        let line = "rig --inbound-port 1 check --api-http-port=2 --config a.toml";
        let Invocation::Check(flags, looks) = parse(line) else { panic!("not check") };
        assert_eq!(looks, Looks::default());
        assert_eq!(flags.settings, [("INBOUND_PORT", "1".into()), ("API_HTTP_PORT", "2".into())]);
        assert_eq!(flags.config, Some("a.toml".into()));
        assert_eq!(flags.mistakes, []);
        let looks = |line| match parse(line) {
            Invocation::Check(_, Looks { online, fetch }) => (online, fetch),
            _ => panic!("not check"),
        };
        assert_eq!(looks("rig check --online --host a"), (true, false));
        assert_eq!(looks("rig --host a check --fetch"), (false, true));
        assert_eq!(looks("rig check --fetch --online"), (true, true));
    }

    #[test]
    fn the_settings_file_of_the_audit_log_is_not_ignored() {
        for line in ["rig audit verify --config a.toml", "rig --config a.toml audit verify"] {
            let Invocation::Audit(flags, _) = parse(line) else { panic!("not audit") };
            assert_eq!((flags.config, flags.mistakes), (Some("a.toml".into()), vec![]), "{line}");
        }
        assert!(!mistakes("rig audit --config a.toml verify").is_empty());
    }

    #[test]
    fn help_and_version_are_printed() {
        assert!(
            matches!(parse("rig --help"), Invocation::Print(error) if error.kind() == ErrorKind::DisplayHelp)
        );
        assert!(
            matches!(parse("rig -V"), Invocation::Print(error) if error.kind() == ErrorKind::DisplayVersion)
        );
        assert!(
            matches!(parse("rig check -h"), Invocation::Print(error) if error.kind() == ErrorKind::DisplayHelp)
        );
    }

    #[test]
    fn every_mistake_is_found_and_the_rest_is_still_read() {
        let line = "rig --inbond-port 1 --cors * -x --heartbeat-interval --config a --config b chekc --host";
        insta::assert_snapshot!(mistakes(line).join("\n"), @r#"
        flag --inbond-port: unknown; did you mean --inbound-port?
        flag -x: unknown; rig --help names all flags and commands
        flag --heartbeat-interval: needs a value
        argument 11: unknown; did you mean check?
        flag --host: needs a value
        flag --config: given more than once
        "#);
        let Invocation::Serve(flags) = parse(line) else { panic!("not serve") };
        assert_eq!(flags.settings, [("CORS", "*".into())]);
    }

    #[test]
    fn stray_texts_are_not_repeated() {
        let told = mistakes("rig --api-token two words --api-tokne=hidden --node-coookie hidden").join("\n");
        assert!(!told.contains("words") && !told.contains("hidden"), "{told}");
        assert_eq!(told.lines().count(), 3, "{told}");
        let Invocation::Serve(flags) = parse("rig --jwt-secret-key -----BEGIN") else { panic!("not serve") };
        assert_eq!(flags.settings, [("JWT_SECRET_KEY", "-----BEGIN".into())]);
        assert_eq!(flags.mistakes, []);
    }

    #[test]
    fn a_place_is_that_of_the_whole_line() {
        let unknown = "unknown; rig --help names all flags and commands";
        let told = [format!("flag --bogus: {unknown}"), format!("argument 4: {unknown}")];
        assert_eq!(mistakes("rig --bogus 1 check check"), told);
        assert_eq!(mistakes("rig --config="), ["flag --config: needs a value"]);
    }

    #[test]
    fn token_takes_no_settings() {
        assert_eq!(
            mistakes("rig --inbound-port 1 token --claim sub=a"),
            ["flag --inbound-port: rig token takes no settings as flags"]
        );
    }
}
