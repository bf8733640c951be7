//! The server's end: a session for each client.
//!
//! A session that a handshake has made is *pending* until the first sealed datagram has come over it: only then does it
//! replace the client's older one. An INIT can be repeated by somebody who watches the wire, that datagram cannot be made.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::BondEndpointConfig;
use super::refusal::Refusal;
use super::sealed::{Outbox, Sealed, Word};
use crate::bond::datagram::{Kind, ReceiverIndex};
use crate::bond::frame::RekeyStep;
use crate::bond::frame::tlv::{FieldWriter, field};
use crate::bond::handshake::join::{Join, JoinVerdict};
use crate::bond::handshake::server::{ClientId, Offer, ServerHandshakes, Verdict};
use crate::bond::handshake::{HandshakeError, ServerKeys, rekey};
use crate::bond::kdf::MacKey;
use crate::bond::link::Control;
use crate::bond::secret::Secret32;
use crate::endpoint::{Endpoint, EndpointEvent, SessionId, SessionReport};
use crate::event::{DownReason, Event};
use crate::link::{LinkId, Route, SocketId, WanId};
use crate::packet::Packet;
use crate::scheduler::SchedulerKind;
use crate::session::Role;
use crate::time::Time;

/// A session that nobody confirms is dropped after this long.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_PENDING: usize = 256;
const MAX_LINKS: usize = 64;
/// Answers to JOINs that are kept for the case that they get lost.
const MAX_ANSWERS: usize = 64;
const WRONG_TUNNEL_ID: u8 = 1;
const NO_COMMON_CIPHER: u8 = 4;
const DONE: u8 = 0;
const REPLACED: u8 = 1;

/// Names a session that a handshake made; never used again.
type Number = u64;

/// A session of a client: the one that runs, or one that is not confirmed yet.
#[derive(Debug)]
struct Member {
    client: SessionId,
    since: Time,
    sealed: Sealed,
    /// Answers to JOINs: link and client's index, and the server's index.
    joined: VecDeque<(u16, ReceiverIndex, ReceiverIndex)>,
}

/// Who has a session.
#[derive(Debug)]
struct Client {
    id: ClientId,
    running: Option<Number>,
}

/// See the module.
#[derive(Debug)]
pub struct BondServer {
    keys: ServerKeys,
    config: BondEndpointConfig,
    rng: ChaCha20Rng,
    handshakes: ServerHandshakes,
    /// The position is the client's [`SessionId`].
    clients: Vec<Client>,
    members: BTreeMap<Number, Member>,
    indexes: BTreeMap<ReceiverIndex, Number>,
    next_number: Number,
    /// Where the last datagram came from: the next session has its turn after it.
    cursor: Number,
    outbox: Outbox,
    refusal: Refusal,
    events: VecDeque<EndpointEvent>,
}

impl BondServer {
    /// An end without clients.
    #[must_use]
    pub fn new(keys: ServerKeys, config: BondEndpointConfig) -> Self {
        let mut rng = ChaCha20Rng::from_seed(config.seed.0);
        let (cookie_seed, seed) = (draw(&mut rng), draw(&mut rng));
        Self {
            handshakes: ServerHandshakes::new(keys.clone(), cookie_seed, seed),
            keys,
            config,
            rng,
            clients: Vec::new(),
            members: BTreeMap::new(),
            indexes: BTreeMap::new(),
            next_number: 0,
            cursor: 0,
            outbox: Outbox::new(),
            refusal: Refusal::default(),
            events: VecDeque::new(),
        }
    }

    fn new_index(&mut self) -> ReceiverIndex {
        loop {
            let index = ReceiverIndex::new(0, self.rng.next_u32());
            if !self.indexes.contains_key(&index) {
                return index;
            }
        }
    }

