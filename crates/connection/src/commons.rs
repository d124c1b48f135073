//! What all connections of a node share.

use std::sync::{Arc, Weak};

use session::Sessions;
use subscription::Index;
use tokio::sync::Notify;

use crate::admission::Admissions;
use crate::closing::Closing;
use crate::config::Config;
use crate::directory::Directory;
use crate::metrics::Metrics;

/// What all connections of a node share. Every connection holds it, so it lies below them: their
/// type is its parameter.
pub(crate) struct Commons<C> {
    pub(crate) config: Config,
    pub(crate) sessions: Sessions,
    pub(crate) admissions: Arc<Admissions>,
    /// The subscriptions of all connections.
    pub(crate) index: Arc<Index<Weak<C>>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) directory: Directory<C>,
    pub(crate) closing: Closing,
    /// Notified when a mailbox was emptied to free memory.
    pub(crate) emptied: Notify,
}
