//! The figures of one run, as JSON.

use serde::{Deserialize, Serialize};

/// What was measured on one store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    /// Which store.
    pub store: String,
    /// How long each way worked before the next one had its turn.
    pub slice_seconds: f64,
    /// How many turns each way had.
    pub rounds: u32,
    /// Pairs of lock and unlock on resources that nobody else wants.
    pub pairs: Vec<Point>,
    /// One lock that many want.
    pub hand_overs: Vec<Point>,
    /// Pairs over several brokers on the store.
    #[serde(default)]
    pub brokers: Vec<Point>,
}

/// What all ways did under one load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    /// Pairs in flight, how many wanted the lock, or brokers.
    pub load: u16,
    /// In the order of the table.
    pub ways: Vec<Way>,
}

/// What one way did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Way {
    /// Its name.
    pub way: String,
    /// Pairs, or hand-overs, in a second: the quartiles of the turns.
    pub per_second: [f64; 3],
    /// Of pairs the rate, of hand-overs the median time, each over that of the store's own way in the same round: quartiles.
    pub of_own: [f64; 3],
    /// How long half of them took at most, in microseconds.
    pub p50_us: u64,
    /// How long all but one in a hundred took.
    pub p99_us: u64,
}
