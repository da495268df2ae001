//! One stranger must not stop the others: a real broker is attacked while honest sessions lock and unlock beside it.
//!
//! What must hold for every attack: no honest session expires or is refused anything, the broker's memory grows by a
//! bounded amount and comes back, and the broker lives and ends when it is told to. How much slower honest locks became
//! is reported and never fails anything: on a busy machine it says more about the machine.
//!
//! All traffic stays on loopback. The honest clients come from 127.0.0.1, each attack from a loopback address of its own,
//! which the broker is told to treat like any stranger's. Every attack is bounded in connections and in time.
//!
//! # Layout, in reading order
//!
//! * [`wire`]: HTTP/2 as an attacker speaks it; [`http`]: HTTP/1.1 and WebSocket; [`hello`]: TLS;
//! * [`secrets`]: certificates and tokens, where the broker wants them;
//! * [`target`]: connections to the broker, with TLS or without ([`socket`]);
//! * [`attacks`]: what they do;
//! * [`honest`]: the clients beside them;
//! * [`broker`]: the broker as a process;
//! * [`trial`]: an attack on a broker, and the verdict.

pub mod attacks;
pub mod broker;
pub mod hello;
pub mod honest;
pub mod http;
pub mod secrets;
pub mod socket;
pub mod target;
pub mod trial;
pub mod wire;
