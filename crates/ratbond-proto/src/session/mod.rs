//! A tunnel between two ends, over all links between them. The same code on both ends.
//!
//! Packets from the tun go through a scheduler to a link's queue, from there into the link as it has room, and out as
//! datagrams. What arrives goes the other way. A link that does not answer is *suspect* and avoided; one that is dead
//! leaves, and what it still held goes over the others (stock ratbond loses it). Packets that find no link wait,
//! bounded, for one to come.

mod liveness;
mod numbered;
mod slot;
mod succession;

use std::collections::VecDeque;
use std::time::Duration;

pub use self::slot::{LinkState, Traffic};

use self::numbered::Numbered;
use self::slot::Slot;
use crate::event::{DownReason, Event, Peer};
use crate::flow::Flow;
use crate::link::{Link, LinkId, LinkStats, Outgoing, Received, Route, SocketId, WanId};
use crate::numbering::Numbering;
use crate::packet::{Packet, PacketPool};
use crate::queue::{QueueConfig, QueueStats, Queued};
use crate::resequencer::ResequencerStats;
use crate::scheduler::{Candidate, Scheduler, SchedulerKind};
use crate::time::Time;

/// How often the resequencer learns what the links have become.
const ADAPT_EVERY: Duration = Duration::from_millis(50);
/// Packets that wait while there is no link at all.
const MAX_PARKED: usize = 2048;
/// Datagrams of one link in a row, so that the driver can send them in one system call.
const BURST_DATAGRAMS: usize = 32;

/// Which end of the tunnel this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opens links.
    Client,
    /// Accepts them.
    Server,
}

/// What a session counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Packets that found no link, and no room to wait for one.
    pub no_link_drops: u64,
    /// Packets from the tun that were neither IPv4 nor IPv6.
    pub not_ip_drops: u64,
    /// Packets taken from a dead link and sent again over another. The peer may get some twice.
    pub requeued_packets: u64,
    /// Packets that were lost on a link and sent again, on links that number them.
    pub repaired_packets: u64,
    /// What came over such links and how it was put in order.
    pub resequencer: ResequencerStats,
    /// What the queues of all links dropped, of those that are gone as well.
    pub queues: QueueStats,
}

/// One link's figures.
#[derive(Clone, Debug)]
pub struct LinkReport {
    /// Its WAN.
    pub wan: WanId,
    /// Its name on both ends.
    pub key: u32,
    /// Where its datagrams go.
    pub route: Route,
    /// Whether it is alive.
    pub state: LinkState,
    /// When it came up.
    pub up_since: Option<Time>,
    /// When the last valid datagram came.
    pub last_rx: Option<Time>,
    /// Packets and bytes.
    pub traffic: Traffic,
    /// Packets and bytes that wait in its queue.
    pub queued: (usize, usize),
    /// What its queue dropped.
    pub queue: QueueStats,
    /// The protocol's figures.
    pub stats: LinkStats,
}

/// See the module.
#[derive(Debug)]
pub struct Session<L: Link> {
    role: Role,
    queue_config: QueueConfig,
    scheduler: Box<dyn Scheduler>,
    slots: Vec<Slot<L>>,
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
    pool: PacketPool,
    cursor: usize,
    burst: usize,
    stats: SessionStats,
}

impl<L: Link> Session<L> {
    /// A session without links.
    #[must_use]
    pub fn new(role: Role, scheduler: SchedulerKind, queue_config: QueueConfig) -> Self {
        Self {
            role,
            queue_config,
            scheduler: scheduler.build(),
            slots: Vec::new(),
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
            pool: PacketPool::new(4096),
            cursor: 0,
            burst: 0,
            stats: SessionStats::default(),
        }
    }

    /// Packets are spread by another rule from now on.
    pub fn set_scheduler(&mut self, scheduler: SchedulerKind) {
        self.scheduler = scheduler.build();
    }

    /// A link joins. A client says HELLO on it at once.
    pub fn add_link(&mut self, now: Time, wan: WanId, route: Route, link: L) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let mut slot = Slot::new(now, id, wan, route, link, self.queue_config);
        if self.role == Role::Client {
            slot.link.send_hello(now, &mut self.pool);
        }
        self.slots.push(slot);
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

    /// A packet came from the tun.
    pub fn handle_packet(&mut self, now: Time, bytes: &[u8]) {
        let Some(flow) = Flow::of(bytes) else {
            self.stats.not_ip_drops += 1;
            return;
        };
        let packet = self.pool.copy_of(bytes);
        self.enqueue(Queued { packet, flow, since: now });
    }

