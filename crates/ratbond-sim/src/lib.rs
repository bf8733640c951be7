//! A bond over simulated links in virtual time: both ends, the links between them, and the traffic.
//!
//! **Guarantee.** As in the protocol and the link model, nothing here reads a clock, opens a socket, starts a thread or
//! draws a random number that its seed did not decide. The same setup and seed give the same result, always.
//!
//! The ends are the real ones: the protocol crate's own endpoints, handshakes, ciphers and schedulers included. The links
//! are those that the lab's emulator is made of. What is modelled is the rest: the hosts have no processor that could be
//! too slow, and [`tcp`] is a TCP sender after the RFCs, not the kernel's.
//!
//! - [`pair`]: a client and a server, stepped by the caller; what the protocol's tests are made of.
//! - [`star`]: many named clients on one server; [`workers`]: that server's workers as one endpoint.
//! - [`tcp`], [`exchange`], [`scenario`]: traffic over a pair, and the networks that a bond is judged by.
//! - [`trial`]: links, loads and what came of them, as `ratbond.sim` and `ratbond simulate` have it.

pub mod exchange;
pub mod pair;
pub mod scenario;
pub mod star;
pub mod tcp;
pub mod trial;
pub mod workers;
