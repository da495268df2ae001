//! A collector of spans that speaks OTLP over gRPC, as a test wants it: quick, slow, or one that rejects.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::Trace;
use crate::support::until;

/// A span, and the run of a broker that exported it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub instance: String,
    pub trace: String,
    pub span: String,
    pub parent: String,
    pub name: String,
    pub kind: i32,
    pub attributes: Vec<KeyValue>,
    pub took: u64,
}

impl Seen {
    /// An attribute as text; empty if it is not there.
    pub fn says(&self, key: &str) -> String {
        said(&self.attributes, key)
    }
}

fn said(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == key);
    match value.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => {
            assert_eq!(other, None, "an attribute of another type: {key}");
            String::new()
        }
    }
}

/// What came to a collector.
#[derive(Clone, Default)]
pub struct Came {
    pub spans: Arc<Mutex<Vec<Seen>>>,
    /// As it came, for who looks for what may not be in it.
    pub bytes: Arc<Mutex<Vec<u8>>>,
    /// How long it takes for a batch.
    pub takes: Duration,
    /// Spans of each batch that it does not want.
    pub rejects: i64,
}

#[tonic::async_trait]
impl TraceService for Came {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        tokio::time::sleep(self.takes).await;
        let request = request.into_inner();
        self.bytes.lock().unwrap().extend(request.encode_to_vec());
        for of_resource in request.resource_spans {
            let about = of_resource.resource.unwrap().attributes;
            assert_eq!((said(&about, "service.name"), said(&about, "sixpin.broker")), ("sixpin".into(), "test".into()));
            let instance = said(&about, "service.instance.id");
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                assert!(span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0);
                self.spans.lock().unwrap().push(Seen {
                    instance: instance.clone(),
                    trace: hex(&span.trace_id),
                    span: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    name: span.name,
                    kind: span.kind,
                    attributes: span.attributes,
                    took: span.end_time_unix_nano - span.start_time_unix_nano,
                });
            }
        }
        let partly = ExportTracePartialSuccess { rejected_spans: self.rejects, error_message: "too many".into() };
        Ok(Response::new(ExportTraceServiceResponse { partial_success: Some(partly) }))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A collector that runs as long as this.
pub struct Collector {
    pub address: SocketAddr,
    pub came: Came,
    pub serving: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Collector {
    pub async fn start() -> Self {
        Self::that(Came::default()).await
    }

    pub async fn that(came: Came) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(came.clone());
        let serving = tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, came, serving }
    }

    pub fn settings(&self) -> String {
        to(self.address)
    }

    pub fn all(&self) -> Vec<Seen> {
        self.came.spans.lock().unwrap().clone()
    }

    /// Those of a trace, once there are so many.
    pub async fn spans_of(&self, trace: &Trace, number: usize) -> Vec<Seen> {
        let of = || self.all().into_iter().filter(|span| span.trace == trace.id()).collect::<Vec<_>>();
        until("the spans of a trace", async || of().len() >= number).await;
        assert_eq!(of().len(), number, "{:#?}", of());
        of()
    }

    /// The span of the one request in a trace, with a commit below it.
    pub async fn one_of(&self, trace: &Trace) -> Seen {
        let spans = self.spans_of(trace, 2).await;
        let (request, commit) =
            if spans[0].parent == trace.span() { (&spans[0], &spans[1]) } else { (&spans[1], &spans[0]) };
        assert_eq!((&request.parent, &commit.parent), (&trace.span(), &request.span), "{spans:#?}");
        assert_eq!((commit.name.as_str(), commit.kind), ("store commit", SpanKind::Client.into()));
        assert_eq!(request.kind, i32::from(SpanKind::Server));
        request.clone()
    }
}

pub fn to(address: SocketAddr) -> String {
    format!("[traces]\nendpoint = \"http://{address}\"\n")
}
