//! A resource as bytes.
