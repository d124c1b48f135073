//! The requests that a poll makes.

use std::time::Duration;

use auth::{ProviderClient, RequestLimits};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Response, Uri};

/// Sends requests to a transmitter and its token endpoint. An implementation limits time and size.
pub trait Http: Send + Sync + 'static {
    /// Sends a form. Any status is an answer.
    ///
    /// # Errors
    /// Fails with a reason for operators, without any secret.
    fn post_form<'a>(
        &'a self,
        uri: &'a Uri,
        headers: HeaderMap,
        form: Bytes,
    ) -> BoxFuture<'a, Result<Response<Bytes>, String>>;

    /// Sends a JSON document. Any status is an answer.
    ///
    /// # Errors
    /// As [`Http::post_form`].
    fn post_json<'a>(
        &'a self,
        uri: &'a Uri,
        headers: HeaderMap,
        json: Bytes,
    ) -> BoxFuture<'a, Result<Response<Bytes>, String>>;
}

/// The limits of a request for a token.
const TOKEN: RequestLimits = RequestLimits { within: Duration::from_secs(10), bytes: 64 << 10 };

/// The limits of a request for events. Some transmitters hold it back although they are asked not
/// to (RFC 8936, section 2.2).
const EVENTS: RequestLimits = RequestLimits { within: Duration::from_secs(60), bytes: 8 << 20 };

impl Http for ProviderClient {
    fn post_form<'a>(
        &'a self,
        uri: &'a Uri,
        headers: HeaderMap,
        form: Bytes,
    ) -> BoxFuture<'a, Result<Response<Bytes>, String>> {
        let answer = Self::post_form(self, uri, headers, form, TOKEN);
        answer.map(|answer| answer.map_err(|error| error.to_string())).boxed()
    }

    fn post_json<'a>(
        &'a self,
        uri: &'a Uri,
        headers: HeaderMap,
        json: Bytes,
    ) -> BoxFuture<'a, Result<Response<Bytes>, String>> {
        let answer = Self::post_json(self, uri, headers, json, EVENTS);
        answer.map(|answer| answer.map_err(|error| error.to_string())).boxed()
    }
}
