//! The broker as a machine.
