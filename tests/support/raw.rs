//! Calls with bytes that no generated client would send.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use hyper::body::{Body as _, Frame};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Response, Status};
use tower_service::Service as _;

use super::door::Way;

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
pub async fn call(channel: &Way, path: &str, message: Vec<u8>) -> Result<Response<Bytes>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    client.unary(Request::new(message.into()), PathAndQuery::try_from(path).unwrap(), RawCodec).await
}

/// As somebody who shows this in the header `authorization`, if anything; reads no more than the first answer.
pub async fn first(
    channel: &Way,
    authorization: Option<&str>,
    path: &str,
    message: Vec<u8>,
) -> Result<Option<Bytes>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(futures::stream::iter([Bytes::from(message)]));
    if let Some(authorization) = authorization {
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    }
    client.streaming(request, PathAndQuery::try_from(path).unwrap(), RawCodec).await?.into_inner().message().await
}

/// As [`call`], for methods that answer with a stream; says how it ends.
pub async fn stream(channel: &Way, path: &str, messages: Vec<Vec<u8>>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let messages = futures::stream::iter(messages.into_iter().map(Bytes::from));
    let path = PathAndQuery::try_from(path).unwrap();
    let mut answers = client.streaming(Request::new(messages), path, RawCodec).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

/// A body of which only the beginning ever comes.
struct Unfinished(Option<Bytes>);

impl hyper::body::Body for Unfinished {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }
}

/// Calls a method, sends `bytes`, and then nothing more; says how the broker ends it.
pub async fn unfinished(channel: &Way, path: &str, bytes: Vec<u8>) -> Status {
    let request = http::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    let request = request.body(tonic::body::Body::new(Unfinished(Some(bytes.into())))).unwrap();
    let mut channel = channel.clone();
    poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    let response = channel.call(request).await.unwrap();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let mut body = pin!(response.into_body());
    loop {
        let frame = poll_fn(|context| body.as_mut().poll_frame(context)).await.unwrap().unwrap();
        if let Ok(trailers) = frame.into_trailers() {
            return Status::from_header_map(&trailers).unwrap();
        }
    }
}
