//! Counts the tokens of issuers that are refused. Labels come only from the settings.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family};

use super::Issuer;
use crate::token_error::TokenError;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByReason {
    issuer: Arc<str>,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByIssuer {
    issuer: Arc<str>,
}

metric::families! {
    /// What is counted of the tokens of issuers.
    pub(super) struct TokenMetrics {
        /// Access tokens that were refused, by the id of their issuer
        refused: Family<ByReason, Counter> = "rig_tokens_refused_total";
        /// Access tokens that were accepted without the claim that names the session
        without_session: Family<ByIssuer, Counter> = "rig_tokens_without_session_total";
    }
}

impl Issuer {
    /// Counts a refused token.
    pub(super) fn refused(&self, error: TokenError) -> TokenError {
        let labels = ByReason { issuer: self.config.id.clone(), reason: error.reason() };
        self.metrics.refused.get_or_create(&labels).inc();
        error
    }

    /// Counts a token that was accepted, but names no session.
    pub fn count_without_session(&self) {
        let labels = ByIssuer { issuer: self.config.id.clone() };
        self.metrics.without_session.get_or_create(&labels).inc();
    }
}
