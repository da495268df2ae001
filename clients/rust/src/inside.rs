//! The broker inside this program.

use std::sync::Arc;

use sixpin_server::embedded::Embedded;
pub(crate) use sixpin_server::frontend::grpc::inside::Services;

/// The broker inside this program, as long as anything of the client is left. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Inside {
    /// Started for this client, and ends with it.
    Own(Arc<Embedded>),
    /// The program started this broker, and ends it.
    Other(Services),
}

impl Inside {
    /// What to call; nothing once the broker has ended.
    pub(crate) fn services(&self) -> Option<Services> {
        match self {
            Self::Own(broker) => broker.services(),
            Self::Other(services) => Some(services.clone()),
        }
    }

    /// Waits until it has left its store, if it is this client's own.
    pub(crate) async fn end(&self) {
        match self {
            Self::Own(broker) => broker.end().await,
            Self::Other(_) => {}
        }
    }
}
