//! The server's end: a session for each client.
//!
//! A session that a handshake has made is *pending* until the first sealed datagram has come over it: only then does it
//! replace the client's older one. An INIT can be repeated by somebody who watches the wire, that datagram cannot be made.
//!
//! | module | what it holds |
//! |---|---|
//! | `admission` | handshakes, joins, replacement, revocation |
//! | `member` | one session |
//! | `share` | which clients are which worker's |

mod admission;
mod member;
mod share;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use self::member::Member;
use self::share::Share;
use super::BondEndpointConfig;
use super::agenda::{Agenda, Number};
use super::gate::Deliveries;
use super::refusal::Refusal;
use super::roster::{NamedClient, Roster};
use super::sealed::{Outbox, Word};
use crate::bond::datagram::{Kind, ReceiverIndex};
use crate::bond::entropy::Entropy;
use crate::bond::frame::RekeyStep;
use crate::bond::handshake::server::ServerHandshakes;
use crate::bond::handshake::{Mode, ServerKeys};
use crate::bond::secret::Secret32;
use crate::endpoint::{Endpoint, EndpointEvent, Handover, SessionId, SessionReport};
use crate::event::{DownReason, Event};
use crate::link::{Route, SocketId, WanId};
use crate::packet::Packet;
use crate::scheduler::SchedulerKind;
use crate::time::Time;

pub use self::share::worker_of;

/// A session that nobody confirms is dropped after this long.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_PENDING: usize = 256;
const MAX_LINKS: usize = 64;
/// Answers to JOINs that are kept for the case that they get lost.
const MAX_ANSWERS: usize = 64;
const WRONG_TUNNEL_ID: u8 = 1;
const NO_COMMON_CIPHER: u8 = 4;
const SUPERSEDED: u8 = 6;
const DONE: u8 = 0;
const REPLACED: u8 = 1;
/// Of a refusal and of a CLOSE alike.
const REVOKED: u8 = 2;

/// See the module.
#[derive(Debug)]
pub struct BondServer {
    keys: ServerKeys,
    config: BondEndpointConfig,
    share: Share,
    entropy: Entropy,
    /// For what is no key: indexes and tokens.
    rng: ChaCha20Rng,
    handshakes: ServerHandshakes,
    roster: Roster,
    members: BTreeMap<Number, Member>,
    /// Members that nobody has confirmed yet, the oldest first, and when they expire.
    pending: VecDeque<(Time, Number)>,
    indexes: BTreeMap<ReceiverIndex, Number>,
    next_number: Number,
    agenda: Agenda,
    outbox: Outbox,
    deliveries: Deliveries,
    refusal: Refusal,
    events: VecDeque<EndpointEvent>,
    handovers: VecDeque<Handover>,
}

impl BondServer {
    /// An end without sessions. With named clients it knows nobody before [`Endpoint::set_clients`].
    #[must_use]
    pub fn new(keys: ServerKeys, config: BondEndpointConfig) -> Self {
        Self::with_share(keys, config, Share::WHOLE, None)
    }

    /// `cookies` is the seed of the cookies that all workers take; without one it is drawn.
    fn with_share(
        keys: ServerKeys,
        mut config: BondEndpointConfig,
        share: Share,
        cookies: Option<Secret32>,
    ) -> Self {
        let (mut entropy, rng) = config.take_entropy();
        let cookies = cookies.unwrap_or_else(|| entropy.draw());
        let roster = match keys.mode() {
            Mode::Named => Roster::default(),
            Mode::Shared => Roster::shared(),
        };
        Self {
            handshakes: ServerHandshakes::new(keys.clone(), cookies, entropy.draw(), share.workers),
            keys,
            config,
            share,
            entropy,
            rng,
            roster,
            members: BTreeMap::new(),
            pending: VecDeque::new(),
            indexes: BTreeMap::new(),
            next_number: 0,
            agenda: Agenda::default(),
            outbox: Outbox::new(),
            deliveries: Deliveries::new(),
            refusal: Refusal::default(),
            events: VecDeque::new(),
            handovers: VecDeque::new(),
        }
    }

    fn new_index(&mut self) -> ReceiverIndex {
        loop {
            let index = ReceiverIndex::new(self.share.worker, self.rng.next_u32());
            if !self.indexes.contains_key(&index) {
                return index;
            }
        }
    }

