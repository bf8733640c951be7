//! One sealed link: what is to go out over it, what is on its way, what has come.
//!
//! A link takes numbered packets while its window allows, gives datagrams, hands up what arrived, and gives back what was
//! lost, to be sent again over whichever link is best. It never decides where a packet goes, nor whether a link is
//! alive: that is the session's business.

mod control;
mod copies;
mod facts;
pub mod path_mtu;
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
use self::path_mtu::{BASE_LEN, PathMtu, Probe};
use super::ack::AckState;
use super::datagram::{ReceiverIndex, SEALED_OVERHEAD};
use super::frame::{DATA_HEADER_LEN, DATA_HEADER_WITH_LENGTH_LEN, LinkDownReason};
use super::keyring::{Keyring, grace};
use super::keys::{Cipher, Master};
use super::recovery::{BadAck, Outcome, Recovery, Timeout};
use super::replay::ReplayWindow;
use crate::numbering::Numbering;
use crate::packet::{Packet, PacketPool};
use crate::path::{AckSample, PathModel};
use crate::session::Role;
use crate::time::Time;

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
    /// A probe of the path MTU; never sent again.
    Probe(Probe),
}

impl Item {
    /// Whether it is sent again when it got lost.
    const fn is_repaired(&self) -> bool {
        match self {
            Self::Data(..) => true,
            Self::Control(control) => control.is_repaired(),
            Self::Probe(_) => false,
        }
    }
}

/// Length of a datagram with these packets, the ack that it may carry not counted.
fn datagram_len(content: &[Item]) -> usize {
    let packet_len = |item: &Item| match item {
        Item::Data(_, packet) => DATA_HEADER_WITH_LENGTH_LEN + packet.len(),
        Item::Control(_) | Item::Probe(_) => 0,
    };
    SEALED_OVERHEAD + content.iter().map(packet_len).sum::<usize>()
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
    path_mtu: PathMtu,
    /// When a small datagram last asked whether only large ones get lost, and how often it has.
    asked: Option<(Time, u32)>,
    lost: Vec<Item>,
    outcome: Outcome<Vec<Item>>,
    spare: Vec<Vec<Item>>,
    counters: Counters,
}

impl BondLink {
    /// A link under the keys of `master`, over a path that `path_mtu` knows or will find out about.
    #[must_use]
    pub fn new(now: Time, identity: Identity, master: &Master, cipher: Cipher, path_mtu: PathMtu) -> Self {
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
            path_mtu,
            asked: None,
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

    /// What is known of the sizes that the path carries.
    #[must_use]
    pub const fn path_mtu(&self) -> &PathMtu {
        &self.path_mtu
    }

    /// The peer is somewhere else now: what was known of the sizes that the path carries is void.
    pub fn on_new_path(&mut self, ipv6: bool) {
        self.path_mtu.on_new_path(ipv6);
    }

    /// The kernel would not send a datagram of `len` bytes; nothing of it has left. A probe finds out soon what was lost.
    pub fn on_too_big(&mut self, now: Time, len: usize) {
        self.path_mtu.on_too_big(now, len);
        self.probe = true;
    }

    /// The largest packet that fits into one datagram.
    #[must_use]
    pub const fn max_packet_len(&self) -> usize {
        self.path_mtu.datagram_len() - SEALED_OVERHEAD - DATA_HEADER_LEN
    }

    /// Bytes of packets that it takes now: its window less what is in flight and what it already took.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        if !self.recovery.has_room() || self.path_mtu.is_blocked() {
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
        if self.asked.is_none() {
            let lost = into.iter().filter(|item| matches!(item, Item::Data(..)));
            self.path_mtu.on_lost(lost.map(|item| datagram_len(std::slice::from_ref(item))));
        }
        into.retain(Item::is_repaired);
        self.data_bytes = 0;
        self.path_mtu.on_drained();
    }

    /// Hands back what has become too long for the path: the session knows another way for it.
    fn hand_back_oversize(&mut self) {
        while self.data.front().is_some_and(|(_, packet)| packet.len() > self.max_packet_len()) {
            let Some((numbering, packet)) = self.data.pop_front() else { return };
            self.data_bytes -= packet.len();
            self.lost.push(Item::Data(numbering, packet));
        }
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
        let own = [self.copy_at(), paced, self.path_mtu.poll_timeout(), self.ask_at()];
        [self.acks.due(), self.recovery.poll_timeout(), self.keys.poll_timeout()]
            .into_iter()
            .chain(own)
            .flatten()
            .min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.keys.handle_timeout(now);
        if self.ask_at().is_some_and(|at| at <= now) {
            self.path_mtu.ask();
            self.asked = Some((now, self.asked.map_or(1, |(_, times)| times + 1)));
        }
        match self.recovery.on_timeout(now, &mut self.outcome.lost) {
            Timeout::Nothing => {}
            Timeout::Lost(lost_bytes) => {
                let in_flight_bytes = self.recovery.in_flight_bytes();
                self.path.on_ack(now, &AckSample { lost_bytes, in_flight_bytes, ..AckSample::default() });
            }
            Timeout::Probe => {
                self.counters.probes += 1;
                self.probe = true;
            }
        }
        self.give_back_lost(now);
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

    /// When to ask with a small datagram because no large one is answered. A probe for a lost tail would do the same, but a
    /// flow that goes on never lets it come to that.
    fn ask_at(&self) -> Option<Time> {
        let since =
            self.recovery.waiting_since().filter(|_| self.recovery.in_flight_bytes() > BASE_LEN as u64)?;
        let (asked_at, times) = self.asked.unwrap_or((since, 0));
        Some(since.max(asked_at) + self.recovery.rtt().rto(times))
    }

    fn give_back_lost(&mut self, now: Time) {
        let is_no_probe =
            |content: &&Vec<Item>| !matches!(content[..], [Item::Probe(Probe { len: 1.., .. })]);
        let lost = self.outcome.lost.iter().filter(is_no_probe);
        self.path_mtu.on_lost(lost.map(|content| datagram_len(content)));
        for mut content in self.outcome.lost.drain(..) {
            if let [Item::Probe(probe)] = content[..] {
                self.path_mtu.on_probe_lost(now, probe);
            } else {
                self.counters.lost += 1;
            }
            self.lost.extend(content.drain(..).filter(Item::is_repaired));
            if self.spare.len() < MAX_SPARE {
                self.spare.push(content);
            }
        }
    }
}
