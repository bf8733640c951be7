//! A tunnel between two ends, over all links between them. The same code on both ends.
//!
//! Packets from the tun wait in a queue, a scheduler's choice of link before or behind it ([`spread`]), go into a link as it
//! has room, and out as datagrams ([`transmit`]). What arrives goes the other way. A link that does not answer is *suspect* and avoided; one that is dead
//! leaves, and what it still held goes over the others (stock ratbond loses it). Packets that find no link wait,
//! bounded, for one to come.

mod copies;
mod doubles;
mod liveness;
mod mtu;
mod numbered;
mod preferences;
mod report;
mod slot;
mod spread;
mod succession;
mod transmit;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use self::report::{LinkReport, SessionStats};
pub use self::slot::{LinkState, Traffic};

pub(crate) use self::numbered::is_real_time;

use self::mtu::InnerMtu;
use self::numbered::Numbered;
use self::slot::Slot;
use self::spread::Spread;
use crate::event::{DownReason, Event, Peer};
use crate::inner::mss;
use crate::link::{Link, LinkId, Outgoing, Received, Route, SocketId, WanId};
use crate::numbering::Numbering;
use crate::packet::{Packet, PacketPool};
use crate::preference::Preference;
use crate::queue::{QueueConfig, Queued};
use crate::scheduler::{Candidate, SchedulerKind};
use crate::time::Time;

/// How often the resequencer learns what the links have become.
const ADAPT_EVERY: Duration = Duration::from_millis(50);

/// Which end of the tunnel this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opens links.
    Client,
    /// Accepts them.
    Server,
}

/// See the module.
#[derive(Debug)]
pub struct Session<L: Link> {
    role: Role,
    queue_config: QueueConfig,
    spread: Spread,
    slots: Vec<Slot<L>>,
    /// What a client's user wants of each WAN.
    preferences: BTreeMap<WanId, Preference>,
    next_link: u32,
    /// Positions in `slots` that packets may take, and the scheduler's view of them.
    usable: Vec<usize>,
    candidates: Vec<Candidate>,
    parked: VecDeque<Queued>,
    peer: Option<Peer>,
    up_since: Option<Time>,
    ask_again_at: Time,
    deliveries: VecDeque<Packet>,
    events: VecDeque<Event>,
    received: Vec<Received<L>>,
    /// What links say that is the endpoint's business.
    controls: VecDeque<(LinkId, L::Control)>,
    /// Only for links that number their packets.
    numbered: Option<Numbered>,
    returned: Vec<Outgoing>,
    adapt_at: Time,
    mtu: InnerMtu,
    pool: PacketPool,
    cursor: usize,
    burst: usize,
    /// When the links were last looked at to spread packets.
    looked_at: Option<Time>,
    /// When their packet limits were.
    followed_at: Option<Time>,
    stats: SessionStats,
}

impl<L: Link> Session<L> {
    /// A session without links.
    #[must_use]
    pub fn new(role: Role, scheduler: SchedulerKind, queue_config: QueueConfig) -> Self {
        Self {
            role,
            queue_config,
            spread: Spread::new(scheduler, L::NUMBERED, queue_config),
            slots: Vec::new(),
            preferences: BTreeMap::new(),
            next_link: 0,
            usable: Vec::new(),
            candidates: Vec::new(),
            parked: VecDeque::new(),
            peer: None,
            up_since: None,
            ask_again_at: Time::ZERO,
            deliveries: VecDeque::new(),
            events: VecDeque::new(),
            received: Vec::new(),
            controls: VecDeque::new(),
            numbered: L::NUMBERED.then(Numbered::default),
            returned: Vec::new(),
            adapt_at: Time::ZERO,
            mtu: InnerMtu::new(L::INNER_MTU),
            pool: PacketPool::new(4096),
            cursor: 0,
            burst: 0,
            looked_at: None,
            followed_at: None,
            stats: SessionStats::default(),
        }
    }

