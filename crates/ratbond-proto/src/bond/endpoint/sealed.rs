//! A session, its keys, and the ways to its links.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::bond::address::PeerAddress;
use crate::bond::datagram::ReceiverIndex;
use crate::bond::frame::RekeyStep;
use crate::bond::handshake::join::LinkNumbers;
use crate::bond::keys::{Cipher, Master};
use crate::bond::link::{Control, Identity, Notice, Opened, OwnedAck, SealedLink};
use crate::endpoint::{GateStats, SessionId, SessionReport};
use crate::event::{DownReason, Event};
use crate::link::{LinkId, Route, WanId};
use crate::packet::PacketPool;
use crate::queue::QueueConfig;
use crate::scheduler::SchedulerKind;
use crate::session::{Role, Session};
use crate::time::Time;

/// Datagrams that leave beside those of the sessions, and where to.
pub(super) type Outbox = VecDeque<(Route, Vec<u8>)>;

/// Secrets of a session.
#[derive(Debug)]
pub(super) struct Keys {
    /// Of the epoch that this end seals with.
    pub master: Master,
    pub cipher: Cipher,
    /// Server: of the epoch that a rekeying leads to, until the client uses it.
    pub next: Option<Master>,
}

/// What a datagram brought for the endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    Rekey { over: LinkId, step: RekeyStep, epoch: u8, message: Vec<u8> },
    Close { code: u8, reason: String },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Sealed {
    role: Role,
    pub session: Session<SealedLink>,
    /// None before the first handshake.
    pub keys: Option<Keys>,
    pub numbers: LinkNumbers,
    links: BTreeMap<ReceiverIndex, LinkId>,
    /// Where a server's client is, link by link.
    addresses: BTreeMap<LinkId, PeerAddress<Route>>,
    remotes: BTreeMap<WanId, SocketAddr>,
}

impl Sealed {
    /// A session without keys: packets wait in it.
    pub fn new(role: Role, scheduler: SchedulerKind) -> Self {
        Self {
            role,
            session: Session::new(role, scheduler, QueueConfig::default()),
            keys: None,
            numbers: LinkNumbers::default(),
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            remotes: BTreeMap::new(),
        }
    }

    /// A session that a handshake has made.
    pub fn with_keys(role: Role, scheduler: SchedulerKind, master: Master, cipher: Cipher) -> Self {
        Self { keys: Some(Keys { master, cipher, next: None }), ..Self::new(role, scheduler) }
    }

    /// A link joins.
    pub fn add_link(
        &mut self,
        now: Time,
        wan: WanId,
        route: Route,
        (number, own, peer): (u16, ReceiverIndex, ReceiverIndex),
    ) {
        let Some(keys) = &self.keys else { return };
        let identity = Identity { role: self.role, link: number, own, peer };
        let mut link = SealedLink::new(now, identity, &keys.master, keys.cipher, is_ipv6(&route));
        if let Some(next) = &keys.next {
            link.bond_mut().expect_epoch(next);
        }
        let id = self.session.add_link(now, wan, route, link);
        self.links.insert(own, id);
        self.remotes.insert(wan, route.remote);
        if self.role == Role::Server {
            self.addresses.insert(id, PeerAddress::new(route));
        }
    }

    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// How the peer is addressed on one of the links, for a JOIN.
    pub fn any_peer_index(&mut self) -> Option<ReceiverIndex> {
        let id = self.session.links().map(|(id, ..)| id).last()?;
        self.session.link_mut(id).map(|link| link.bond().identity().peer)
    }

