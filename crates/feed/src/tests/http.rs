//! The bounds of the requests of a poll, with a transmitter on loopback.

use std::io::{Read, Write};
use std::net::TcpListener;

use auth::{ProviderAccess, ProviderClient};
use bytes::Bytes;
use http::{HeaderMap, Uri};

use crate::Http;

/// Starts a transmitter that answers each request with this number of bytes.
fn transmitter(length: usize) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            // The client leaves when there is too much.
            let _ = stream.write_all(&[head.as_bytes(), &vec![b' '; length]].concat());
        }
    });
    uri
}

#[tokio::test]
async fn answers_of_a_transmitter_are_bounded() {
    for (is_form, most) in [(true, 64 << 10), (false, 8 << 20)] {
        for length in [most, most + 1] {
            let uri = transmitter(length);
            let named = vec![uri.clone()];
            let client = ProviderClient::new(ProviderAccess { named, ..ProviderAccess::default() });
            let answer = match is_form {
                true => Http::post_form(&client, &uri, HeaderMap::new(), Bytes::new()).await,
                false => Http::post_json(&client, &uri, HeaderMap::new(), Bytes::new()).await,
            };
            match answer {
                Ok(answer) => assert_eq!((answer.body().len(), length), (most, most)),
                Err(reason) => {
                    assert_eq!(reason, format!("the answer is larger than {most} bytes"), "{length}");
                    assert!(length > most);
                }
            }
        }
    }
}
