//! A [`BondLink`] as a session wants its links.
//!
//! What is lost goes back to the session, packets for whichever link is best, frames of the protocol over this link
//! again. While the link is suspect it only asks whether somebody is there.

use std::time::Duration;

use super::facts::{Facts, packet_limit_of};
use super::path_mtu::{ASSUMED_LEN, PathMtu, PathMtuState};
use super::{BondLink, Control, Identity, Item, Opened, OwnedAck, Received as Arrived, Rejected};
use crate::bond::ack::MAX_ACK_DELAY;
use crate::bond::datagram::SEALED_OVERHEAD;
use crate::bond::frame::{DATA_HEADER_LEN, LinkDownReason, RekeyStep};
use crate::bond::keys::{Cipher, MAX_SEALED, Master};
use crate::event::{DownReason, Peer};
use crate::link::{Link, LinkStats, Outgoing, Outlook, PacketLimit, Received};
use crate::numbering::Numbering;
use crate::packet::PacketPool;
use crate::preference::{Preference, Tier};
use crate::session::Role;
use crate::time::Time;

/// How long a link counts as in use after its last packet.
const IN_USE: Duration = Duration::from_secs(10);
/// How often a link in use asks whether the peer is there, should nothing else do so.
const KEEPALIVE_IN_USE: Duration = Duration::from_secs(2);
/// A client that hears nothing on a new link tries another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a server keeps a link that nothing has come over: as docs/wire.md has it for a session.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// What a link tells its endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An ack of another link's datagrams.
    AckOf(u16, OwnedAck),
    /// A challenge has been answered over this link.
    PathResponse([u8; 8]),
    /// One half of a rekeying.
    Rekey {
        /// Which half.
        step: RekeyStep,
        /// The epoch that it leads to.
        epoch: u8,
        /// The Noise message.
        message: Vec<u8>,
    },
    /// The peer ended the session.
    Close {
        /// See docs/wire.md.
        code: u8,
        /// For people.
        reason: String,
    },
}

/// See the module.
#[derive(Debug)]
pub struct SealedLink {
    link: BondLink,
    said_hello: bool,
    facts: Facts,
    in_use_until: Time,
    opened: Option<Opened>,
    arrived: Vec<Arrived>,
    items: Vec<Item>,
}

impl SealedLink {
    /// A link under the keys of `master`, over a path of which nothing is known.
    #[must_use]
    pub fn new(now: Time, identity: Identity, master: &Master, cipher: Cipher, ipv6: bool) -> Self {
        Self {
            link: BondLink::new(now, identity, master, cipher, PathMtu::new(ipv6)),
            said_hello: false,
            facts: Facts::default(),
            in_use_until: now + IN_USE,
            opened: None,
            arrived: Vec::new(),
            items: Vec::new(),
        }
    }

    /// The link itself.
    #[must_use]
    pub const fn bond(&self) -> &BondLink {
        &self.link
    }

    /// The link itself, to be changed.
    pub const fn bond_mut(&mut self) -> &mut BondLink {
        &mut self.link
    }

    /// What the last datagram told when it opened; told once.
    pub const fn take_opened(&mut self) -> Option<Opened> {
        self.opened.take()
    }

    /// How long an answer is overdue, beyond what round trips usually vary by.
    fn overdue(&self, now: Time) -> Duration {
        let (recovery, rtt) = (&self.link.recovery, self.link.recovery.rtt());
        let (Some(since), Some(srtt)) = (recovery.waiting_since(), rtt.srtt()) else { return Duration::ZERO };
        now.saturating_since(since + srtt + 2 * rtt.rttvar().unwrap_or_default() + MAX_ACK_DELAY)
    }

    /// Packets go to `into`; what the protocol itself had to say is said over this link again.
    fn sort_items(&mut self, into: &mut Vec<Outgoing>) {
        for item in self.items.drain(..) {
            match item {
                Item::Data(number, packet) => into.push(Outgoing { packet, number: Some(number) }),
                // What is so now, and not what was so then.
                Item::Control(Control::Hello(_)) => self.link.send_control(self.facts.hello()),
                Item::Control(control) => self.link.send_control(control),
                Item::Probe(_) => {}
            }
        }
    }
}

impl Link for SealedLink {
    type Farewell = Control;
    type Control = Notice;

    const NUMBERED: bool = true;
    const KEEPALIVE: Duration = Duration::from_secs(20);
    const PATIENCE: Duration = Duration::from_millis(30);
    const SERVER_SAYS_FAREWELL: bool = true;
    const INNER_MTU: usize = ASSUMED_LEN - SEALED_OVERHEAD - DATA_HEADER_LEN;

