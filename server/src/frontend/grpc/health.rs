//! The standard health service: SERVING only while every engine serves.
//!
//! A load balancer that asks takes a broker out that is starting, cannot vouch, was evicted or drains. The answer is
//! for the whole process (the empty name) and for each service by name.

use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::frontend::api::Api;

/// How often the engines are asked.
const INTERVAL: Duration = Duration::from_millis(500);
/// What is reported, besides the process as a whole.
const SERVICES: [&str; 4] = ["", "sixpin.v1.LockService", "sixpin.v1.InspectService", "sixpin.v1.AdminService"];

/// The state of health of one process.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
}

impl Default for Health {
    fn default() -> Self {
        Self { reporter: HealthReporter::new() }
    }
}

impl Health {
    /// The service that answers.
    pub(super) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Asks the engines now and then, for ever.
    pub async fn follow(self, api: Api) {
        let mut last = None;
        loop {
            let serving = api.serves().await;
            if last.replace(serving) != Some(serving) {
                self.report(serving).await;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Reports the same for everything.
    pub async fn report(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
