//! `bond/1`: the sealed link protocol, as building blocks. The bytes are in docs/wire.md.
//!
//! | module | what it holds |
//! |---|---|
//! | [`datagram`] | the clear header: kind, receiver index, packet number |
//! | [`frame`] | frames inside a sealed datagram: read without copying, written in place |
//! | [`handshake`] | how a session begins, links join, keys are renewed |
//! | [`kdf`], [`keys`], [`keyring`] | key schedule, sealing, key epochs of a link |
//! | [`secret`], [`entropy`] | memory that is wiped, random numbers that are forgotten |
//! | [`replay`], [`ack`] | the receiver: what has come, when to say so |
//! | [`recovery`] | the sender: what is in flight, what is lost, what acks say of the path |
//! | [`address`] | where the peer is, and how it may move |
//! | [`link`] | [`BondLink`](link::BondLink): one link composed of all that |
//! | [`endpoint`] | one end of a tunnel: handshakes, joins, sessions |
//! | [`fuzz`] | entry points for fuzzing |
//!
//! What spans links is beside this module: [`crate::numbering`], [`crate::resequencer`].

pub mod ack;
pub mod address;
pub mod datagram;
pub mod endpoint;
pub mod entropy;
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