    fn key(&self) -> u32 {
        u32::from(self.link.identity().link)
    }

    fn keepalive(&self, now: Time) -> Duration {
        if now < self.in_use_until { KEEPALIVE_IN_USE } else { Self::KEEPALIVE }
    }

    fn connect_timeout(&self) -> Duration {
        match self.link.identity().role {
            Role::Client => CONNECT_TIMEOUT,
            Role::Server => CONFIRM_TIMEOUT,
        }
    }

    fn room(&self, now: Time) -> usize {
        // What waits here is out of the fair queue's hands, so only what can leave now comes in; one packet may wait for
        // the pace, which is what wakes the session.
        if !self.link.data.is_empty() {
            return 0;
        }
        let packet_len = self.link.max_packet_len() as u64;
        let packets = |bytes: u64| usize::try_from(bytes / packet_len).unwrap_or(usize::MAX);
        let room_bytes = self.link.room_bytes();
        let by_window = match self.link.recovery.in_flight() {
            0 => packets(room_bytes).max(usize::from(room_bytes > 0)),
            _ => packets(room_bytes),
        };
        let path = self.link.path();
        let by_pace = if path.may_send(now) { packets(path.burst_bytes()).max(1) } else { 1 };
        by_window.min(by_pace)
    }

    fn outlook(&self, now: Time) -> Outlook {
        let (recovery, path) = (&self.link.recovery, &self.link.path);
        let outstanding = recovery.in_flight_bytes() + self.link.data_bytes as u64;
        let wait = path.queue_delay(outstanding) + path.next_send().saturating_since(now) + self.overdue(now);
        Outlook {
            key: self.key(),
            usable: true,
            tier: Tier::Primary,
            has_room: self.link.room_bytes() >= self.link.max_packet_len() as u64,
            one_way_us: path.one_way_us(),
            min_rtt_us: micros(path.min_rtt().unwrap_or_default()),
            wait_us: micros(wait),
            rate_bytes_per_s: path.expected_bytes_per_s(),
            loss: path.loss(),
            may_lose: path.may_lose(),
        }
    }

    fn send(&mut self, now: Time, outgoing: Outgoing) {
        self.in_use_until = now + IN_USE;
        let Outgoing { packet, number } = outgoing;
        let Some(number) = number else { return };
        // Whoever finds the pace closed has a claim on what the host's late waking takes from it.
        self.link.waited |= !self.link.path.may_send(now);
        self.link.send(number, packet);
    }

    fn packet_limit(&self) -> PacketLimit {
        let state = self.link.path_mtu().state();
        PacketLimit {
            len: self.link.max_packet_len(),
            settled: matches!(state, PathMtuState::Complete | PathMtuState::Error),
            crippled: state == PathMtuState::Error,
        }
    }

    fn give_up(&mut self, number: Numbering) {
        self.link.send_control(Control::Skip { bucket: number.bucket, first: number.seq, count: 1 });
    }

    fn tell_packet_limit(&mut self, len: u16) {
        if self.facts.packet_limit.replace(len) != Some(len) && self.said_hello {
            self.link.send_control(self.facts.hello());
        }
    }

    fn send_hello(&mut self, _now: Time, _pool: &mut PacketPool) {
        let first = !std::mem::replace(&mut self.said_hello, true);
        self.link.send_control(if first { self.facts.hello() } else { Control::Ping });
    }

    fn prefer(&mut self, preference: &Preference, cap: Option<u64>) {
        self.link.path.set_cap(cap);
        let is_client = self.link.identity().role == Role::Client;
        if is_client && self.facts.change(preference) && self.said_hello {
            self.link.send_control(self.facts.hello());
        }
    }

    fn farewell(&self, now: Time, reason: &DownReason) -> Control {
        let reason = match reason {
            DownReason::Silent | DownReason::Exhausted => LinkDownReason::Silent,
            DownReason::Peer | DownReason::Replaced | DownReason::Local(_) => LinkDownReason::Removed,
        };
        self.link.obituary(now, reason)
    }

    fn farewell_key(farewell: &Control) -> u32 {
        match farewell {
            Control::LinkDown { link, .. } => u32::from(*link),
            _ => u32::MAX,
        }
    }

    fn send_farewell(&mut self, _now: Time, farewell: &Control, _pool: &mut PacketPool) {
        self.link.send_control(farewell.clone());
    }

    fn take_farewell(&mut self, now: Time, farewell: &Control, pool: &mut PacketPool) {
        if let Control::LinkDown { received: Some(ack), .. } = farewell {
            // An ack of what was never sent tells nothing; the link goes all the same.
            let _ = self.link.on_foreign_ack(now, ack, pool);
        }
    }