    fn handle_sealed(&mut self, now: Time, route: Route, datagram: &mut [u8]) {
        // A datagram of a session that is gone is no news.
        let Some(&number) = ReceiverIndex::of(datagram).ok().and_then(|index| self.indexes.get(&index))
        else {
            return;
        };
        let mut token = [0; 8];
        self.rng.fill_bytes(&mut token);
        let Some(member) = self.members.get_mut(&number) else { return };
        for word in member.sealed.handle_datagram(now, route, datagram, token, &mut self.outbox) {
            match word {
                Word::Rekey { step: RekeyStep::Offer, over, epoch, message } => {
                    let seed = self.entropy.draw();
                    if let Some(client) = self.roster.get(member.client) {
                        member.rekey(&self.keys, client, over, (epoch, &message), &seed);
                    }
                }
                // Only a server answers.
                Word::Rekey { .. } => {}
                Word::Close { .. } => member.sealed.end(now, &DownReason::Peer),
            }
        }
        self.confirm(now, number);
        self.collect(now, number);
    }

    /// Passes on what a session that runs has to tell and to deliver, and forgets links that are gone.
    fn collect(&mut self, now: Time, number: Number) {
        let Some(member) = self.members.get_mut(&number) else { return };
        let session = member.client;
        if let Some((client, networks)) = self.roster.client_and_networks(session)
            && client.running == Some(number)
        {
            while let Some(event) = member.sealed.session.poll_event() {
                let (remote, wans_up) = (member.sealed.remote_of(&event), member.sealed.session.wans_up());
                self.events.push_back(EndpointEvent { session, event, remote, wans_up });
            }
            while let Some(packet) = member.sealed.session.poll_delivery() {
                let Some(gate) = &mut client.gate else {
                    self.deliveries.push_back((session, packet));
                    continue;
                };
                if let Some(refused) = gate.pass_up(now, packet, networks, &mut self.deliveries) {
                    member.sealed.session.recycle(refused);
                }
            }
        }
        for index in member.sealed.prune() {
            self.indexes.remove(&index);
        }
        self.agenda.wake(number);
    }

    fn release(&mut self, now: Time, number: Number) {
        let Some(member) = self.members.get_mut(&number) else { return };
        if let Some(client) = self.roster.get_mut(member.client)
            && client.running == Some(number)
            && let Some(gate) = &mut client.gate
        {
            gate.release(now, &mut member.sealed.session, &mut self.deliveries);
        }
    }

    fn deadline_of(&self, number: Number) -> Option<Time> {
        let member = self.members.get(&number)?;
        let client = self.roster.get(member.client).filter(|client| client.running == Some(number));
        let gate = client.and_then(|client| client.gate.as_ref()).and_then(|gate| gate.poll_timeout());
        member.sealed.session.poll_timeout().into_iter().chain(gate).min()
    }

    fn running(&mut self, session: SessionId) -> Option<&mut Member> {
        let number = self.roster.get(session)?.running?;
        self.members.get_mut(&number)
    }
}

impl Endpoint for BondServer {
    fn connect(&mut self, _now: Time, _wan: WanId, _route: Route) -> bool {
        false
    }

    fn set_clients(&mut self, now: Time, clients: Vec<NamedClient>) {
        if self.keys.mode() == Mode::Named {
            self.replace_clients(now, clients);
        }
    }

    fn remove_wan(&mut self, now: Time, wan: WanId, reason: &str) {
        let numbers: Vec<_> = self.members.keys().copied().collect();
        for number in numbers {
            if let Some(member) = self.members.get_mut(&number) {
                member.sealed.session.remove_wan(now, wan, &DownReason::Local(reason.to_owned()));
            }
            self.collect(now, number);
        }
    }

    fn close(&mut self, now: Time) {
        for member in self.members.values_mut() {
            member.sealed.close(now, DONE, "the server stopped", &mut self.outbox);
        }
    }

    fn uses_socket(&self, socket: SocketId) -> bool {
        self.members.values().any(|member| member.sealed.session.uses_socket(socket))
    }

