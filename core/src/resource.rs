//! One resource: three queues, one grant test, one regrant pass.
