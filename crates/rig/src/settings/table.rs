//! The table of all settings: the only source of flags, environment variables, keys of the file,
//! help, defaults and bounds. Each setting is a row, in the file of its group.

mod access;
mod broker;
mod cluster;
mod connections;
mod gone;
mod history;
mod hook;
mod issuers;
mod limits;
mod operation;
mod ports;
mod proxy;
mod traces;

use std::time::Duration;

pub(crate) use gone::{GONE, is_foreign};

use super::kind::{GIB, KIB, MIB, ValueKind};

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The environment variable. The flag and the key of the file derive from it.
    pub(crate) name: &'static str,
    /// Parsed like any other value if none is given. Empty for not set.
    pub(crate) default: &'static str,
    /// The kind of its value.
    pub(crate) kind: ValueKind,
    /// The help, as a sentence without a full stop.
    pub(crate) help: &'static str,
    /// Whether its value must never be shown.
    pub(crate) secret: bool,
}

/// Settings under one heading of the help.
#[derive(Debug)]
pub(crate) struct Group {
    /// The heading.
    pub(crate) heading: &'static str,
    /// The settings under it.
    pub(crate) settings: &'static [Setting],
}

impl Setting {
    /// Returns the long flag, without its dashes: `inbound-port`.
    pub(crate) fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    /// Returns the key in the file: `inbound_port`.
    pub(crate) fn key(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}

/// Returns all settings, in the order of the help.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.settings)
}

/// Returns the settings that only a node of a cluster has.
pub(crate) fn of_cluster() -> impl Iterator<Item = &'static Setting> {
    let is_any = |setting: &&Setting| !matches!(setting.name, "CLUSTER" | "CLUSTER_NATS");
    cluster::GROUP.settings.iter().filter(is_any)
}

/// Returns the names of the settings under a heading of the help.
pub(crate) fn names_under(heading: &'static str) -> impl Iterator<Item = &'static str> {
    let groups = GROUPS.iter().filter(move |group| group.heading == heading);
    groups.flat_map(|group| group.settings).map(|setting| setting.name)
}

const fn setting(name: &'static str, default: &'static str, kind: ValueKind, help: &'static str) -> Setting {
    Setting { name, default, kind, help, secret: false }
}

const fn secret(name: &'static str, kind: ValueKind, help: &'static str) -> Setting {
    Setting { name, default: "", kind, help, secret: true }
}

const fn text(placeholder: &'static str, expected: &'static str) -> ValueKind {
    ValueKind::Text { placeholder, expected }
}

const fn millis(least: u64, most: u64) -> ValueKind {
    ValueKind::Time { least: Duration::from_millis(least), most: Duration::from_millis(most) }
}

const fn tables(placeholder: &'static str, expected: &'static str) -> ValueKind {
    ValueKind::Tables { placeholder, expected }
}

/// For a setting of RIG: a bare number means milliseconds.
const fn rig_millis(least: u64, most: u64) -> ValueKind {
    ValueKind::Millis { least: Duration::from_millis(least), most: Duration::from_millis(most) }
}

const fn bytes(least: u64, most: u64) -> ValueKind {
    ValueKind::Bytes { least, most }
}

const fn number(least: u64, most: u64) -> ValueKind {
    ValueKind::Number { least, most }
}

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// The settings of this version, in the order of the help.
pub(crate) const GROUPS: &[Group] = &[
    ports::PORTS,
    ports::PROXIES,
    ports::TLS,
    access::JWT,
    issuers::GROUP,
    access::SESSIONS,
    access::CHECKS,
    connections::SUBSCRIPTIONS,
    connections::CONNECTIONS,
    history::GROUP,
    cluster::GROUP,
    broker::GROUP,
    broker::kafka::GROUP,
    broker::kinesis::GROUP,
    broker::nats::GROUP,
    hook::GROUP,
    proxy::GROUP,
    traces::GROUP,
    limits::GROUP,
    operation::GROUP,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sorted_where_they_are_looked_up() {
        let mut names: Vec<_> =
            all().map(|setting| setting.name).chain(GONE.iter().map(|(name, _)| *name)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(GONE.is_sorted());
    }
}
