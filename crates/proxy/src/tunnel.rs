//! An upgraded connection (RFC 9110, section 7.8): copies bytes in both directions, until one side
//! closes or the session is terminated.

use std::future::pending;

use bytes::Bytes;
use http::Response;
use listener::{Answer, Raw};
use tokio::io::{AsyncWriteExt, copy_bidirectional};

use crate::account::Account;
use crate::in_flight::InSession;
use crate::informational;
use crate::upstream::Io;

/// Answers with the service's 101, and connects the client to it.
pub(crate) fn open<B>(
    answer: &Response<B>,
    service: Io,
    early: Bytes,
    session: Option<InSession>,
    mut account: Account,
) -> Answer {
    let mut head = informational::encode(answer.status(), answer.headers());
    head.extend_from_slice(&early);
    account.upgraded();
    Answer::Takeover(Box::new(move |raw: Raw| {
        tokio::spawn(async move {
            let killed = async {
                match &session {
                    Some(session) => session.in_flight.or_over(pending::<()>()).await.map_or_else(drop, drop),
                    None => pending().await,
                }
            };
            tokio::select! {
                // The answer counts as complete, however the tunnel closes.
                _ = run(raw, service, &head) => account.whole(),
                () = killed => account.killed(),
            }
        });
    }))
}

async fn run(mut raw: Raw, mut service: Io, head: &[u8]) -> std::io::Result<()> {
    raw.stream.write_all(head).await?;
    raw.stream.flush().await?;
    service.write_all(&raw.read).await?;
    service.flush().await?;
    copy_bidirectional(&mut raw.stream, &mut service).await.map(drop)
}
