//! The commands, one file for each.

mod apis;
mod issuers;
mod lift;
mod revocations;
mod revoke;
mod session;
mod sessions;

use clap::Command;

use super::operation::GatewayCommand;

const COMMANDS: [GatewayCommand; 6] = [
    sessions::COMMAND,
    session::COMMAND,
    revoke::COMMAND,
    lift::COMMAND,
    revocations::COMMAND,
    issuers::COMMAND,
];

/// Returns the command lines.
pub(crate) fn commands() -> impl Iterator<Item = Command> {
    COMMANDS.iter().map(GatewayCommand::command).chain([apis::group()])
}

/// Returns the command of this name, or of this name below `rig apis`; `None` if the command does
/// not need a running gateway.
pub(super) fn find(name: &str) -> Option<&'static GatewayCommand> {
    COMMANDS.iter().chain(&apis::COMMANDS).find(|operation| operation.name == name)
}

#[cfg(test)]
mod tests;