    /// A datagram came for a link; `data` is what the protocol's outer layer left of its `wire_bytes`.
    pub fn handle_datagram(&mut self, now: Time, id: LinkId, data: &mut [u8], wire_bytes: usize) {
        let Some(position) = self.slots.iter().position(|slot| slot.id == id) else { return };
        let slot = &mut self.slots[position];
        slot.traffic.wire_rx_datagrams += 1;
        slot.traffic.wire_rx_bytes += wire_bytes as u64;
        let mut received = std::mem::take(&mut self.received);
        let valid = slot.link.receive(now, data, &mut received, &mut self.pool);
        if !received.is_empty() {
            slot.last_message = now;
        }
        if valid {
            self.heard(now, position);
        }
        for item in received.drain(..) {
            self.handle_received(now, id, item);
        }
        self.received = received;
        self.collect_lost(id);
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

    /// Appends the next datagram to `out`; returns its route. `None` when nothing is due.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<Route> {
        for _ in 0..=self.slots.len() {
            if self.burst >= BURST_DATAGRAMS || self.cursor >= self.slots.len() {
                self.next_slot();
            }
            self.fill(now);
            let slot = self.slots.get_mut(self.cursor)?;
            let before = out.len();
            let idle = slot.queue.is_empty();
            if slot.link.poll_transmit(now, idle, out, &mut self.pool) {
                slot.traffic.wire_tx_datagrams += 1;
                slot.traffic.wire_tx_bytes += (out.len() - before) as u64;
                self.burst += 1;
                return Some(slot.route);
            }
            self.next_slot();
        }
        None
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

    /// What it counted.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        let mut stats = self.stats;
        if let Some(numbered) = &self.numbered {
            stats.repaired_packets += numbered.repaired_packets;
            stats.resequencer = numbered.stats();
        }
        for slot in &self.slots {
            stats.queues += slot.queue.stats();
        }
        stats
    }

    /// Every link's figures.
    #[must_use]
    pub fn reports(&self) -> Vec<LinkReport> {
        self.slots.iter().map(Slot::report).collect()
    }

    fn says_farewell(&self) -> bool {
        self.role == Role::Client || L::SERVER_SAYS_FAREWELL
    }

    /// Moves packets into the link whose turn it is, while it has room: repairs first, if no other link is better for them.
    fn fill(&mut self, now: Time) {
        let repairs_here = self.takes_repairs(now, self.cursor);
        let Some(slot) = self.slots.get_mut(self.cursor) else { return };
        for _ in 0..slot.link.room(now) {
            let repair =
                if repairs_here { self.numbered.as_mut().and_then(Numbered::next_repair) } else { None };
            let outgoing = match repair {
                Some(repair) => repair,
                None => {
                    let Some(item) = slot.queue.pop(now, &mut self.pool) else { break };
                    let number = self.numbered.as_mut().map(|numbered| numbered.number(&item.flow));
                    Outgoing { packet: item.packet, number }
                }
            };
            slot.traffic.tx_packets += 1;
            slot.traffic.tx_bytes += outgoing.packet.len() as u64;
            slot.link.send(now, outgoing);
        }
    }

    /// Whether repairs go over this link: of those that are usable and have room, it has the least round trip.
    fn takes_repairs(&self, now: Time, position: usize) -> bool {
        if !self.numbered.as_ref().is_some_and(Numbered::has_repairs) || !self.usable.contains(&position) {
            return false;
        }
        let open =
            self.usable.iter().filter(|&&other| other == position || self.slots[other].link.room(now) > 0);
        open.min_by_key(|&&other| self.slots[other].link.stats().srtt) == Some(&position)
    }

    /// The next thing that a link said to the endpoint.
    pub fn poll_control(&mut self) -> Option<(LinkId, L::Control)> {
        self.controls.pop_front()
    }

    /// A link, for what only its protocol knows.
    pub fn link_mut(&mut self, id: LinkId) -> Option<&mut L> {
        self.slots.iter_mut().find(|slot| slot.id == id).map(|slot| &mut slot.link)
    }

    fn next_slot(&mut self) {
        self.burst = 0;
        self.cursor = if self.cursor + 1 < self.slots.len() { self.cursor + 1 } else { 0 };
    }

    fn enqueue(&mut self, item: Queued) {
        let Some(choice) = self.scheduler.choose(&item.flow, &self.candidates) else {
            self.park(item);
            return;
        };
        self.slots[self.usable[choice]].queue.push(item, &mut self.pool);
    }

    fn park(&mut self, item: Queued) {
        if self.parked.len() >= MAX_PARKED
            && let Some(oldest) = self.parked.pop_front()
        {
            self.stats.no_link_drops += 1;
            self.pool.put(oldest.packet);
        }
        self.parked.push_back(item);
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
            Received::Hello(peer) => self.greeted(now, id, peer, true),
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

    fn deliver(&mut self, now: Time, number: Option<Numbering>, packet: Packet) {
        match (&mut self.numbered, number) {
            (Some(numbered), Some(number)) => {
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

impl<L: Link> Slot<L> {
    fn report(&self) -> LinkReport {
        LinkReport {
            wan: self.wan,
            key: self.link.key(),
            route: self.route,
            state: self.state,
            up_since: self.up_since,
            last_rx: self.up_since.map(|_| self.last_rx),
            traffic: self.traffic,
            queued: (self.queue.len(), self.queue.bytes()),
            queue: self.queue.stats(),
            stats: self.link.stats(),
        }
    }
}
