//! Real brokers, clients and stores as processes: killed, frozen, cut off from each other; and a checker that reads what
//! the clients saw.
//!
//! The simulator (`tests/simulation`) finds out whether the rules are right. This crate finds out whether the processes
//! keep them: sockets, signals, runtimes and real stores included. A schedule here is not repeatable; what is checked is
//! the history that the clients recorded, on the one clock that all processes of a machine share.
//!
//! # Layout, in reading order
//!
//! * [`store`]: a networked store that needs nothing installed, for these tests only;
//! * [`open`]: opens it beside those that the program knows;
//! * [`world`]: brokers on one store, with a network between all of them that can be broken;
//! * [`history`]: what clients saw, and when;
//! * [`register`]: what the locks guard;
//! * [`load`]: clients that lock, convert, cancel and release at random;
//! * [`process`]: such a client as a process of its own;
//! * [`check`]: what must hold of a history;
//! * [`run`]: load, faults, and the check at the end;
//! * [`faults`]: what is done to the processes;
//! * [`members`]: what is done to members of a store, and how soon brokers grant again;
//! * [`times`]: how long it takes until a lock is free again;
//! * [`sessions`]: very many sessions at one broker.

pub mod store;
pub mod open;
pub mod world;
pub mod history;
pub mod register;
pub mod load;
pub mod process;
pub mod check;
pub mod run;
pub mod faults;
pub mod members;
pub mod times;
pub mod sessions;
