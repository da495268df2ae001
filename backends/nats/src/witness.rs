//! What was seen of the store, so that one which lost its memory is recognised.
//!
//! A stream that was deleted and made anew has another time of creation. One that lost its unsynced tail has a last
//! sequence below one that was seen: versions would repeat. Both are final: whoever opened the store before must not go
//! on with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sixpin_core::backend::StoreError;

use crate::api::StreamInfo;

/// In a cluster a leader that was deposed and does not know it yet may tell an old sequence. It finds out within this
/// time, so a sequence that is low for longer is a loss.
const DEPOSED_FOR: Duration = Duration::from_secs(15);

/// Remembers the stream as it was when the store was opened, and the highest sequence seen.
#[derive(Debug)]
pub(crate) struct Witness {
    created: String,
    replicas: usize,
    highest: AtomicU64,
    low_since: Mutex<Option<Instant>>,
    lost: OnceLock<String>,
}

impl Witness {
    pub(crate) fn new(info: &StreamInfo) -> Self {
        Self {
            created: info.created.clone(),
            replicas: info.config.num_replicas,
            highest: AtomicU64::new(info.state.last_seq),
            low_since: Mutex::new(None),
            lost: OnceLock::new(),
        }
    }

    /// This sequence stands in the store.
    pub(crate) fn saw(&self, sequence: u64) {
        self.highest.fetch_max(sequence, Ordering::SeqCst);
    }

    /// What is sent from now on gets a higher sequence than this.
    pub(crate) fn highest(&self) -> u64 {
        self.highest.load(Ordering::SeqCst)
    }

    /// The store lost its memory. The first reason stays.
    pub(crate) fn lose(&self, reason: String) -> StoreError {
        let reason = self.lost.get_or_init(|| {
            tracing::error!(%reason, "the store lost its memory");
            reason
        });
        StoreError::Amnesia(reason.clone())
    }

    /// Whether the store lost its memory.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.lost.get().map_or(Ok(()), |reason| Err(StoreError::Amnesia(reason.clone())))
    }

    /// Compares the stream as it is now with what was seen before `highest` was read.
    pub(crate) fn compare(&self, info: &StreamInfo, highest: u64) -> Result<(), StoreError> {
        if info.created != self.created {
            return Err(self.lose(format!("the stream was made anew at {}", info.created)));
        }
        let mut low_since = self.low_since.lock().unwrap_or_else(PoisonError::into_inner);
        if info.state.last_seq >= highest {
            *low_since = None;
            return Ok(());
        }
        let reason = format!("the last sequence fell from {highest} to {}", info.state.last_seq);
        let since = *low_since.get_or_insert_with(Instant::now);
        if self.replicas > 1 && since.elapsed() < DEPOSED_FOR {
            return Err(StoreError::Unavailable(reason));
        }
        Err(self.lose(reason))
    }
}