    fn handle_handshake(&mut self, now: Time, route: Route, datagram: &[u8]) {
        match self.handshakes.handle(now, route.remote, datagram) {
            Ok(Verdict::Reply(reply)) => self.outbox.push_back((route, reply)),
            Ok(Verdict::Refuse(reply, error)) => {
                self.outbox.push_back((route, reply));
                self.refusal.tell(now, route.remote, error.to_string());
            }
            Ok(Verdict::Offer(offer)) => self.answer(now, route, *offer),
            Err(error) => self.refuse(now, route.remote, &error),
        }
    }

    /// What an operator can do something about is told; the rest is noise of the network.
    fn refuse(&mut self, now: Time, remote: SocketAddr, error: &HandshakeError) {
        match error {
            HandshakeError::WrongMac => {
                self.refusal.tell(now, remote, format!("{error}; give both ends the same secret"));
            }
            HandshakeError::WrongVersion { .. }
            | HandshakeError::WrongMode { .. }
            | HandshakeError::TooMany => {
                self.refusal.tell(now, remote, error.to_string());
            }
            _ => {}
        }
    }

    /// Lets a client that proved who it is in, or tells it why not.
    fn answer(&mut self, now: Time, route: Route, offer: Offer) {
        let psk = Secret32([0; 32]);
        let theirs = offer.fields().array(field::TUNNEL_ID).map(u16::from_be_bytes);
        let ciphers = &self.config.ciphers;
        let answer = if theirs != Some(self.config.tunnel_id) {
            let words = format!(
                "the client's tunnel-id is {}, the server's is {}: give both ends the same --tunnel-id",
                theirs.map_or("missing".into(), |id| id.to_string()),
                self.config.tunnel_id
            );
            self.refusal.tell(now, route.remote, words.as_str());
            offer.refuse(&psk, WRONG_TUNNEL_ID, &words)
        } else if let Some(cipher) = offer.cipher(|cipher| ciphers.contains(&cipher)) {
            let (own, client) = (self.new_index(), offer.client());
            let mut fields = FieldWriter::default();
            fields.put(field::TUNNEL_ID, &self.config.tunnel_id.to_be_bytes());
            offer.accept(own, cipher, &psk, &fields).map(|(answer, made)| {
                let sealed = Sealed::with_keys(Role::Server, self.config.scheduler, made.master, made.cipher);
                self.add_member(now, client, (route, own, made.peer), sealed);
                answer
            })
        } else {
            let words = "no cipher in common: give both ends the same --cipher, or none";
            self.refusal.tell(now, route.remote, words);
            offer.refuse(&psk, NO_COMMON_CIPHER, words)
        };
        // A client whose key is a point of low order gets no answer.
        if let Ok(answer) = answer {
            self.handshakes.answered(now, &answer);
            self.outbox.push_back((route, answer.datagram));
        }
    }

    fn add_member(
        &mut self,
        now: Time,
        client: ClientId,
        (route, own, peer): (Route, ReceiverIndex, ReceiverIndex),
        mut sealed: Sealed,
    ) {
        self.drop_unconfirmed(now, MAX_PENDING - 1);
        let position = self.clients.iter().position(|known| known.id == client).unwrap_or_else(|| {
            self.clients.push(Client { id: client, running: None });
            self.clients.len() - 1
        });
        let number = self.next_number;
        self.next_number += 1;
        sealed.add_link(now, WanId(0), route, (0, own, peer));
        self.indexes.insert(own, number);
        let client = SessionId(position as u32);
        self.members.insert(number, Member { client, since: now, sealed, joined: VecDeque::new() });
    }

