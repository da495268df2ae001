//! The lock that the manual of Redis describes for one server: `SET key token NX PX`, and a script that deletes the key
//! if the token is still there.

use std::net::SocketAddr;
use std::time::Duration;

use redis::aio::MultiplexedConnection;

use super::{Queue, Work};
use crate::handover::{Contender, hand_over, look_later};
use crate::load::{Tally, closed_loop};

const RELEASE: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

/// One connection, shared by all places.
pub(crate) struct Own(MultiplexedConnection);

impl Own {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let client = redis::Client::open(format!("redis://{address}/0?protocol=resp3")).unwrap();
        Self(client.get_multiplexed_async_connection().await.unwrap())
    }
}

impl Work for Own {
    async fn slice(&self, in_flight: usize, slice: Duration) -> Tally {
        closed_loop(in_flight, slice, |place| {
            let connection = self.0.clone();
            let key = format!("own/{place}");
            move || pair(connection.clone(), key.clone())
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
struct Polling(MultiplexedConnection);

impl Contender for Polling {
    type Held = u64;

    async fn lock(&mut self) -> u64 {
        let token = rand::random::<u64>();
        while !try_lock(&mut self.0, "own/contended", token).await {
            look_later().await;
        }
        token
    }

    async fn release(&mut self, token: u64) {
        release(&mut self.0, "own/contended", token).await;
    }
}

async fn try_lock(connection: &mut MultiplexedConnection, key: &str, token: u64) -> bool {
    let mut lock = redis::cmd("SET");
    lock.arg(key).arg(token).arg("NX").arg("PX").arg(10_000);
    let locked: Option<String> = lock.query_async(connection).await.unwrap();
    locked.is_some()
}

async fn release(connection: &mut MultiplexedConnection, key: &str, token: u64) {
    let released: u32 = redis::Script::new(RELEASE).key(key).arg(token).invoke_async(connection).await.unwrap();
    assert_eq!(released, 1, "{key} was ours");
}

async fn pair(mut connection: MultiplexedConnection, key: String) {
    let token = rand::random::<u64>();
    assert!(try_lock(&mut connection, &key, token).await, "nobody else wants {key}");
    release(&mut connection, &key, token).await;
}
