//! A publisher that never waits for an answer before it sends the next event.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use super::http::read_answer;

/// For everything to be sent and answered.
const LONGEST: Duration = Duration::from_secs(120);

/// Sends the requests over one connection, one every `pace`, or as fast as the server takes them;
/// returns when all are answered.
///
/// # Errors
/// One of them is not accepted, or it takes too long.
pub(crate) async fn publish_all(
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    pace: Option<Duration>,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut answers, mut server) = stream.split();
    let expected = requests.len();
    let send = async {
        match pace {
            None => server.write_all(&requests.concat()).await?,
            Some(pace) => {
                let mut pace = interval(pace);
                for request in &requests {
                    pace.tick().await;
                    server.write_all(request).await?;
                }
            }
        }
        anyhow::Ok(())
    };
    let receive = async {
        let mut buffer = Vec::new();
        for number in 0..expected {
            let (head, body) = read_answer(&mut answers, &mut buffer).await?;
            let status = head.status;
            let text = || String::from_utf8_lossy(&body).into_owned();
            anyhow::ensure!((200..300).contains(&status), "event {number} is answered {status} {}", text());
        }
        Ok(())
    };
    timeout(LONGEST, async { tokio::try_join!(send, receive) })
        .await
        .context("publishing takes too long")??;
    Ok(())
}