    fn handle_join(&mut self, now: Time, route: Route, datagram: &[u8]) {
        let Ok(join) = Join::decode(datagram) else { return };
        let Some(&number) = self.indexes.get(&join.session) else { return };
        let own = self.new_index();
        let Some(member) = self.members.get_mut(&number) else { return };
        let Some(key) = member.join_key(now, join.epoch, datagram) else { return };
        let before =
            member.joined.iter().find(|(link, sender, _)| (*link, *sender) == (join.link, join.sender));
        let verdict = if let Some(&(_, _, own)) = before {
            JoinVerdict::Joined(own)
        } else if member.sealed.link_count() >= MAX_LINKS {
            JoinVerdict::TooManyLinks
        } else if member.sealed.numbers.take(join.link) {
            member.remember(join, own);
            member.sealed.add_link(now, WanId(u32::from(join.link)), route, (join.link, own, join.sender));
            self.indexes.insert(own, number);
            JoinVerdict::Joined(own)
        } else {
            JoinVerdict::NumberUsed
        };
        self.outbox.push_back((route, verdict.encode(datagram, &key)));
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
                    let seed = draw(&mut self.rng);
                    member.rekey(&self.keys, over, (epoch, &message), &seed);
                }
                // Only a server answers.
                Word::Rekey { .. } => {}
                Word::Close { .. } => member.sealed.end(now),
            }
        }
        self.confirm(now, number);
        self.collect(number);
    }

    /// The first sealed datagram makes a session the client's own, in place of the one before.
    fn confirm(&mut self, now: Time, number: Number) {
        let Some(member) = self.members.get(&number) else { return };
        let client = member.client;
        let running = &mut self.clients[client.0 as usize].running;
        if *running == Some(number) || member.sealed.session.wans_up() == 0 {
            return;
        }
        let older = running.replace(number).and_then(|older| self.members.remove(&older));
        if let Some(mut older) = older {
            self.indexes.retain(|_, owner| self.members.contains_key(owner));
            older.sealed.close(now, REPLACED, "a newer session has taken its place", &mut self.outbox);
            if let Some(member) = self.members.get_mut(&number) {
                member.sealed.session.adopt(now, older.sealed.session);
            }
        }
    }

    /// Passes on what a session that runs has to tell, and forgets links that are gone.
    fn collect(&mut self, number: Number) {
        let Some(member) = self.members.get_mut(&number) else { return };
        if self.clients[member.client.0 as usize].running == Some(number) {
            while let Some(event) = member.sealed.session.poll_event() {
                let (remote, wans_up) = (member.sealed.remote_of(&event), member.sealed.session.wans_up());
                self.events.push_back(EndpointEvent { session: member.client, event, remote, wans_up });
            }
        }
        for index in member.sealed.prune() {
            self.indexes.remove(&index);
        }
    }

    /// Drops pending sessions that are too old, and the oldest while there are more than `keep`.
    fn drop_unconfirmed(&mut self, now: Time, keep: usize) {
        let mut pending: Vec<_> =
            self.members.iter().filter(|(number, member)| !self.runs(**number, member)).collect();
        let expired = pending.iter().filter(|(_, member)| member.since + CONFIRM_TIMEOUT <= now).count();
        let surplus = pending.len().saturating_sub(keep).max(expired);
        // Numbers count up, so the oldest come first.
        let gone: Vec<_> = pending.drain(..surplus).map(|(&number, _)| number).collect();
        for number in gone {
            self.members.remove(&number);
            self.indexes.retain(|_, owner| *owner != number);
        }
    }

    fn runs(&self, number: Number, member: &Member) -> bool {
        self.clients[member.client.0 as usize].running == Some(number)
    }

    fn running(&mut self, session: SessionId) -> Option<&mut Member> {
        let number = self.clients.get(session.0 as usize)?.running?;
        self.members.get_mut(&number)
    }
}

