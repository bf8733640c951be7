//! Fresh keys for a running session: the session's own Noise handshake again, inside REKEY frames.
//!
//! ```text
//! client                                         server
//!   REKEY offer (Noise 1)         ──any link──►    makes the next master; opens with both, seals with the old
//!   makes the next master   ◄──any link──   REKEY answer (Noise 2)
//!   seals with the new      ──────────────────►    the first datagram in the new phase on any link: seals with the new
//! ```
//! Each end keeps opening with the old keys for three times the largest RTT after it first sealed or opened with the
//! new ones, so that nothing on its way is lost. The frames travel like data: acknowledged, repaired over any link.

use super::noise::Noise;
use super::{Credentials, HandshakeError, Mode, ServerKeys};
use crate::bond::keys::{Master, NoiseOutput};
use crate::bond::secret::Secret32;

/// A rekeying that the client began.
#[derive(Debug)]
pub struct RekeyOffer {
    noise: Noise,
    message: Vec<u8>,
    epoch: u8,
}

impl RekeyOffer {
    /// Begins. `seed` is fresh entropy.
    ///
    /// # Errors
    /// The credentials' keys are no keys.
    pub fn new(master: &Master, credentials: &Credentials, seed: &Secret32) -> Result<Self, HandshakeError> {
        let mut noise = Noise::initiator(credentials, &prologue(master, credentials.mode()), seed)?;
        let mut message = Vec::new();
        noise.write(&[], &mut message)?;
        Ok(Self { noise, message, epoch: master.epoch().wrapping_add(1) })
    }

    /// Content of the REKEY frame: the epoch that this leads to, and the Noise message.
    #[must_use]
    pub fn frame(&self) -> (u8, &[u8]) {
        (self.epoch, &self.message)
    }

    /// Takes the server's answer; the next master.
    ///
    /// # Errors
    /// Not an answer to this offer. The offer is spent: make a new one.
    pub fn finish(mut self, master: &Master, epoch: u8, answer: &[u8]) -> Result<Master, HandshakeError> {
        if epoch != self.epoch {
            return Err(HandshakeError::Unexpected);
        }
        self.noise.read(answer)?;
        Ok(master.next(&self.noise.finish()?))
    }
}

/// The server's side of a rekeying: the answer to put into a REKEY frame, and the next master.
///
/// `client` is the static key that the session began with, `psk` its pre-shared key (named clients).
///
/// # Errors
/// Not an offer for the epoch after `master`'s, or not by the client that the session belongs to.
pub fn answer(
    master: &Master,
    keys: &ServerKeys,
    client: Option<&[u8; 32]>,
    psk: &Secret32,
    (epoch, offer): (u8, &[u8]),
    seed: &Secret32,
) -> Result<(Vec<u8>, Master), HandshakeError> {
    if epoch != master.epoch().wrapping_add(1) {
        return Err(HandshakeError::Unexpected);
    }
    let mut noise = Noise::responder(keys, &prologue(master, keys.mode()), seed)?;
    noise.read(offer)?;
    if keys.mode() == Mode::Named {
        if noise.remote_static().as_ref() != client {
            return Err(HandshakeError::Unproved);
        }
        noise.set_psk(psk)?;
    }
    let mut message = Vec::new();
    noise.write(&[], &mut message)?;
    let output: NoiseOutput = noise.finish()?;
    Ok((message, master.next(&output)))
}

fn prologue(master: &Master, mode: Mode) -> Vec<u8> {
    let mut prologue = b"ratbond bond/1 rekey".to_vec();
    prologue.push(mode.to_wire());
    prologue.push(master.epoch().wrapping_add(1));
    prologue.extend_from_slice(&master.rekey_binding());
    prologue
}
