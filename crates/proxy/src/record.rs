//! What becomes of a request, for the metrics and the request log.

use bytes::Bytes;
use hyper::body::Frame;

/// Notes how a request ends; written when dropped.
#[derive(Debug, Default)]
pub(crate) struct Record {}

impl Record {
    pub(crate) fn relayed(&mut self, _frame: &Frame<Bytes>) {}
    pub(crate) fn broken(&mut self) {}
    pub(crate) fn killed(&mut self) {}
}
