//! HTTP/1.1 and WebSocket as an attacker speaks them: bytes written by hand.

use std::io;

use tokio::io::AsyncReadExt as _;

use crate::socket::Socket;
use crate::target::Target;
use crate::wire;

/// What a WebSocket frame is (RFC 6455, section 5.2), with the bit that it is the last of its message.
#[expect(missing_docs, reason = "the names of RFC 6455")]
pub mod opcode {
    pub const LAST: u8 = 0x80;
    pub const MORE: u8 = 0;
    pub const TEXT: u8 = 1;
    pub const PING: u8 = 9;
}

/// What stands in place of a length that takes two bytes, or eight.
const TWO_BYTES: u8 = 0x7e;
const EIGHT_BYTES: u8 = 0x7f;
/// Longest head of an answer that is waited for.
const HEAD_MAX: usize = 16 * 1024;

impl Target {
    /// The head of a request that is let in, without the empty line at its end.
    pub fn head(self, method: &str, path: &str) -> String {
        let bearer = self.stolen.map(|stolen| format!("authorization: Bearer {}\r\n", stolen.token));
        format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{}", self.broker, bearer.unwrap_or_default())
    }

    /// A whole request with JSON.
    pub fn post(self, path: &str, body: &str) -> Vec<u8> {
        self.post_with(path, "", body)
    }

    /// The same with more headers, each with its line end.
    pub fn post_with(self, path: &str, headers: &str, body: &str) -> Vec<u8> {
        let head = self.head("POST", path);
        let length = body.len();
        format!("{head}{headers}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
    }

    /// A whole request without a body.
    pub fn get(self, path: &str) -> Vec<u8> {
        format!("{}\r\n", self.head("GET", path)).into_bytes()
    }

    /// A WebSocket on which nothing has been said.
    pub async fn websocket(self) -> io::Result<Socket> {
        let mut stream = self.connect_for_http1().await?;
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: sixpin.v1.json\r\n\r\n";
        wire::say(&mut stream, format!("{}{upgrade}", self.head("GET", "/v1/stream")).as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_MAX {
            head.push(stream.read_u8().await?);
        }
        if head.starts_with(b"HTTP/1.1 101") { Ok(stream) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }
}

/// The head of a WebSocket frame that announces so many bytes. It is masked, with zeros.
pub fn frame_head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match length {
        0..126 => head.push(0x80 | length as u8),
        126..0x1_0000 => {
            head.push(0x80 | TWO_BYTES);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | EIGHT_BYTES);
            head.extend(length.to_be_bytes());
        }
    }
    head.extend([0; 4]);
    head
}

/// A WebSocket frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&frame_head(first, payload.len() as u64), payload].concat()
}
