//! The lock that the manual of Redis describes for one server: `SET key token NX PX`, and a script that deletes the key
//! if the token is still there.

use std::net::SocketAddr;
use std::time::Duration;

use redis::aio::MultiplexedConnection;

use super::Slices;
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

impl Slices for Own {
    async fn slice(&self, in_flight: usize, slice: Duration) -> Tally {
        closed_loop(in_flight, slice, |place| {
            let connection = self.0.clone();
            let key = format!("own/{place}");
            move || pair(connection.clone(), key.clone())
        })
        .await
    }
}

async fn pair(mut connection: MultiplexedConnection, key: String) {
    let token = rand::random::<u64>();
    let mut lock = redis::cmd("SET");
    lock.arg(&key).arg(token).arg("NX").arg("PX").arg(10_000);
    let locked: Option<String> = lock.query_async(&mut connection).await.unwrap();
    assert_eq!(locked.as_deref(), Some("OK"), "nobody else wants {key}");
    let script = redis::Script::new(RELEASE);
    let released: u32 = script.key(&key).arg(token).invoke_async(&mut connection).await.unwrap();
    assert_eq!(released, 1, "{key} was ours");
}