    /// Takes a sealed datagram. `token` is random.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        route: Route,
        datagram: &mut [u8],
        token: [u8; 8],
        outbox: &mut Outbox,
    ) -> Vec<Word> {
        let known = ReceiverIndex::of(datagram).ok().and_then(|index| self.links.get(&index).copied());
        let Some(id) = known else { return Vec::new() };
        let len = datagram.len();
        self.session.handle_datagram(now, id, datagram, len);
        if let Some(opened) = self.session.link_mut(id).and_then(SealedLink::take_opened) {
            self.follow(now, id, (route, len), (opened, token), outbox);
            self.confirm_epoch(now, opened.epoch);
        }
        let mut words = Vec::new();
        while let Some((over, notice)) = self.session.poll_control() {
            match notice {
                Notice::AckOf(link, ack) => self.handle_foreign_ack(now, link, &ack),
                Notice::PathResponse(token) => self.handle_path_response(over, route, token),
                Notice::Rekey { step, epoch, message } => {
                    words.push(Word::Rekey { over, step, epoch, message });
                }
                Notice::Close { code, reason } => words.push(Word::Close { code, reason }),
            }
        }
        words
    }

    /// Its figures.
    pub fn report(&self, id: SessionId) -> SessionReport {
        SessionReport {
            id,
            peer: self.session.peer(),
            up_since: self.session.up_since(),
            cipher: self.keys.as_ref().map(|keys| keys.cipher),
            stats: self.session.stats(),
            gate: GateStats::default(),
            links: self.session.reports(),
        }
    }

    /// The kernel refused to send datagrams of `len` bytes over this route; returns whether a link has it.
    pub fn handle_too_big(&mut self, now: Time, route: Route, len: usize) -> bool {
        let same = |other: &Route| (other.socket, other.remote) == (route.socket, route.remote);
        let ids: Vec<_> = self.session.links().filter(|(.., other)| same(other)).map(|(id, ..)| id).collect();
        for &id in &ids {
            if let Some(link) = self.session.link_mut(id) {
                link.bond_mut().on_too_big(now, len);
            }
        }
        !ids.is_empty()
    }

    /// Every link's largest smoothed round trip.
    pub fn largest_rtt(&self) -> Duration {
        self.session.reports().iter().map(|link| link.stats.srtt).max().unwrap_or_default()
    }

    /// Both epochs open from now on, on all links.
    pub fn expect(&mut self, next: Master) {
        self.each_link(|link| link.bond_mut().expect_epoch(&next));
        if let Some(keys) = &mut self.keys {
            keys.next = Some(next);
        }
    }

    /// Seals with the expected epoch from now on, on all links. Something leaves on each at once, so that the peer learns of it.
    pub fn switch(&mut self, now: Time) {
        let rtt = self.largest_rtt();
        let Some(next) = self.keys.as_mut().and_then(|keys| keys.next.take()) else { return };
        self.each_link(|link| {
            link.bond_mut().switch_epoch(now, &next, rtt);
            link.bond_mut().send_control(Control::Ping);
        });
        if let Some(keys) = &mut self.keys {
            keys.master = next;
        }
    }

    /// Puts a CLOSE for every link into the outbox.
    pub fn close(&mut self, now: Time, code: u8, reason: &str, outbox: &mut Outbox) {
        let links: Vec<_> = self.session.links().map(|(id, _, _, route)| (id, route)).collect();
        for (id, route) in links {
            let mut datagram = Vec::new();
            let link = self.session.link_mut(id);
            if link.is_some_and(|link| link.bond_mut().transmit_close(now, code, reason, &mut datagram)) {
                outbox.push_back((route, datagram));
            }
        }
    }

    /// The session has ended: all links go.
    pub fn end(&mut self, now: Time, reason: &DownReason) {
        let ids: Vec<_> = self.session.links().map(|(id, ..)| id).collect();
        for id in ids {
            self.session.remove_link(now, id, reason);
        }
    }

    /// The peer's address on one of the links.
    pub fn any_remote(&self) -> Option<SocketAddr> {
        self.session.links().map(|(.., route)| route.remote).last()
    }

    /// Forgets the ways to all links; returns their indexes.
    pub fn take_indexes(&mut self) -> Vec<ReceiverIndex> {
        std::mem::take(&mut self.links).into_keys().collect()
    }

    /// The peer's address on a WAN that an event is about.
    pub fn remote_of(&self, event: &Event) -> Option<SocketAddr> {
        match event {
            Event::WanUp(wan) | Event::WanSuspect(wan) | Event::WanDown(wan, _) => {
                self.remotes.get(wan).copied()
            }
            _ => None,
        }
    }

    /// Forgets the ways to links that are gone; returns their indexes.
    pub fn prune(&mut self) -> Vec<ReceiverIndex> {
        if self.session.links().count() == self.links.len() {
            return Vec::new();
        }
        let alive: Vec<_> = self.session.links().map(|(id, _, wan, _)| (id, wan)).collect();
        let gone: Vec<_> = self
            .links
            .iter()
            .filter(|(_, id)| alive.iter().all(|(other, _)| other != *id))
            .map(|(&i, _)| i)
            .collect();
        for index in &gone {
            if let Some(id) = self.links.remove(index) {
                self.addresses.remove(&id);
            }
        }
        self.remotes.retain(|wan, _| alive.iter().any(|(_, other)| other == wan));
        gone
    }

    fn each_link(&mut self, mut change: impl FnMut(&mut SealedLink)) {
        let ids: Vec<_> = self.session.links().map(|(id, ..)| id).collect();
        for id in ids {
            if let Some(link) = self.session.link_mut(id) {
                change(link);
            }
        }
    }

    /// A server follows a client that moves once it proves where it is.
    fn follow(
        &mut self,
        now: Time,
        id: LinkId,
        (route, len): (Route, usize),
        (opened, token): (Opened, [u8; 8]),
        outbox: &mut Outbox,
    ) {
        let Some(address) = self.addresses.get_mut(&id) else { return };
        let Some(token) = address.on_datagram(now, route, len as u64, opened.newest, token) else { return };
        let Some(link) = self.session.link_mut(id) else { return };
        let mut challenge = Vec::new();
        if link.bond_mut().transmit_challenge(now, token, &mut challenge)
            && address.spend(route, challenge.len() as u64)
        {
            outbox.push_back((route, challenge));
        }
        // Asked at home: if the peer is still there, its answer is newer than what came from elsewhere. Not with the token,
        // which only somebody at the new address may know.
        link.bond_mut().send_control(Control::Ping);
    }

    fn handle_path_response(&mut self, id: LinkId, route: Route, token: [u8; 8]) {
        let Some(address) = self.addresses.get_mut(&id) else { return };
        if address.on_response(route, token) {
            self.session.set_route(id, route);
            if let Some(link) = self.session.link_mut(id) {
                link.bond_mut().on_new_path(is_ipv6(&route));
            }
            let wan = self.session.links().find(|&(other, ..)| other == id).map(|(_, _, wan, _)| wan);
            self.remotes.extend(wan.map(|wan| (wan, route.remote)));
        }
    }

    /// The first datagram of the new epoch tells a server that the client has its keys.
    fn confirm_epoch(&mut self, now: Time, epoch: u8) {
        let expected = self.keys.as_ref().and_then(|keys| keys.next.as_ref()).map(Master::epoch);
        if self.role == Role::Server && expected == Some(epoch) {
            self.switch(now);
        }
    }

    fn handle_foreign_ack(&mut self, now: Time, number: u16, ack: &OwnedAck) {
        let id = self.session.links().find(|&(_, key, ..)| key == u32::from(number)).map(|(id, ..)| id);
        if let Some(link) = id.and_then(|id| self.session.link_mut(id)) {
            // An ack of what was never sent tells nothing.
            let _ = link.bond_mut().on_foreign_ack(now, ack, &mut PacketPool::new(0));
        }
    }
}

fn is_ipv6(route: &Route) -> bool {
    route.remote.ip().to_canonical().is_ipv6()
}
