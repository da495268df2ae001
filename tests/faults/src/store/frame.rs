//! Messages on a stream of bytes: a length of four bytes, then the message.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// No batch is larger: records of a batch have at most 64 MiB, and their keys are short.
const BYTES_MAX: usize = 128 * 1024 * 1024;

/// Appends a message to a buffer.
pub fn put<T: Serialize>(buffer: &mut Vec<u8>, message: &T) -> io::Result<()> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    buffer.extend_from_slice(&body);
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// The next message. A stream that ends, even within a message, is an error.
pub async fn take<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let length = stream.read_u32_le().await? as usize;
    if length > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    postcard::from_bytes(&body).map_err(io::Error::other)
}
