//! Calls with bytes that no generated client would send.

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// Sends and receives bytes as they are.
#[derive(Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Calls a method with one message and reads one answer.
pub async fn call(channel: &Channel, path: &'static str, message: Vec<u8>) -> Result<Response<Bytes>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    client.unary(Request::new(message.into()), PathAndQuery::from_static(path), RawCodec).await
}

/// As [`call`], for methods that answer with a stream; says how it ends.
pub async fn stream(channel: &Channel, path: &'static str, messages: Vec<Vec<u8>>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let messages = futures::stream::iter(messages.into_iter().map(Bytes::from));
    let path = PathAndQuery::from_static(path);
    let mut answers = client.streaming(Request::new(messages), path, RawCodec).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}
