//! What a store does when links, servers and hints fail.

pub mod freezes;
pub mod hints;
pub mod links;
pub mod refusals;
pub mod restarts;
pub mod wipes;
