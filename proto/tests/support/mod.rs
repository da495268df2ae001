//! What the fuzz target `frames` does; `fuzz/fuzz_targets/frames.rs` runs it on bytes that nobody chose.

use bytes::BytesMut;
use sixpin_proto::frames::{FrameError, Frames};
use sixpin_proto::v1::SessionRequest;
use tokio_util::codec::{Decoder as _, Encoder as _};

type Both = Frames<SessionRequest, SessionRequest>;

/// Longest message, as a broker has it.
const LONGEST: usize = 64 * 1024;

/// Arbitrary bytes on a connection: the messages in them come out the same wherever the bytes are split, and what is read
/// can be written and read again.
pub fn frames(data: &[u8]) {
    let (whole, end) = read([data]);
    for place in [1, data.len() / 3, data.len() / 2, data.len().saturating_sub(1)] {
        let (first, last) = data.split_at(place.min(data.len()));
        assert_eq!(read([first, last]), (whole.clone(), end.clone()), "split at {place}");
    }
    let mut written = BytesMut::new();
    for message in &whole {
        Both::new(LONGEST).encode(message.clone(), &mut written).unwrap();
    }
    assert_eq!(read([&written[..]]), (whole, None));
}

/// The messages in these pieces, and how reading them failed.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<SessionRequest>, Option<String>) {
    let (mut reader, mut bytes, mut messages) = (Both::new(LONGEST), BytesMut::new(), Vec::new());
    for piece in pieces {
        bytes.extend_from_slice(piece);
        loop {
            match reader.decode(&mut bytes) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error @ (FrameError::TooLong { .. } | FrameError::Undecodable(_))) => {
                    return (messages, Some(error.to_string()));
                }
                Err(FrameError::Connection(error)) => panic!("there is no connection: {error}"),
            }
        }
    }
    (messages, None)
}
