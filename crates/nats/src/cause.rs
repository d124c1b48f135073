//! Why a connection fails: the client library tells no more than that there was an I/O error, so
//! the server is asked by a connection of its own.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Limit of the first line of a server, in bytes.
const GREETING: u64 = 1 << 16;

/// How long a server may take to send its first line.
const ANSWER: Duration = Duration::from_secs(2);

/// Returns why a connection to a server (`host:port`) may fail, by its first line. `tls` names the
/// settings of certificates.
pub async fn cause(server: &str, tls: &str) -> String {
    let greeting = async {
        let mut greeting = String::new();
        let connection = BufReader::new(TcpStream::connect(server).await?);
        connection.take(GREETING).read_line(&mut greeting).await?;
        Ok::<_, io::Error>(greeting)
    };
    match timeout(ANSWER, greeting).await {
        Err(_) => "no answer in time".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(greeting)) => match greeting.strip_prefix("INFO ").map(serde_json::from_str::<Value>) {
            Some(Ok(info)) if info["tls_required"] == true || info["tls_available"] == true => {
                format!("the server answers, and offers TLS: see its certificate, {tls}")
            }
            Some(Ok(_)) => "the server answers, and offers no TLS".to_owned(),
            _ => "what listens there is not NATS without TLS from the first byte".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Returns the cause for a server that begins with this line.
    async fn told(line: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let greeting = async { listener.accept().await.unwrap().0.write_all(line.as_bytes()).await.unwrap() };
        tokio::join!(cause(&server, "CA and CERT"), greeting).0
    }

    #[tokio::test]
    async fn the_first_line_of_a_server_tells_why_a_connection_fails() {
        for (line, expected) in [
            ("INFO {\"tls_required\":true} \r\n", "offers TLS: see its certificate, CA and CERT"),
            ("INFO {\"tls_available\":true} \r\n", "offers TLS"),
            ("INFO {} \r\n", "offers no TLS"),
            ("HTTP/1.1 400 Bad Request\r\n", "not NATS"),
            ("INFO {\r\n", "not NATS"),
            ("", "not NATS"),
        ] {
            let told = told(line).await;
            assert!(told.contains(expected), "{line}: {told}");
        }
        let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(cause(&unused.to_string(), "").await.contains("refused"));
    }
}
