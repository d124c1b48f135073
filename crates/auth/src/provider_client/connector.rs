//! Connections to the servers of a provider, to addresses that were checked.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{future, vec};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use crate::check::connector::{BoxError, CountedStream};
use crate::issuers::address::Reach;

/// Resolves and checks a server, then connects to what it has checked: there is no second
/// resolution that could give another result.
#[derive(Clone, Debug)]
pub(super) struct CheckedConnector(pub(super) Arc<Reach>);

/// A resolver that has resolved before. It is not asked for addresses in numbers, which are the
/// same to [`Reach::addresses`].
#[derive(Clone, Debug)]
struct Resolved(Vec<SocketAddr>);

impl Service<Uri> for CheckedConnector {
    type Response = CountedStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<CountedStream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let reach = self.0.clone();
        Box::pin(async move {
            let addresses = reach.addresses(&server).await?;
            let mut tcp = HttpConnector::new_with_resolver(Resolved(addresses));
            // TLS is layered on top.
            tcp.enforce_http(false);
            CountedStream::connect(tcp.call(server)).await
        })
    }
}

impl Service<Name> for Resolved {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = future::Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        future::ready(Ok(self.0.clone().into_iter()))
    }
}
