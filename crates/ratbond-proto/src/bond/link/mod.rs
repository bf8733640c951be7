//! One sealed link: what is to go out over it, what is on its way, what has come.
//!
//! A link takes numbered packets while its window allows, gives datagrams, hands up what arrived, and gives back what was
//! lost, to be sent again over whichever link is best. It never decides where a packet goes, nor whether a link is
//! alive: that is the session's business.

mod control;
mod copies;
mod receive;
mod sealed;
mod transmit;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

pub use self::control::{Control, OwnedAck};
pub use self::receive::{Opened, Received, Rejected};
pub use self::sealed::{Notice, SealedLink};

use self::copies::Copied;
use super::ack::AckState;
use super::datagram::{ReceiverIndex, SEALED_OVERHEAD};
use super::frame::{DATA_HEADER_LEN, LinkDownReason};
use super::keyring::{Keyring, grace};
use super::keys::{Cipher, Master};
use super::recovery::{BadAck, Outcome, Recovery, Timeout};
use super::replay::ReplayWindow;
use crate::numbering::Numbering;
use crate::packet::{Packet, PacketPool};
use crate::path::{AckSample, PathModel};
use crate::session::Role;
use crate::time::Time;

/// Datagrams are at most this long until path MTU discovery has found more or less: 1,500 less IPv4 and UDP.
pub const DEFAULT_DATAGRAM_LEN: usize = 1_472;
/// DATA frames in one datagram at most.
const MAX_ITEMS: usize = 16;
/// Empty content lists that are kept for reuse.
const MAX_SPARE: usize = 4_096;

/// What a datagram carried and somebody may have to send again.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// A packet.
    Data(Numbering, Packet),
    /// A frame of the protocol itself.
    Control(Control),
}

/// Who a link is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Which end this is.
    pub role: Role,
    /// Number of the link in its session.
    pub link: u16,
    /// How this end is addressed on it.
    pub own: ReceiverIndex,
    /// How the peer is.
    pub peer: ReceiverIndex,
}

/// Counters since the link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams sent, those that only acknowledge included.
    pub sent: u64,
    /// Of these, those that only acknowledge.
    pub sent_acks_only: u64,
    /// Datagrams that opened.
    pub received: u64,
    /// Datagrams with a number that had come before, or too old to tell.
    pub replayed: u64,
    /// Datagrams that did not open, or had no key.
    pub forged: u64,
    /// Datagrams that opened and held an invalid frame.
    pub malformed: u64,
    /// Datagrams declared lost.
    pub lost: u64,
    /// Of these, those that had arrived all the same.
    pub false_alarms: u64,
    /// Probes for a lost tail.
    pub probes: u64,
}

/// One link of a `bond/1` session; pure.
#[derive(Debug)]
pub struct BondLink {
    identity: Identity,
    keys: Keyring,
    replay: ReplayWindow,
    acks: AckState,
    recovery: Recovery<Vec<Item>>,
    path: PathModel,
    control: VecDeque<Control>,
    data: VecDeque<(Numbering, Packet)>,
    data_bytes: usize,
    /// Whether packets have waited for the pace without a break since the queue here was last empty.
    waited: bool,
    copied: Copied,
    probe: bool,
    datagram_len: usize,
    lost: Vec<Item>,
    outcome: Outcome<Vec<Item>>,
    spare: Vec<Vec<Item>>,
    counters: Counters,
}

impl BondLink {
    /// A link under the keys of `master`.
    #[must_use]
    pub fn new(now: Time, identity: Identity, master: &Master, cipher: Cipher) -> Self {
        Self {
            identity,
            keys: Keyring::new(identity.role, master, cipher, identity.link),
            replay: ReplayWindow::default(),
            acks: AckState::default(),
            recovery: Recovery::new(now),
            path: PathModel::default(),
            control: VecDeque::new(),
            data: VecDeque::new(),
            data_bytes: 0,
            waited: false,
            copied: Copied::default(),
            probe: false,
            datagram_len: DEFAULT_DATAGRAM_LEN,
            lost: Vec::new(),
            outcome: Outcome::default(),
            spare: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Who it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The largest UDP payload that it sends; path MTU discovery sets it.
    pub fn set_datagram_len(&mut self, len: usize) {
        self.datagram_len = len;
    }

    /// The largest packet that fits into one datagram.
    #[must_use]
    pub const fn max_packet_len(&self) -> usize {
        self.datagram_len - SEALED_OVERHEAD - DATA_HEADER_LEN
    }

    /// Bytes of packets that it takes now: its window less what is in flight and what it already took.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        if !self.recovery.has_room() {
            return 0;
        }
        self.path.window_bytes().saturating_sub(self.recovery.in_flight_bytes() + self.data_bytes as u64)
    }

