//! A WebSocket echo server over the gateway's own protocol layer, for the Autobahn cases: `ws_echo
//! PORT`.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use http::{HeaderMap, HeaderName, HeaderValue};
use rig_connection::websocket::{Accept, Incoming, Protocol, binary_frame, close_frame, text_frame};

/// The largest message of the Autobahn cases is 16 MiB.
const MAX_MESSAGE: usize = 32 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("usage: ws_echo PORT")?.parse::<u16>()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("listening {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || echo(stream).inspect_err(|error| eprintln!("{error}")).is_ok());
    }
    Ok(())
}

fn echo(mut stream: TcpStream) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    let accept = Accept::new(&read_headers(&mut stream)?)?;
    stream.write_all(&accept.head())?;
    let mut protocol = Protocol::new(MAX_MESSAGE, 64 << 10);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        protocol.feed(&buffer[..read]);
        loop {
            let incoming = protocol.receive();
            stream.write_all(&protocol.take_output())?;
            match incoming {
                Ok(None) => break,
                Ok(Some(Incoming::Text(text))) => stream.write_all(&text_frame(&text))?,
                Ok(Some(Incoming::Binary(bytes))) => stream.write_all(&binary_frame(&bytes))?,
                Ok(Some(Incoming::Closed(_))) => return Ok(()),
                Err(error) => {
                    stream.write_all(&close_frame(error.code, &error.reason))?;
                    return Ok(());
                }
            }
        }
    }
}

/// The header lines of the handshake; a test client sends them well formed.
fn read_headers(stream: &mut TcpStream) -> Result<HeaderMap, Box<dyn Error>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut headers = HeaderMap::new();
    for line in std::str::from_utf8(&head)?.lines().skip(1).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or("a header line without a colon")?;
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value.trim())?);
    }
    Ok(headers)
}