    /// A link joins. A client says HELLO on it at once.
    pub fn add_link(&mut self, now: Time, wan: WanId, route: Route, link: L) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        self.slots.push(Slot::new(now, id, wan, route, link, self.queue_config));
        self.apply_preference(wan);
        self.tell_packet_limit();
        if self.role == Role::Client
            && let Some(slot) = self.slots.last_mut()
        {
            slot.link.send_hello(now, &mut self.pool);
        }
        id
    }

    /// All links of a WAN leave at once; a client tells the peer over the others.
    pub fn remove_wan(&mut self, now: Time, wan: WanId, reason: &DownReason) {
        while let Some(position) = self.slots.iter().position(|slot| slot.wan == wan) {
            self.remove_slot(now, position, reason);
        }
    }

    /// The links of a socket leave: it is gone.
    pub fn remove_link(&mut self, now: Time, id: LinkId, reason: &DownReason) {
        if let Some(position) = self.slots.iter().position(|slot| slot.id == id) {
            self.remove_slot(now, position, reason);
        }
    }

    /// Tells the peer over every link that it is the last. Nobody waits for an answer.
    pub fn close(&mut self, now: Time) {
        if self.says_farewell() {
            let reason = DownReason::Local("stopped".into());
            for slot in self.slots.iter_mut().filter(|slot| slot.up_since.is_some()) {
                let farewell = slot.link.farewell(now, &reason);
                slot.link.send_farewell(now, &farewell, &mut self.pool);
            }
        }
    }

    /// Whether a socket still has links.
    #[must_use]
    pub fn uses_socket(&self, socket: SocketId) -> bool {
        self.slots.iter().any(|slot| slot.route.socket == socket)
    }

    /// The link with this name on this route.
    #[must_use]
    pub fn find(&self, key: u32, socket: SocketId, remote: &std::net::SocketAddr) -> Option<LinkId> {
        let same = |slot: &&Slot<L>| {
            slot.link.key() == key && slot.route.socket == socket && slot.route.remote == *remote
        };
        self.slots.iter().find(same).map(|slot| slot.id)
    }

    /// Names (see [`Link::key`]), WANs and remote addresses of all links.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, u32, WanId, Route)> + '_ {
        self.slots.iter().map(|slot| (slot.id, slot.link.key(), slot.wan, slot.route))
    }

    /// A datagram came for a link; `data` is what the protocol's outer layer left of its `wire_bytes`.
    pub fn handle_datagram(&mut self, now: Time, id: LinkId, data: &mut [u8], wire_bytes: usize) {
        let Some(position) = self.slots.iter().position(|slot| slot.id == id) else { return };
        let slot = &mut self.slots[position];
        slot.traffic.wire_rx_datagrams += 1;
        slot.traffic.wire_rx_bytes += wire_bytes as u64;
        let mut received = std::mem::take(&mut self.received);
        let limit = slot.link.packet_limit();
        let valid = slot.link.receive(now, data, &mut received, &mut self.pool);
        if !received.is_empty() {
            slot.last_message = now;
        }
        let changes_limit = slot.link.packet_limit() != limit;
        if valid {
            self.heard(now, position);
        }
        for item in received.drain(..) {
            self.handle_received(now, id, item);
        }
        self.received = received;
        self.collect_lost(id);
        // Datagrams come by dozens at one time, and seldom change it.
        if changes_limit || self.followed_at.replace(now) != Some(now) {
            self.follow_packet_limits(now);
        }
        if now >= self.adapt_at
            && let Some(numbered) = &mut self.numbered
        {
            self.adapt_at = now + ADAPT_EVERY;
            numbered.adapt(self.slots.iter().filter(|slot| slot.is_up()).map(|slot| slot.link.stats()));
        }
    }

    /// What was found lost on a link waits for the best one.
    fn collect_lost(&mut self, id: LinkId) {
        let Some(numbered) = &mut self.numbered else { return };
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) else { return };
        slot.link.take_lost(&mut self.returned);
        numbered.repair(&mut self.returned);
    }

    /// The next packet for the tun. Give it back with [`Session::recycle`].
    pub fn poll_delivery(&mut self) -> Option<Packet> {
        self.deliveries.pop_front()
    }

    /// Gives a delivered packet's memory back.
    pub fn recycle(&mut self, packet: Packet) {
        self.pool.put(packet);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The peer, while the session is up.
    #[must_use]
    pub fn peer(&self) -> Option<Peer> {
        self.peer
    }

    /// Since when the session is up.
    #[must_use]
    pub fn up_since(&self) -> Option<Time> {
        self.up_since
    }

    /// How many WANs carry packets.
    #[must_use]
    pub fn wans_up(&self) -> usize {
        let mut wans: Vec<_> = self.slots.iter().filter(|slot| slot.is_up()).map(|slot| slot.wan).collect();
        wans.sort_unstable();
        wans.dedup();
        wans.len()
    }

    fn says_farewell(&self) -> bool {
        self.role == Role::Client || L::SERVER_SAYS_FAREWELL
    }

    /// The next thing that a link said to the endpoint.
    pub fn poll_control(&mut self) -> Option<(LinkId, L::Control)> {
        self.controls.pop_front()
    }

    /// A link, for what only its protocol knows.
    pub fn link_mut(&mut self, id: LinkId) -> Option<&mut L> {
        self.slots.iter_mut().find(|slot| slot.id == id).map(|slot| &mut slot.link)
    }

    fn handle_received(&mut self, now: Time, id: LinkId, item: Received<L>) {
        match item {
            Received::Packet(number, packet) => {
                if let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) {
                    slot.traffic.rx_packets += 1;
                    slot.traffic.rx_bytes += packet.len() as u64;
                }
                // A stock peer may send packets before its first HELLO.
                if !L::NUMBERED {
                    self.greeted(now, id, Peer::Stock, false);
                }
                self.deliver(now, number, packet);
            }
            Received::Skip { bucket, first, count } => {
                if let Some(numbered) = &mut self.numbered {
                    numbered.skip(bucket, first, count, &mut self.deliveries);
                }
            }
            Received::Hello(peer, preference) => {
                if let Some(preference) = preference {
                    self.take_preference(id, preference);
                }
                self.greeted(now, id, peer, true);
            }
            Received::PacketLimit(len) => self.take_packet_limit(len),
            Received::LinkDown(farewell) => {
                let key = L::farewell_key(&farewell);
                if let Some(position) = self.slots.iter().position(|slot| slot.link.key() == key) {
                    self.slots[position].link.take_farewell(now, &farewell, &mut self.pool);
                    self.remove_slot(now, position, &DownReason::Peer);
                }
            }
            Received::Other(control) => self.controls.push_back((id, control)),
        }
    }

    fn deliver(&mut self, now: Time, number: Option<Numbering>, mut packet: Packet) {
        match (&mut self.numbered, number) {
            (Some(numbered), Some(number)) => {
                mss::clamp(packet.as_mut_slice(), self.mtu.both);
                numbered.receive(now, number, packet, &mut self.deliveries, &mut self.pool);
            }
            _ => self.deliveries.push_back(packet),
        }
    }

    /// The first message on a link tells who the peer is. A server answers a first HELLO at once.
    fn greeted(&mut self, now: Time, id: LinkId, peer: Peer, hello: bool) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) else { return };
        if slot.greeted {
            return;
        }
        slot.greeted = true;
        if peer == Peer::Stock && self.numbered.is_none() {
            slot.peer_forgets = true;
        }
        if hello && self.role == Role::Server {
            slot.link.send_hello(now, &mut self.pool);
        }
        if self.peer != Some(peer) {
            self.peer = Some(peer);
            self.up_since.get_or_insert(now);
            self.events.push_back(Event::SessionUp(peer));
        }
    }
}
