//! What the measurements write and the plots read.

pub mod figures;