    fn set_scheduler(&mut self, scheduler: SchedulerKind) {
        self.config.scheduler = scheduler;
        for member in self.members.values_mut() {
            member.sealed.session.set_scheduler(scheduler);
        }
    }

    fn handle_datagram(&mut self, now: Time, route: Route, datagram: &mut [u8]) {
        match Kind::of(datagram) {
            Ok(Kind::Sealed { .. }) => self.handle_sealed(now, route, datagram),
            Ok(Kind::Request | Kind::Init) => self.handle_handshake(now, route, datagram, true),
            Ok(Kind::Join) => self.handle_join(now, route, datagram),
            Ok(Kind::Challenge | Kind::Response | Kind::Joined | Kind::Version) => {}
            Err(_) => {
                let remedy = self.keys.mode().remedy();
                self.refusal.tell(now, route.remote, format_args!("it is no bond/1: {remedy}"));
            }
        }
    }

    fn handle_handover(&mut self, now: Time, route: Route, datagram: &mut [u8]) {
        self.handle_handshake(now, route, datagram, false);
    }

    fn poll_handover(&mut self) -> Option<Handover> {
        self.handovers.pop_front()
    }

    fn handle_too_big(&mut self, now: Time, route: Route, len: usize) -> bool {
        let refused: Vec<_> = self
            .members
            .iter_mut()
            .filter_map(|(&number, member)| member.sealed.handle_too_big(now, route, len).then_some(number))
            .collect();
        for &number in &refused {
            self.agenda.wake(number);
        }
        !refused.is_empty()
    }

    fn handle_packet(&mut self, now: Time, session: SessionId, packet: &[u8]) {
        let Some(client) = self.roster.get_mut(session) else { return };
        let Some(number) = client.running else { return };
        let Some(member) = self.members.get_mut(&number) else { return };
        match &mut client.gate {
            Some(gate) => gate.pass_down(now, packet, &mut member.sealed.session),
            None => member.sealed.session.handle_packet(now, packet),
        }
        self.agenda.wake(number);
    }

    fn handle_timeout(&mut self, now: Time) {
        for number in self.agenda.take_due(now) {
            if let Some(member) = self.members.get_mut(&number)
                && member.sealed.session.poll_timeout().is_some_and(|at| at <= now)
            {
                member.sealed.session.handle_timeout(now);
            }
            self.release(now, number);
            self.collect(now, number);
        }
        self.drop_unconfirmed(now, MAX_PENDING);
    }

    fn poll_timeout(&self) -> Option<Time> {
        let expiry = self.pending.front().map(|&(at, _)| at);
        let awake = self.agenda.awake().filter_map(|number| self.deadline_of(number));
        expiry.into_iter().chain(self.agenda.next_deadline()).chain(awake).min()
    }

    fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<Route> {
        if let Some((route, datagram)) = self.outbox.pop_front() {
            out.extend_from_slice(&datagram);
            return Some(route);
        }
        while let Some(number) = self.agenda.turn() {
            let member = self.members.get_mut(&number);
            if let Some(route) = member.and_then(|member| member.sealed.session.poll_transmit(now, out)) {
                self.agenda.sent();
                return Some(route);
            }
            self.agenda.rest(self.deadline_of(number));
        }
        None
    }

    fn poll_delivery(&mut self) -> Option<(SessionId, Packet)> {
        self.deliveries.pop_front()
    }

    fn recycle(&mut self, session: SessionId, packet: Packet) {
        if let Some(member) = self.running(session) {
            member.sealed.session.recycle(packet);
        }
    }

    fn poll_event(&mut self) -> Option<EndpointEvent> {
        if let Some((words, remote)) = self.refusal.take() {
            let event = Event::Refused(words);
            return Some(EndpointEvent { session: SessionId(0), event, remote: Some(remote), wans_up: 0 });
        }
        self.events.pop_front()
    }

    fn reports(&self) -> Vec<SessionReport> {
        let running = |(session, client): (SessionId, &super::roster::Client)| {
            let member = self.members.get(&client.running?)?;
            let gate = client.gate.as_ref().map(super::gate::Gate::stats).unwrap_or_default();
            Some(SessionReport { gate, ..member.sealed.report(session) })
        };
        self.roster.iter().filter_map(running).collect()
    }
}