    /// Takes a packet of at most [`max_packet_len`](Self::max_packet_len) bytes. The caller has asked
    /// [`room_bytes`](Self::room_bytes).
    pub fn send(&mut self, numbering: Numbering, packet: Packet) {
        self.data_bytes += packet.len();
        self.data.push_back((numbering, packet));
    }

    /// Takes a frame of the protocol; it goes before packets, whatever the window says.
    pub fn send_control(&mut self, frame: Control) {
        self.control.push_back(frame);
    }

    /// The frame that tells the peer that `link`, of which `self` is the state, is gone: to be sent over the others.
    #[must_use]
    pub fn obituary(&self, now: Time, reason: LinkDownReason) -> Control {
        let received = self.acks.content(now).map(|content| OwnedAck::from(&content));
        Control::LinkDown { link: self.identity.link, reason, received }
    }

    /// There is nothing to send although there is room.
    pub fn on_app_limited(&mut self) {
        self.recovery.on_app_limited();
    }

    /// Moves what was lost to `into`; to be sent again over any link, this one included.
    pub fn take_lost(&mut self, into: &mut Vec<Item>) {
        into.append(&mut self.lost);
    }

    /// Takes back everything: what was lost, what is in flight (oldest first), what was waiting. The link is of no use
    /// afterwards.
    pub fn drain(&mut self, into: &mut Vec<Item>) {
        self.take_lost(into);
        let mut contents = Vec::new();
        self.recovery.drain(&mut contents);
        into.extend(contents.into_iter().flatten());
        into.extend(self.control.drain(..).map(Item::Control));
        into.extend(self.data.drain(..).map(|(numbering, packet)| Item::Data(numbering, packet)));
        into.retain(|item| !matches!(item, Item::Control(control) if !control.is_repaired()));
        self.data_bytes = 0;
    }

    /// An ack of this link that came over another one (ACK_LINK, LINKDOWN).
    ///
    /// # Errors
    /// It acknowledges what was never sent.
    pub fn on_foreign_ack(&mut self, now: Time, ack: &OwnedAck, pool: &mut PacketPool) -> Result<(), BadAck> {
        ack.with_block(|block| self.on_ack(now, block, false, pool)).unwrap_or(Err(BadAck))
    }

    /// Opens the next key epoch as well: at the server when it answers a rekeying.
    pub fn expect_epoch(&mut self, master: &Master) {
        self.keys.expect(master);
    }

    /// Seals with the next key epoch. `largest_rtt` is that of all the session's links.
    pub fn switch_epoch(&mut self, now: Time, master: &Master, largest_rtt: Duration) {
        self.keys.switch(now, master, grace(largest_rtt));
    }

    /// The epoch that this end seals with, and how many datagrams it has sealed in it.
    #[must_use]
    pub const fn epoch(&self) -> (u8, u64) {
        (self.keys.epoch(), self.keys.sealed())
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, or [`poll_transmit`](Self::poll_transmit) has
    /// an ack to send.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let paced = (!self.data.is_empty()).then(|| self.path.next_send());
        [self.acks.due(), self.recovery.poll_timeout(), self.keys.poll_timeout(), self.copy_at(), paced]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.keys.handle_timeout(now);
        match self.recovery.on_timeout(now, &mut self.outcome.lost) {
            Timeout::Nothing => {}
            Timeout::Lost(lost_bytes) => {
                self.give_back_lost();
                let in_flight_bytes = self.recovery.in_flight_bytes();
                self.path.on_ack(now, &AckSample { lost_bytes, in_flight_bytes, ..AckSample::default() });
            }
            Timeout::Probe => {
                self.counters.probes += 1;
                self.probe = true;
            }
        }
    }

    /// Since when something waits for an answer of the peer.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Time> {
        self.recovery.waiting_since()
    }

    /// What is known of the sending direction.
    #[must_use]
    pub const fn path(&self) -> &PathModel {
        &self.path
    }

    /// Loss detection, round trip, what is in flight.
    #[must_use]
    pub const fn recovery(&self) -> &Recovery<Vec<Item>> {
        &self.recovery
    }

    /// Counters so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn give_back_lost(&mut self) {
        for mut content in self.outcome.lost.drain(..) {
            self.counters.lost += 1;
            self.lost.extend(content.drain(..).filter(|item| match item {
                Item::Data(..) => true,
                Item::Control(control) => control.is_repaired(),
            }));
            if self.spare.len() < MAX_SPARE {
                self.spare.push(content);
            }
        }
    }
}
