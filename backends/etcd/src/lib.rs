//! A store on etcd: for clusters that already run one.
//!
//! A batch is one transaction that holds one nested compare-and-swap per record, all of them conditional on the sender's
//! guard and its lane's generation. Versions are etcd's revisions above a base. Change hints come from one watch. With
//! three members or more, what was acknowledged survives the loss of one
//! ([`FailoverSafe`](sixpin_core::backend::Durability)).
//!
//! # Layout, in reading order
//!
//! * [`config`]: the URL and the settings, checked;
//! * [`outcome`]: what each answer of etcd means: exactly one thing;
//! * `keys`: where things stand in etcd;
//! * `root`: the versions that count from the root record;
//! * `wire`: etcd's messages, from `etcd-client`;
//! * `connection`: calls to a cluster: one member at a time, the next one when it fails;
//! * `store`: transactions that notice if it is not the same store any more;
//! * `commit`: a batch as one transaction;
//! * `liveness`: registrations, lanes and their generations;
//! * `watch`: the stream that tells of changes;
//! * `compaction`: of the history, for operators who do not let etcd do it;
//! * `check`: the look at a cluster before it is trusted;
//! * [`backend`]: all this behind the trait of all stores.
//!
//! # Caveats
//!
//! No lease of etcd is used: leases were lost despite keepalives and revoked despite renewals, and a broker's life is
//! decided by compare-and-swap like everything else. The connection is made when it is first
//! used, so the check comes before anything is called open.

pub mod config;
pub mod outcome;
mod keys;
mod root;
mod wire;
mod connection;
mod store;
mod commit;
mod liveness;
mod watch;
mod compaction;
mod check;
pub mod backend;

pub use backend::EtcdBackend;
pub use config::Settings;
pub use sixpin_login::Secret;
