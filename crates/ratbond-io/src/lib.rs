//! Every system call of ratbond's packet path: TUN, UDP, clock, worker threads, link emulator.
//!
//! The protocol ([`ratbond_proto`]) is pure; this crate feeds it. An [`Engine`] is one end of a tunnel: a worker thread
//! that owns the sockets, the tuns and the protocol's endpoint (or several, each with its share of a server's clients), and a
//! handle that talks to it through a command channel and an event queue. No lock is held while a packet waits.

mod cipher;
mod clock;
mod command;
mod config;
pub mod emulator;
mod engine;
mod error;
mod poller;
mod privacy;
pub mod tun;
mod udp;
mod worker;

pub use command::{EngineEvent, EngineEventKind, Snapshot};
pub use config::{EngineConfig, Protocol};
pub use engine::Engine;
pub use error::EngineError;
pub use privacy::keep_memory_private;
pub use tun::Tun;
