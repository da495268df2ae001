//! What every store does on a good day.

pub mod writes;
pub mod batches;
pub mod versions;
pub mod names;
pub mod lists;
pub mod lanes;
pub mod liveness;
pub mod eviction;
pub mod hints;
pub mod races;
