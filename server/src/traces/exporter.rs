//! How spans come to the collector: by OTLP over gRPC, in batches, from a bounded queue.
//!
//! A batch that the collector does not take in time is dropped and counted: whoever keeps it for later keeps more and more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Uri;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use super::otlp;
use super::span::Record;

/// Requests in one batch at most.
const BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for more.
const LINGER: Duration = Duration::from_millis(500);
/// How long a collector may take for a batch, the connection to it included.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);
/// That spans are dropped is said this often at most.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// What waits for the exporter.
pub(super) enum Item {
    /// To be exported.
    Span(Box<Record>),
    /// Somebody waits until everything before is exported.
    Flush(oneshot::Sender<()>),
}

/// The task that exports.
pub(super) struct Exporter {
    collector: TraceServiceClient<Channel>,
    endpoint: Uri,
    resource: Resource,
    dropped: Arc<AtomicU64>,
    /// When it was said last that spans are dropped.
    said: Option<Instant>,
}

impl Exporter {
    pub(super) fn new(endpoint: Uri, broker: &str, dropped: Arc<AtomicU64>) -> Self {
        let channel = Endpoint::from(endpoint.clone()).connect_timeout(EXPORT_WITHIN).connect_lazy();
        let collector = TraceServiceClient::new(channel);
        Self { collector, endpoint, resource: otlp::resource(broker), dropped, said: None }
    }

    /// Exports until nothing can come any more.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Item>) {
        let (mut items, mut batch, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(first) = waiting.recv().await {
            items.push(first);
            let linger = sleep(LINGER);
            tokio::pin!(linger);
            loop {
                for item in items.drain(..) {
                    match item {
                        Item::Span(record) => batch.push(*record),
                        Item::Flush(done) => flushes.push(done),
                    }
                }
                if batch.len() >= BATCH_MAX || !flushes.is_empty() {
                    break;
                }
                tokio::select! {
                    biased;
                    () = &mut linger => break,
                    came = waiting.recv_many(&mut items, BATCH_MAX - batch.len()) => if came == 0 { break },
                }
            }
            self.export(std::mem::take(&mut batch)).await;
            for done in flushes.drain(..) {
                // Whoever waited may have given up.
                let _ = done.send(());
            }
        }
    }

    async fn export(&mut self, batch: Vec<Record>) {
        let requests = batch.len() as u64;
        if requests == 0 {
            return;
        }
        let request = otlp::request(&self.resource, batch);
        match timeout(EXPORT_WITHIN, self.collector.export(request)).await {
            Ok(Ok(response)) => self.rejected(response.into_inner(), requests),
            Ok(Err(status)) => self.drop(requests, status.message()),
            Err(_) => self.drop(requests, "no answer in time"),
        }
    }

    /// A collector may take a part. How many requests that concerns it does not say: at most as many as spans.
    fn rejected(&mut self, response: ExportTraceServiceResponse, requests: u64) {
        let Some(partly) = response.partial_success else { return };
        let rejected = u64::try_from(partly.rejected_spans).unwrap_or_default().min(requests);
        if rejected > 0 {
            self.drop(rejected, &partly.error_message);
        }
    }

    fn drop(&mut self, requests: u64, why: &str) {
        self.dropped.fetch_add(requests, Ordering::Relaxed);
        if self.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            self.said = Some(Instant::now());
            let why: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
            tracing::warn!(endpoint = %self.endpoint, why, "the collector does not take traces: they are dropped, locks go on");
        }
    }
}
