//! How long it takes until a lock is free again.
