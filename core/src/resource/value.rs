//! The value block of a resource (section 12).

use bytes::{Bytes, BytesMut};

use crate::command::{Options, Value};
use crate::limits::VALUE_BLOCK_BYTES_MAX;
use crate::mode::ValueMove;

static ZEROES: [u8; VALUE_BLOCK_BYTES_MAX] = [0; VALUE_BLOCK_BYTES_MAX];

/// The bytes, how often they were written, and whether they can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ValueBlock {
    pub(crate) bytes: Bytes,
    pub(crate) seq: u64,
    pub(crate) invalid: bool,
}

impl ValueBlock {
    /// That of a resource that comes into being: zero bytes, never written, valid (V7).
    pub(crate) fn zero(length: usize) -> Self {
        let length = length.min(ZEROES.len());
        Self { bytes: Bytes::from_static(&ZEROES[..length]), seq: 0, invalid: false }
    }

    /// What the table says for a step: write (V4), or mark invalid instead (V5). Reads and nothing leave it alone (V1).
    pub(crate) fn step(&mut self, moved: ValueMove, options: Options, bytes: Option<&Bytes>, length: usize) {
        if moved != ValueMove::Write {
            return;
        }
        if options.contains(Options::INVALIDATE_VALUE) {
            self.invalid = true;
        } else if options.contains(Options::VALUE_BLOCK) {
            self.bytes = padded(bytes, length);
            self.seq = self.seq.saturating_add(1);
            self.invalid = false;
        }
    }

    /// What a completion reports (V6).
    pub(crate) fn report(&self, read: bool) -> Value {
        Value { bytes: read.then(|| self.bytes.clone()), seq: self.seq, invalid: self.invalid }
    }
}

/// The bytes, filled up with zeroes to the length of the lockspace's value blocks (V10).
fn padded(bytes: Option<&Bytes>, length: usize) -> Bytes {
    let length = length.min(ZEROES.len());
    let Some(bytes) = bytes else {
        return Bytes::from_static(&ZEROES[..length]);
    };
    if bytes.len() >= length {
        return bytes.clone();
    }
    let mut block = BytesMut::with_capacity(length);
    block.extend_from_slice(bytes);
    block.resize(length, 0);
    block.freeze()
}

/// A6: why the value bytes of a call cannot be accepted.
pub(crate) fn check(
    moved: ValueMove,
    options: Options,
    bytes: Option<&Bytes>,
    length: usize,
) -> Result<(), &'static str> {
    let given = bytes.map_or(0, Bytes::len);
    if given > length.min(ZEROES.len()) {
        return Err("the value is longer than the value blocks of the lockspace");
    }
    let writes = moved == ValueMove::Write
        && options.contains(Options::VALUE_BLOCK)
        && !options.contains(Options::INVALIDATE_VALUE);
    if writes && given == 0 {
        return Err("value_block needs bytes: this call would write the value block");
    }
    Ok(())
}