    fn receive(
        &mut self,
        now: Time,
        data: &mut [u8],
        received: &mut Vec<Received<Self>>,
        pool: &mut PacketPool,
    ) -> bool {
        self.opened = None;
        let result = self.link.receive(now, data, &mut self.arrived, pool);
        for item in self.arrived.drain(..) {
            if matches!(item, Arrived::Packet(..)) {
                self.in_use_until = now + IN_USE;
            }
            let Arrived::Hello(fields) = item else {
                received.push(to_session(item));
                continue;
            };
            let told = self.facts.told(&fields, result.ok().as_ref());
            received.extend(told.and_then(packet_limit_of).map(Received::PacketLimit));
            received.push(Received::Hello(Peer::Ratbond, told.map(Preference::from_fields)));
        }
        self.opened = result.ok();
        // The peer sealed what opened, whatever its program then got wrong.
        matches!(result, Ok(_) | Err(Rejected::Frame(_) | Rejected::Ack(_)))
    }

    fn take_lost(&mut self, into: &mut Vec<Outgoing>) {
        self.link.take_lost(&mut self.items);
        self.sort_items(into);
    }

    fn take_copies(&mut self, now: Time, into: &mut Vec<Outgoing>) {
        self.link.copy_overdue(now, &mut self.items);
        self.sort_items(into);
    }

    fn take_in_flight(&mut self, _now: Time, into: &mut Vec<Outgoing>) {
        self.link.drain(&mut self.items);
        self.sort_items(into);
        self.link.path.restart();
        self.link.send_control(Control::Ping);
    }

    fn poll_transmit(&mut self, now: Time, idle: bool, out: &mut Vec<u8>, _pool: &mut PacketPool) -> bool {
        if self.link.poll_transmit(now, out) {
            return true;
        }
        if idle && self.link.data.is_empty() {
            self.link.on_app_limited();
        }
        false
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.link.poll_timeout()
    }

    fn next_send(&self) -> Time {
        self.link.path().next_send()
    }

    fn handle_timeout(&mut self, now: Time) {
        self.link.path_mtu.handle_timeout(now, now < self.in_use_until);
        self.link.handle_timeout(now);
    }

    fn waiting_since(&self) -> Option<Time> {
        self.link.waiting_since()
    }

    fn has_answered_since(&self, since: Time) -> bool {
        self.link.recovery.last_ack().is_some_and(|at| at >= since)
    }

    fn is_exhausted(&self) -> bool {
        self.link.epoch().1 >= MAX_SEALED
    }

    fn into_unacknowledged(mut self) -> Vec<Outgoing> {
        let mut packets = Vec::new();
        self.link.drain(&mut self.items);
        self.sort_items(&mut packets);
        packets
    }

    fn stats(&self) -> LinkStats {
        let (recovery, path, counters) = (&self.link.recovery, &self.link.path, self.link.counters());
        let rtt = recovery.rtt();
        LinkStats {
            srtt: rtt.srtt().unwrap_or_default(),
            rttvar: rtt.rttvar().unwrap_or_default(),
            min_rtt: path.min_rtt().unwrap_or_default(),
            rto: rtt.rto(0),
            delivery_rate_bps: path.rate_bytes_per_s() * 8,
            loss: path.loss(),
            in_flight_segments: recovery.in_flight() as u64,
            in_flight_bytes: recovery.in_flight_bytes(),
            window_bytes: path.window_bytes(),
            segments_sent: counters.sent - counters.sent_acks_only,
            retransmits: counters.lost,
            fast_retransmits: counters.lost,
            timeouts: counters.probes,
            path_mtu: self.link.path_mtu().packet_len(),
            path_mtu_state: self.link.path_mtu().state(),
            duplicates: counters.replayed,
            malformed: counters.malformed + counters.forged,
        }
    }
}

/// No wait of a link that is alive reaches an hour.
fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn to_session(item: Arrived) -> Received<SealedLink> {
    match item {
        Arrived::Packet(number, packet) => Received::Packet(Some(number), packet),
        Arrived::Skip { bucket, first, count } => Received::Skip { bucket, first, count },
        Arrived::Hello(_) => Received::Hello(Peer::Ratbond, None),
        Arrived::LinkDown { link, reason, received } => {
            Received::LinkDown(Control::LinkDown { link, reason, received })
        }
        Arrived::AckOf(link, ack) => Received::Other(Notice::AckOf(link, ack)),
        Arrived::PathResponse(token) => Received::Other(Notice::PathResponse(token)),
        Arrived::Rekey { step, epoch, message } => Received::Other(Notice::Rekey { step, epoch, message }),
        Arrived::Close { code, reason } => Received::Other(Notice::Close { code, reason }),
    }
}
