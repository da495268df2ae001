//! Streams without HTTP/2: their messages as bytes, which a network brings in pieces.
//!
//! Every second stream goes so. Where the bytes are cut is made from what was sent before, so that no schedule changes by it.

use bytes::BytesMut;
use sixpin_proto::frames::Frames;
use sixpin_proto::prost::Message;
use tokio_util::codec::{Decoder as _, Encoder as _};

/// Longest message of either side.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One direction of a stream.
#[derive(Debug)]
pub(crate) struct Pipe<M> {
    frames: Frames<M, M>,
    /// What has come, and is no whole message yet.
    come: BytesMut,
    carried: usize,
}

impl<M: Message + Default + Clone + PartialEq> Pipe<M> {
    pub(crate) fn new() -> Self {
        Self { frames: Frames::new(MESSAGE_BYTES_MAX), come: BytesMut::new(), carried: 0 }
    }

    /// The message as it comes out at the other end, if it does. With `forgetful` the reader keeps nothing between two pieces.
    pub(crate) fn carry(&mut self, message: &M, forgetful: bool) -> Option<M> {
        let mut bytes = BytesMut::new();
        self.frames.encode(message.clone(), &mut bytes).ok()?;
        self.carried += bytes.len();
        let last = bytes.split_off(self.carried % bytes.len());
        self.come.extend_from_slice(&bytes);
        if self.frames.decode(&mut self.come).ok()?.is_some() {
            return None;
        }
        if forgetful {
            self.come.clear();
        }
        self.come.extend_from_slice(&last);
        let come = self.frames.decode(&mut self.come).ok()??;
        (come == *message && self.come.is_empty()).then_some(come)
    }
}
