//! HTTP/2 as an attacker speaks it: frames written by hand, so that nothing keeps the rules for it.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::socket::Socket;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[expect(missing_docs, reason = "the names of RFC 9113")]
/// Frame types.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

#[expect(missing_docs, reason = "the names of RFC 9113")]
/// Frame flags.
pub mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
}

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `SETTINGS` with the window that each stream has for answers.
pub fn window(size: u32) -> Vec<u8> {
    let mut payload = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    payload.extend(size.to_be_bytes());
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// The headers of a gRPC call, as an HPACK block that uses no table.
pub fn header_block(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fixed = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "sixpin"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    block(fixed.iter().chain(more).copied())
}

/// Headers as an HPACK block that uses no table.
pub fn block<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An HPACK integer of seven bits.
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// A gRPC message with its prefix.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![0];
    message.extend((bytes.len() as u32).to_be_bytes());
    message.extend(bytes);
    message
}

/// Says it at once: TLS may keep back what is only written.
pub async fn say(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Reads and forgets what comes until the connection ends, acknowledging settings and pings as a client must. Gives the
/// bytes read.
pub async fn listen(stream: &mut Socket) -> u64 {
    let mut total = 0;
    let mut header = [0; 9];
    let mut payload = vec![0; 1 << 14];
    while stream.read_exact(&mut header).await.is_ok() {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        if length > payload.len() {
            payload.resize(length, 0);
        }
        if stream.read_exact(&mut payload[..length]).await.is_err() {
            break;
        }
        total += 9 + length as u64;
        let answer = match (header[3], header[4] & flag::ACK) {
            (kind::SETTINGS, 0) => frame(kind::SETTINGS, flag::ACK, 0, &[]),
            (kind::PING, 0) => frame(kind::PING, flag::ACK, 0, &payload[..length]),
            _ => continue,
        };
        if say(stream, &answer).await.is_err() {
            break;
        }
    }
    total
}
