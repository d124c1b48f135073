//! What another node may send.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderValue, Uri};
use listener::relayed::{RelayedAnswer, RelayedRequest};
use proptest::prelude::*;
use tokio::runtime::Builder;

use crate::world::{Member, Poller, members};

/// Returns what a node sends for a question.
fn message(question: u8, uri: &str, cookie: &str) -> Vec<u8> {
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, HeaderValue::from_str(cookie).expect("a value"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let uri: Uri = uri.parse().expect("a URI");
    let mut message = vec![b'i', question];
    let body = Bytes::from_static(br#"{"subscriptions":[]}"#);
    RelayedRequest { uri, secure: false, headers, body }.write(&mut message);
    message
}

fn put_of(token: &str) -> Vec<u8> {
    message(b's', &format!("/_rig/v1/connection/sse/{token}/subscriptions"), "")
}

async fn answer(member: &Member, message: &[u8]) -> Bytes {
    member.node.answer_peer(Bytes::copy_from_slice(message)).await
}

#[tokio::test]
async fn a_request_is_relayed_once() {
    let (_network, [a, b, c]) = members(["a", "b", "c"]).await;
    let client = Poller::open(&a, "s").await;
    let status =
        async |node| RelayedAnswer::read(answer(node, &put_of(&client.connection)).await).unwrap().status;
    assert_eq!(status(&a).await, 204);
    assert_eq!(status(&b).await, 400, "its connection is at another node");
    assert_eq!(status(&c).await, 400);
    let cookie = format!("connection_token={}", client.connection);
    for question in [b't', b'p'] {
        let message = message(question, "/", &cookie);
        assert_eq!(answer(&b, &message).await, "-");
        assert_eq!(answer(&a, &message).await.first(), Some(&b'+'));
    }
}

#[test]
fn no_bytes_make_a_node_panic() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (node, messages) = runtime.block_on(async {
        let (_network, [a]) = members(["a"]).await;
        let client = Poller::open(&a, "s").await;
        let cookie = format!("connection_token={}", client.connection);
        let messages = [put_of(&client.connection), message(b't', "/", &cookie)];
        (a, messages)
    });
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        (0..messages.len(), any::<prop::sample::Index>(), any::<u8>(), any::<prop::sample::Index>())
            .prop_map(move |(which, at, byte, cut)| {
                let mut message = messages[which].clone();
                *at.get_mut(&mut message) = byte;
                message.truncate(cut.index(2 * message.len()));
                message
            }),
        (prop::sample::select(vec![b's', b't', b'p']), prop::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(question, rest)| [&[b'i', question], &rest[..]].concat()),
    ];
    proptest!(ProptestConfig::with_cases(2000), |(bytes in bytes)| {
        runtime.block_on(answer(&node, &bytes));
    });
}
