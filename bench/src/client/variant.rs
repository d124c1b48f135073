//! How the clients of the gateway can wait for events.

use clap::{ArgAction, Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::Streaming;

/// What clients wait on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub(crate) enum Way {
    /// Server-Sent Events.
    Sse,
    /// WebSocket.
    Ws,
    /// Long polling: a poll always waits, for up to five seconds.
    LongPolling,
}

/// How clients are connected while they wait.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Variant {
    /// What clients wait on.
    #[arg(long = "transport", value_enum, default_value = "sse")]
    #[serde(rename = "transport")]
    pub(crate) way: Way,
    /// Clients present no token and are in no session.
    #[arg(long = "no-session", action = ArgAction::SetFalse)]
    pub(crate) session: bool,
    /// Over TLS.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Over HTTP/2, with this number of clients on each connection; by prior knowledge if without
    /// TLS.
    #[arg(long, value_name = "STREAMS", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) http2: Option<u32>,
}

impl Variant {
    /// In clear over HTTP/1.1, each client in a session of its own.
    pub(crate) const fn plain(way: Way) -> Self {
        Self { way, session: true, tls: false, http2: None }
    }

    /// Returns the transport; `None` if not every server has this variant.
    pub(crate) fn as_plain(self) -> Option<Streaming> {
        [Streaming::Sse, Streaming::Ws].into_iter().find(|transport| self == Self::from(*transport))
    }
}

impl From<Streaming> for Variant {
    fn from(transport: Streaming) -> Self {
        Self::plain(match transport {
            Streaming::Sse => Way::Sse,
            Streaming::Ws => Way::Ws,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_what_differs_in_nothing() {
        let sse = Variant::from(Streaming::Sse);
        assert_eq!(sse.as_plain(), Some(Streaming::Sse));
        assert_eq!(Variant::plain(Way::Ws).as_plain(), Some(Streaming::Ws));
        let others = [
            Variant::plain(Way::LongPolling),
            Variant { session: false, ..sse },
            Variant { tls: true, ..sse },
            Variant { http2: Some(1), ..sse },
        ];
        assert!(others.iter().all(|variant| variant.as_plain().is_none()));
    }
}
