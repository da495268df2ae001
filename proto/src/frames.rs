//! *Frames*: the messages of a `Session` stream over a plain connection, for programs that have one connection and little in
//! flight, where HTTP/2 costs more than the lock.
//!
//! A client says [`GREETING`] and a broker that speaks frames says it back. Then the client sends a [`SessionRequest`] after the
//! other, and the broker a [`SessionResponse`] after the other, each with its length in front: four bytes, most significant first.
//! One connection is one stream of one session. Everything else is as `session.proto` says it, but for the end: a stream that
//! ends with an error says so in a last answer that has no number and the error for its body, where gRPC has a status.
//!
//! [`SessionRequest`]: crate::v1::SessionRequest
//! [`SessionResponse`]: crate::v1::SessionResponse

use std::marker::PhantomData;

use bytes::{Buf as _, BufMut as _, BytesMut};
use prost::{DecodeError, Message};
use tokio_util::codec::{Decoder, Encoder};

/// What a client says first and a broker answers: the length of the name, the name, the version. No protocol of the web
/// begins so.
pub const GREETING: [u8; 8] = *b"\x06sixpin\x01";

/// What clients ask for and brokers agree to by ALPN (RFC 7301) where the connection has TLS; the greeting follows inside.
pub const ALPN: &[u8] = b"sixpin/1";

/// Bytes of a length.
pub const HEAD: usize = 4;

/// Messages longer than this leave no buffer of their size behind.
const SHORT: usize = 8 * 1024;

/// Reads messages of one kind and writes those of another.
#[derive(Debug)]
pub struct Frames<In, Out> {
    longest: usize,
    kinds: PhantomData<fn(Out) -> In>,
}

/// Why what came is no message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It is longer than allowed.
    #[error("a message of {length} bytes is longer than the {longest} that one may have")]
    TooLong {
        /// What its length says.
        length: usize,
        /// The limit.
        longest: usize,
    },
    /// It is no message of this kind.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    /// The connection failed, or ended within a message.
    #[error(transparent)]
    Connection(#[from] std::io::Error),
}

impl<In, Out> Frames<In, Out> {
    /// Reads messages up to this many bytes. What it writes has no limit here.
    pub fn new(longest: usize) -> Self {
        Self { longest, kinds: PhantomData }
    }
}

impl<In: Message + Default, Out> Decoder for Frames<In, Out> {
    type Item = In;
    type Error = FrameError;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<In>, FrameError> {
        let Some(head) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > self.longest {
            return Err(FrameError::TooLong { length, longest: self.longest });
        }
        // No room is made for what was only announced.
        let Some(content) = bytes.get(HEAD..HEAD + length) else { return Ok(None) };
        let message = In::decode(content)?;
        bytes.advance(HEAD + length);
        if length > SHORT {
            let mut kept = BytesMut::with_capacity(bytes.len().max(SHORT));
            kept.extend_from_slice(bytes);
            *bytes = kept;
        }
        Ok(Some(message))
    }
}

impl<In, Out: Message> Encoder<Out> for Frames<In, Out> {
    type Error = FrameError;

    fn encode(&mut self, message: Out, bytes: &mut BytesMut) -> Result<(), FrameError> {
        let length = message.encoded_len();
        let Ok(head) = u32::try_from(length) else {
            return Err(FrameError::TooLong { length, longest: u32::MAX as usize });
        };
        bytes.reserve(HEAD + length);
        bytes.put_u32(head);
        message.encode_raw(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    type Both = Frames<v1::SessionRequest, v1::SessionRequest>;

    fn request(number: u64, label: usize) -> v1::SessionRequest {
        let open = v1::Open { label: "x".repeat(label), ..v1::Open::default() };
        v1::SessionRequest { request: number, body: Some(v1::session_request::Body::Open(open)) }
    }

    #[test]
    fn messages_come_out_as_they_went_in_wherever_the_bytes_are_split() {
        let sent: Vec<_> = [0, 1, 300, 3].into_iter().enumerate().map(|(n, size)| request(n as u64, size)).collect();
        let mut wire = BytesMut::new();
        for message in &sent {
            Both::new(0).encode(message.clone(), &mut wire).unwrap();
        }
        for size in [1, 3, 4, 5, 64, wire.len()] {
            let (mut frames, mut bytes, mut come) = (Both::new(1_000), BytesMut::new(), Vec::new());
            for piece in wire.chunks(size) {
                bytes.extend_from_slice(piece);
                while let Some(message) = frames.decode(&mut bytes).unwrap() {
                    come.push(message);
                }
            }
            assert_eq!(come, sent, "in pieces of {size} bytes");
            assert!(frames.decode_eof(&mut bytes).unwrap().is_none());
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_else_comes() {
        let mut bytes = BytesMut::from(&[0, 0, 4, 1][..]);
        assert!(matches!(Both::new(1_024).decode(&mut bytes), Err(FrameError::TooLong { length: 1_025, .. })));
        let mut bytes = BytesMut::from(&[0, 0, 4, 0][..]);
        assert!(matches!(Both::new(1_024).decode(&mut bytes), Ok(None)));
        assert!(bytes.capacity() < 1_024, "an announcement takes no memory");
    }

    #[test]
    fn what_is_no_message_is_refused_and_half_of_one_is_missing_the_rest() {
        let mut bytes = BytesMut::from(&[0, 0, 0, 1, 0xff][..]);
        assert!(matches!(Both::new(1_024).decode(&mut bytes), Err(FrameError::Undecodable(_))));
        let mut bytes = BytesMut::from(&[0, 0, 0, 9, 8][..]);
        assert!(matches!(Both::new(1_024).decode_eof(&mut bytes), Err(FrameError::Connection(_))));
    }

    #[test]
    fn a_long_message_leaves_no_large_buffer_behind() {
        let mut bytes = BytesMut::new();
        let mut frames = Both::new(1 << 20);
        frames.encode(request(1, 200_000), &mut bytes).unwrap();
        assert!(frames.decode(&mut bytes).unwrap().is_some());
        assert!(bytes.try_reclaim(SHORT) && !bytes.try_reclaim(SHORT + 1));
    }
}
