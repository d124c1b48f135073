//! Reports revocations elsewhere: to a web hook, or to whoever else takes events.
//!
//! [`Delivery`] takes changes out of a [`journal::Outbox`], one after the other, makes a CloudEvent
//! of each and hands it to a [`Recipient`] until that has it. [`WebHook`] is a recipient that sends
//! it to a URL, signed as Standard Webhooks demands. This room knows neither sessions nor brokers,
//! and no revocation waits for it.

mod backoff;
mod delivery;
mod event;
mod metrics;
mod recipient;
mod secrets;
#[cfg(test)]
mod tests;
mod web_hook;

pub use delivery::Delivery;
pub use event::{Event, MEDIA_TYPE, Source};
pub use metrics::{Metrics, To};
pub use recipient::{Failure, Recipient};
pub use secrets::{SecretError, Secrets, SecretsError};
pub use web_hook::{HookUrl, HookUrlError, WebHook};
