//! What was seen of the store, so that one which lost its memory is recognised.
//!
//! A stream that was deleted and made anew has another time of creation. One that lost its unsynced tail has a last
//! sequence below one that was seen: versions would repeat. Both are final: whoever opened the store before must not go
//! on with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sixpin_core::backend::StoreError;
use sixpin_core::standing::History;

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
    // Consensus or the operator's word keeps what was acknowledged, so it does not matter which server answers.
    lasting: bool,
    // The history that answered last, the one that the broker knows of, and the one in which its writes were looked for.
    history: AtomicU64,
    trusted: AtomicU64,
    checked: AtomicU64,
    // The last write that was acknowledged here: its subject and sequence.
    own: Mutex<(String, u64)>,
}

impl Witness {
    pub(crate) fn new(info: &StreamInfo, lasting: bool, history: History) -> Self {
        let history = if lasting { History::LASTING } else { history };
        Self {
            created: info.created.clone(),
            replicas: info.config.num_replicas,
            highest: AtomicU64::new(info.state.last_seq),
            low_since: Mutex::new(None),
            lost: OnceLock::new(),
            lasting,
            history: AtomicU64::new(history.0),
            trusted: AtomicU64::new(history.0),
            checked: AtomicU64::new(history.0),
            own: Mutex::default(),
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

    /// This history answers.
    pub(crate) fn answered(&self, history: History) {
        if !self.lasting {
            self.history.store(history.0, Ordering::SeqCst);
        }
    }

    /// The history that answered last.
    pub(crate) fn history(&self) -> History {
        History(self.history.load(Ordering::SeqCst))
    }

    /// The broker knows of this history.
    pub(crate) fn trust(&self, history: History) {
        self.trusted.store(history.0, Ordering::SeqCst);
    }

    /// Whether the broker knows of the history that answers.
    pub(crate) fn is_trusted(&self) -> bool {
        self.history().0 == self.trusted.load(Ordering::SeqCst)
    }

    /// This write was acknowledged.
    pub(crate) fn acknowledged(&self, subject: &str, sequence: u64) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if sequence > own.1 {
            *own = (subject.to_owned(), sequence);
        }
    }

    /// The last write that was acknowledged, if it was not looked for in the history that answers.
    pub(crate) fn unchecked(&self) -> Option<(String, u64)> {
        if self.history().0 == self.checked.load(Ordering::SeqCst) {
            return None;
        }
        Some(self.own.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// It was found in this history.
    pub(crate) fn found(&self, history: History) {
        self.checked.store(history.0, Ordering::SeqCst);
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

    /// Fails if the stream was made anew.
    pub(crate) fn same_stream(&self, info: &StreamInfo) -> Result<(), StoreError> {
        if info.created == self.created {
            return Ok(());
        }
        Err(self.lose(format!("the stream was made anew at {}", info.created)))
    }

    /// Compares the stream as it is now with what was seen before `highest` was read.
    pub(crate) fn compare(&self, info: &StreamInfo, highest: u64) -> Result<(), StoreError> {
        self.same_stream(info)?;
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
