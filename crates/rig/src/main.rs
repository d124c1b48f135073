//! The Reactive Interaction Gateway: settings, then build, run, drain.

mod audit;
mod canary;
mod cli;
mod completions;
mod leave;
mod metrics;
mod online;
mod open_files;
mod operate;
mod reload;
mod serve;
mod settings;
mod token;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use cli::{Invocation, Looks};
use settings::{Environment, Flags, Given, Mistakes, Settings};
use telemetry::print_error;

/// Uses a fifth less memory than the system allocator at ten thousand connections.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The exit code if settings or arguments are wrong.
const MISTAKES: u8 = 2;

fn main() -> ExitCode {
    let environment: Environment = std::env::vars_os().collect();
    let done = match cli::parse(std::env::args_os()) {
        Invocation::Print(help) => help.print().map_err(Into::into),
        Invocation::Serve(flags) => serve(flags, &environment),
        Invocation::Check(flags, looks) => check(flags, looks, &environment),
        Invocation::Token(flags, request) => token(&request, flags, &environment),
        Invocation::Operate(flags, request) => request.run(Given::gather(flags, &environment), &environment),
        Invocation::Cluster(flags, command) => command.run(Given::gather(flags, &environment), &environment),
        Invocation::Audit(flags, files) => audit(&files, flags, &environment),
        Invocation::Completions(flags, shell) => completions(&shell, flags, &environment),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(ExitError::Mistakes(mistakes)) => {
            print_error(&mistakes.to_string());
            ExitCode::from(MISTAKES)
        }
        Err(ExitError::Trouble(trouble)) => ExitCode::from(trouble.told()),
        Err(ExitError::Other(error)) => {
            print_error(&format!("{error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Why the program exits without having done what was asked.
enum ExitError {
    Mistakes(Mistakes),
    Trouble(operate::Trouble),
    Other(anyhow::Error),
}

impl From<Mistakes> for ExitError {
    fn from(mistakes: Mistakes) -> Self {
        Self::Mistakes(mistakes)
    }
}

impl From<anyhow::Error> for ExitError {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<std::io::Error> for ExitError {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

fn serve(flags: Flags, environment: &Environment) -> Result<(), ExitError> {
    let settings = Settings::parse(Given::gather(flags.clone(), environment))?;
    let environment = environment.clone();
    serve::run(settings, move || settings::log_level(Given::gather(flags.clone(), &environment)))?;
    Ok(())
}

fn check(flags: Flags, looks: Looks, environment: &Environment) -> Result<(), ExitError> {
    let given = Given::gather(flags, environment);
    let effective = given.to_string();
    let settings = Settings::parse(given)?;
    for warning in &settings.warnings {
        print_error(&format!("warning: {warning}\n"));
    }
    write!(std::io::stdout(), "settings are valid\n{effective}")?;
    if looks != Looks::default() {
        online::check(settings, looks)?;
    }
    Ok(())
}

fn token(request: &token::TokenRequest, flags: Flags, environment: &Environment) -> Result<(), ExitError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let token = request.mint(Given::gather(flags, environment), environment, now)?;
    writeln!(std::io::stdout(), "{token}")?;
    Ok(())
}

fn audit(files: &[PathBuf], flags: Flags, environment: &Environment) -> Result<(), ExitError> {
    audit::verify(files, &Given::gather(flags, environment).read()?)?;
    Ok(())
}

fn completions(shells: &[OsString], flags: Flags, environment: &Environment) -> Result<(), ExitError> {
    let script = completions::script(shells, Given::gather(flags, environment))?;
    std::io::stdout().write_all(&script)?;
    Ok(())
}
