//! The command line as a user has it: the built program, its output and its exit statuses.

mod program;

mod look;
mod waits;
mod administer;
mod damaged;
mod run;
mod run_ends;
mod run_family;
mod run_loss;
mod run_terminal;
mod reach;
mod bench;
mod described;
mod serve_check;
mod access;
mod canaries;
mod encrypted;
