//! The Lock service of etcd, on one lease.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::{Queue, Work};
use crate::handover::{Contender, hand_over};
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
    leases: LeaseClient<Channel>,
    lease: i64,
}

impl Own {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let mut leases = LeaseClient::new(channel.clone());
        let lease = grant(&mut leases).await;
        Self { client: LockClient::new(channel), leases, lease }
    }
}

impl Work for Own {
    async fn slice(&self, in_flight: usize, slice: Duration) -> Tally {
        closed_loop(in_flight, slice, |place| {
            let (client, lease) = (self.client.clone(), self.lease);
            let name = format!("own/{place}").into_bytes();
            move || pair(client.clone(), lease, name.clone())
        })
        .await
    }
}

impl Queue for Own {
    /// Each has a lease of its own: to the service, whoever has the same lease is the same holder.
    async fn hand_over(&self, contenders: usize, slice: Duration) -> Tally {
        let mut queue = Vec::new();
        for _ in 0..contenders {
            queue.push(Queued { client: self.client.clone(), lease: grant(&mut self.leases.clone()).await });
        }
        hand_over(queue, slice).await
    }
}

/// A client in etcd's queue.
struct Queued {
    client: LockClient<Channel>,
    lease: i64,
}

impl Contender for Queued {
    type Held = Vec<u8>;

    async fn lock(&mut self) -> Vec<u8> {
        let request = lock::LockRequest { name: b"own/contended".to_vec(), lease: self.lease };
        self.client.lock(request).await.unwrap().into_inner().key
    }

    async fn release(&mut self, key: Vec<u8>) {
        self.client.unlock(lock::UnlockRequest { key }).await.unwrap();
    }
}

async fn grant(leases: &mut LeaseClient<Channel>) -> i64 {
    let request = lease::LeaseGrantRequest { ttl: LEASE_SECONDS, id: 0 };
    leases.lease_grant(request).await.unwrap().into_inner().id
}

async fn pair(mut client: LockClient<Channel>, lease: i64, name: Vec<u8>) {
    let held = client.lock(lock::LockRequest { name, lease }).await.unwrap().into_inner();
    client.unlock(lock::UnlockRequest { key: held.key }).await.unwrap();
}
