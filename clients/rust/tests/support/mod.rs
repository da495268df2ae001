//! What the tests of the session logic share.

pub(crate) mod script;
pub(crate) mod show;