impl Member {
    /// The join key of an epoch, if it made the proof. A client that joins with the next epoch's has its keys.
    fn join_key(&mut self, now: Time, epoch: u8, datagram: &[u8]) -> Option<MacKey> {
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

    fn remember(&mut self, join: Join, own: ReceiverIndex) {
        if self.joined.len() >= MAX_ANSWERS {
            self.joined.pop_front();
        }
        self.joined.push_back((join.link, join.sender, own));
    }

    /// Answers a client's offer of new keys; an offer that proves nothing gets no answer.
    fn rekey(&mut self, server: &ServerKeys, over: LinkId, offer: (u8, &[u8]), seed: &Secret32) {
        let Some(keys) = &self.sealed.keys else { return };
        let answer = rekey::answer(&keys.master, server, None, &Secret32([0; 32]), offer, seed);
        let Ok((message, next)) = answer else { return };
        let frame = Control::Rekey { step: RekeyStep::Answer, epoch: next.epoch(), message };
        self.sealed.expect(next);
        if let Some(link) = self.sealed.session.link_mut(over) {
            link.bond_mut().send_control(frame);
        }
    }
}

impl Endpoint for BondServer {
    fn connect(&mut self, _now: Time, _wan: WanId, _route: Route) -> bool {
        false
    }

    fn remove_wan(&mut self, now: Time, wan: WanId, reason: &str) {
        let numbers: Vec<_> = self.members.keys().copied().collect();
        for number in numbers {
            if let Some(member) = self.members.get_mut(&number) {
                member.sealed.session.remove_wan(now, wan, &DownReason::Local(reason.to_owned()));
            }
            self.collect(number);
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
            Ok(Kind::Request | Kind::Init) => self.handle_handshake(now, route, datagram),
            Ok(Kind::Join) => self.handle_join(now, route, datagram),
            Ok(Kind::Challenge | Kind::Response | Kind::Joined | Kind::Version) => {}
            Err(_) => self.refusal.tell(
                now,
                route.remote,
                "it is no bond/1: give the client --protocol bond and the same secret",
            ),
        }
    }

    fn handle_packet(&mut self, now: Time, session: SessionId, packet: &[u8]) {
        if let Some(member) = self.running(session) {
            member.sealed.session.handle_packet(now, packet);
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        let numbers: Vec<_> = self.members.keys().copied().collect();
        for number in numbers {
            if let Some(member) = self.members.get_mut(&number)
                && member.sealed.session.poll_timeout().is_some_and(|at| at <= now)
            {
                member.sealed.session.handle_timeout(now);
                self.collect(number);
            }
        }
        self.drop_unconfirmed(now, MAX_PENDING);
    }

    fn poll_timeout(&self) -> Option<Time> {
        let pending = self.members.iter().filter(|(number, member)| !self.runs(**number, member));
        let expiry = pending.map(|(_, member)| member.since + CONFIRM_TIMEOUT);
        let sessions = self.members.values().filter_map(|member| member.sealed.session.poll_timeout());
        expiry.chain(sessions).min()
    }

    fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<Route> {
        if let Some((route, datagram)) = self.outbox.pop_front() {
            out.extend_from_slice(&datagram);
            return Some(route);
        }
        let cursor = self.cursor;
        for turn in [cursor..Number::MAX, 0..cursor] {
            for (&number, member) in self.members.range_mut(turn) {
                if let Some(route) = member.sealed.session.poll_transmit(now, out) {
                    self.cursor = number;
                    return Some(route);
                }
            }
        }
        self.cursor = cursor + 1;
        None
    }

    fn poll_delivery(&mut self) -> Option<(SessionId, Packet)> {
        self.clients.iter().enumerate().find_map(|(position, client)| {
            let member = self.members.get_mut(&client.running?)?;
            let packet = member.sealed.session.poll_delivery()?;
            Some((SessionId(position as u32), packet))
        })
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
        let running = |(position, client): (usize, &Client)| {
            let member = self.members.get(&client.running?)?;
            Some(member.sealed.report(SessionId(position as u32)))
        };
        self.clients.iter().enumerate().filter_map(running).collect()
    }
}

fn draw(rng: &mut ChaCha20Rng) -> Secret32 {
    let mut secret = Secret32([0; 32]);
    rng.fill_bytes(&mut secret.0);
    secret
}
