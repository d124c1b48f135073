//! Why the internal port refuses a request before it checks path and token.

use http::StatusCode;

metric::labels! {
    /// Why a request is refused before its path and token are checked.
    #[derive(thiserror::Error)]
    pub(crate) enum TurnedAway {
        /// It comes from a web page of another origin.
        #[error(
            "refused: the request comes from a web page of another origin (Origin, Sec-Fetch-Site), and the internal \
             port is not for web pages"
        )]
        Page = "page",
        /// A page sent a form or plain text.
        #[error(
            "refused: web pages cannot send forms or plain text to the internal port; needed: content-type \
             application/json"
        )]
        Form = "form",
        /// Without `API_TOKEN`, it names a host that is not one of the port's.
        #[error(
            "misdirected: without API_TOKEN the internal port answers only to localhost, loopback addresses and the \
             name in HOST. Use one of these names, set HOST to the name that callers use, or set API_TOKEN"
        )]
        Host = "host",
    }
}

impl TurnedAway {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Page | Self::Form => StatusCode::FORBIDDEN,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
        }
    }
}
