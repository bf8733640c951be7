//! `bond/1`: the sealed link protocol, as building blocks. The bytes are in docs/wire.md.

pub mod ack;
pub mod datagram;
pub mod frame;
pub mod fuzz;
pub mod handshake;
pub mod kdf;
pub mod keyring;
pub mod keys;
pub mod link;
pub mod recovery;
pub mod replay;
pub mod secret;
