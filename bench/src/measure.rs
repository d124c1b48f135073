//! The measurements. Each starts a server of its own, so that none leaves anything to the next.

pub(crate) mod beside;
mod bystanders;
pub(crate) mod churn;
pub(crate) mod cluster;
pub(crate) mod connect;
pub(crate) mod cut;
pub(crate) mod fanout;
pub(crate) mod figures;
pub(crate) mod filter;
pub(crate) mod identity;
pub(crate) mod idle;
mod instructions;
pub(crate) mod journal;
pub(crate) mod kafka;
pub(crate) mod proxy;
pub(crate) mod publish;
mod random;
pub(crate) mod resume;
pub(crate) mod revoke;
pub(crate) mod sessions;
pub(crate) mod slow;
pub(crate) mod start;
pub(crate) mod sustained;
