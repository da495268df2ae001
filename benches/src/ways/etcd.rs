//! The Lock service of etcd, on one lease.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::Slices;
use crate::load::{Tally, closed_loop};
use lease::lease_client::LeaseClient;
use lock::lock_client::LockClient;

#[allow(clippy::pedantic, missing_docs, unreachable_pub)] // generated
mod lease {
    tonic::include_proto!("etcdserverpb");
}
#[allow(clippy::pedantic, missing_docs, unreachable_pub)] // generated
mod lock {
    tonic::include_proto!("v3lockpb");
}

/// Longer than any measurement.
const LEASE_SECONDS: i64 = 24 * 3600;

/// One connection and one lease, shared by all places.
pub(crate) struct Own {
    client: LockClient<Channel>,
    lease: i64,
}

impl Own {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let request = lease::LeaseGrantRequest { ttl: LEASE_SECONDS, id: 0 };
        let lease = LeaseClient::new(channel.clone()).lease_grant(request).await.unwrap().into_inner().id;
        Self { client: LockClient::new(channel), lease }
    }
}

impl Slices for Own {
    async fn slice(&self, in_flight: usize, slice: Duration) -> Tally {
        closed_loop(in_flight, slice, |place| {
            let (client, lease) = (self.client.clone(), self.lease);
            let name = format!("own/{place}").into_bytes();
            move || pair(client.clone(), lease, name.clone())
        })
        .await
    }
}

async fn pair(mut client: LockClient<Channel>, lease: i64, name: Vec<u8>) {
    let held = client.lock(lock::LockRequest { name, lease }).await.unwrap().into_inner();
    client.unlock(lock::UnlockRequest { key: held.key }).await.unwrap();
}
