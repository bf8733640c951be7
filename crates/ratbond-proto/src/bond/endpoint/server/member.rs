//! A session of a client: the one that runs, or one that is not confirmed yet.

use std::collections::VecDeque;

use super::MAX_ANSWERS;
use crate::bond::datagram::ReceiverIndex;
use crate::bond::endpoint::roster::Client;
use crate::bond::endpoint::sealed::Sealed;
use crate::bond::frame::RekeyStep;
use crate::bond::handshake::join::Join;
use crate::bond::handshake::server::ClientId;
use crate::bond::handshake::{ServerKeys, rekey};
use crate::bond::kdf::MacKey;
use crate::bond::link::Control;
use crate::bond::secret::Secret32;
use crate::endpoint::SessionId;
use crate::link::LinkId;
use crate::time::Time;

/// See the module.
#[derive(Debug)]
pub(super) struct Member {
    pub client: SessionId,
    /// The same in all handshakes of one process of the client.
    pub steer: ReceiverIndex,
    pub sealed: Sealed,
    /// Answers to JOINs: link and client's index, and the server's index.
    pub joined: VecDeque<(u16, ReceiverIndex, ReceiverIndex)>,
}

impl Member {
    /// The join key of an epoch, if it made the proof. A client that joins with the next epoch's has its keys.
    pub fn join_key(&mut self, now: Time, epoch: u8, datagram: &[u8]) -> Option<MacKey> {
        let keys = self.sealed.keys.as_ref()?;
        let next = keys.next.as_ref().filter(|next| next.epoch() == epoch);
        let master = next.or(Some(&keys.master).filter(|master| master.epoch() == epoch))?;
        let (key, is_next) = (master.join_key(), next.is_some());
        if !Join::verify(datagram, &key) {
            return None;
        }
        if is_next {
            self.sealed.switch(now);
        }
        Some(key)
    }

    pub fn remember(&mut self, join: Join, own: ReceiverIndex) {
        if self.joined.len() >= MAX_ANSWERS {
            self.joined.pop_front();
        }
        self.joined.push_back((join.link, join.sender, own));
    }

    /// Answers a client's offer of new keys; an offer that proves nothing gets no answer.
    pub fn rekey(
        &mut self,
        server: &ServerKeys,
        client: &Client,
        over: LinkId,
        offer: (u8, &[u8]),
        seed: &Secret32,
    ) {
        let Some(keys) = &self.sealed.keys else { return };
        let public_key = match &client.id {
            ClientId::Named(key) => Some(key),
            ClientId::Shared => None,
        };
        let answer = rekey::answer(&keys.master, server, public_key, &client.psk, offer, seed);
        let Ok((message, next)) = answer else { return };
        let frame = Control::Rekey { step: RekeyStep::Answer, epoch: next.epoch(), message };
        self.sealed.expect(next);
        if let Some(link) = self.sealed.session.link_mut(over) {
            link.bond_mut().send_control(frame);
        }
    }
}
