//! A key of a JetStream bucket: who creates it has the lock, and deletes it afterwards.

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::jetstream::kv::{Config, Store};

use super::{Queue, Work};
use crate::handover::{Contender, hand_over, look_later};
use crate::load::{Tally, closed_loop};

/// One connection, shared by all places.
pub(crate) struct Own(Store);

impl Own {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let client = async_nats::connect(address.to_string()).await.unwrap();
        let config = Config { bucket: "own".into(), history: 1, ..Default::default() };
        Self(async_nats::jetstream::new(client).create_or_update_key_value(config).await.unwrap())
    }
}

impl Work for Own {
    async fn slice(&self, in_flight: usize, slice: Duration) -> Tally {
        closed_loop(in_flight, slice, |place| {
            let bucket = self.0.clone();
            let key = format!("place.{place}");
            move || pair(bucket.clone(), key.clone())
        })
        .await
    }
}

impl Queue for Own {
    async fn hand_over(&self, contenders: usize, slice: Duration) -> Tally {
        hand_over((0..contenders).map(|_| Polling(self.0.clone())).collect(), slice).await
    }
}

/// A client that looks again and again.
struct Polling(Store);

impl Contender for Polling {
    type Held = ();

    async fn lock(&mut self) {
        while self.0.create("contended", "held".into()).await.is_err() {
            look_later().await;
        }
    }

    async fn release(&mut self, (): ()) {
        self.0.delete("contended").await.unwrap();
    }
}

async fn pair(bucket: Store, key: String) {
    bucket.create(key.as_str(), "held".into()).await.unwrap();
    bucket.delete(key.as_str()).await.unwrap();
}
