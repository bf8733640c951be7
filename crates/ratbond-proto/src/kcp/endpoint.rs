//! One end of a stock tunnel: opens datagrams, tells links apart, and lets new ones in on a server.
//!
//! One client a port, as with stock: the newest wins (see [`super::tenancy`]). A link is told by its conversation and the
//! addresses it comes from and goes to. On a server a link begins with a PUSH of sn 0 from an address and conversation not seen together before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::crypt::HEADER_LEN;
use super::link::{KcpLink, link_config};
use super::segment::{Cmd, Segments};
use super::tenancy::{EVICTED, SUPERSEDED, Tenancy};
use super::{Crypt, fec, frame};
use crate::endpoint::{Endpoint, EndpointEvent, GateStats, SessionId, SessionReport};
use crate::event::{DownReason, Event};
use crate::link::{Route, SocketId, WanId};
use crate::packet::Packet;
use crate::preference::Preference;
use crate::queue::QueueConfig;
use crate::scheduler::SchedulerKind;
use crate::session::{LinkState, Role, Session};
use crate::time::Time;

/// Conversations of a tunnel: tunnel-id to tunnel-id + 10 (stock).
const CONVERSATIONS: u32 = 11;
const SESSION: SessionId = SessionId(0);
/// The same refusal is told at most this often.
const REFUSE_EVERY: Duration = Duration::from_secs(10);

/// What a [`KcpEndpoint`] is made with.
#[derive(Clone, Debug)]
pub struct KcpEndpointConfig {
    /// Which end.
    pub role: Role,
    /// The first conversation; 1 to 65,525.
    pub tunnel_id: u16,
    /// How packets are spread.
    pub scheduler: SchedulerKind,
    /// Conversations per WAN.
    pub mux: usize,
    /// The passphrase of stock's AES mode.
    pub secret: Option<String>,
    /// Seeds the nonces.
    pub seed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct KcpEndpoint {
    role: Role,
    tunnel_id: u16,
    mux: usize,
    crypt: Arc<Crypt>,
    seeds: ChaCha8Rng,
    /// Tells this program's links from those of another one; see [`frame::hello`].
    instance: u64,
    tenancy: Tenancy,
    session: Session<KcpLink>,
    /// A server's WANs: one for each address that a peer's links come from.
    remotes: BTreeMap<WanId, SocketAddr>,
    next_wan: u32,
    /// When each conversation was last begun here; a client begins the one that rests the longest, since a peer may
    /// still hold what it has not seen die.
    begun: [Option<Time>; CONVERSATIONS as usize],
    refusal: Option<(String, SocketAddr)>,
    refused_at: Option<Time>,
}

impl KcpEndpoint {
    /// An end without links.
    #[must_use]
    pub fn new(config: KcpEndpointConfig) -> Self {
        let crypt = config.secret.as_deref().map_or(Crypt::Plain, Crypt::aes);
        let mut seeds = ChaCha8Rng::seed_from_u64(config.seed);
        Self {
            role: config.role,
            tunnel_id: config.tunnel_id,
            mux: config.mux.max(1),
            crypt: Arc::new(crypt),
            instance: seeds.next_u64(),
            tenancy: Tenancy::default(),
            seeds,
            session: Session::new(config.role, config.scheduler, QueueConfig::default()),
            remotes: BTreeMap::new(),
            next_wan: 0,
            begun: [None; CONVERSATIONS as usize],
            refusal: None,
            refused_at: None,
        }
    }

    fn new_link(&mut self, now: Time, conv: u32) -> KcpLink {
        let mut seed = [0; 32];
        self.seeds.fill_bytes(&mut seed);
        let names = (conv, frame::hello(self.tunnel_id, self.instance));
        KcpLink::new(now, names, link_config(), Arc::clone(&self.crypt), ChaCha8Rng::from_seed(seed))
    }

    /// The free conversation that rests the longest, the lowest first.
    fn free_conversation(&self) -> Option<usize> {
        let taken = |index: usize| self.session.links().any(|(_, key, ..)| key == self.conversation(index));
        (0..CONVERSATIONS as usize).filter(|&index| !taken(index)).min_by_key(|&index| self.begun[index])
    }

    fn conversation(&self, index: usize) -> u32 {
        u32::from(self.tunnel_id) + index as u32
    }

    fn accept(&mut self, now: Time, (conv, instance): (u32, Option<u64>), route: Route) {
        if instance.is_some_and(|instance| self.tenancy.enter(instance)) {
            let older: Vec<_> = self.session.links().map(|(id, ..)| id).collect();
            for id in older {
                self.session.remove_link(now, id, &DownReason::Local(EVICTED.to_owned()));
            }
        }
        let older = self.session.links().find(|&(_, key, ..)| key == conv).map(|(id, ..)| id);
        let known = self.remotes.iter().find(|(_, remote)| **remote == route.remote).map(|(&wan, _)| wan);
        let wan = known.unwrap_or_else(|| {
            let wan = WanId(self.next_wan);
            self.next_wan += 1;
            self.remotes.insert(wan, route.remote);
            wan
        });
        let link = self.new_link(now, conv);
        self.session.add_link(now, wan, route, link);
        if let Some(id) = older {
            self.session.remove_link(now, id, &DownReason::Replaced);
        }
    }

    /// Whether a datagram for no link opens one, of which conversation and whose; says why not.
    fn admit(&self, segments: &[u8]) -> Result<(u32, Option<u64>), String> {
        let Some(Ok(first)) = Segments::new(segments).next() else {
            return Err("it is no KCP".into());
        };
        let conv = first.header.conv;
        let ours = self.tunnel_id;
        if let Some(theirs) = frame::hello_tunnel_id(first.payload).filter(|&theirs| theirs != ours) {
            return Err(format!(
                "its tunnel-id is {theirs}, that of this end {ours}; give both ends the same --tunnel-id"
            ));
        }
        if !(u32::from(ours)..u32::from(ours) + CONVERSATIONS).contains(&conv) {
            return Err(format!(
                "its conversation {conv} does not belong to tunnel-id {ours}; give both ends the same --tunnel-id"
            ));
        }
        if self.role == Role::Client {
            return Err(format!("conversation {conv} is not open"));
        }
        if first.header.cmd != Cmd::Push || first.header.sn != 0 {
            return Err(String::new());
        }
        let instance = frame::hello_instance(first.payload);
        let occupied = self.session.up_since().is_some();
        if occupied && instance.is_some_and(|instance| self.tenancy.is_superseded(instance)) {
            return Err(SUPERSEDED.into());
        }
        Ok((conv, instance))
    }

    /// Remembers a refusal to tell; a flood tells once in a while. Leftovers of an old link are no news.
    fn refuse(&mut self, now: Time, remote: SocketAddr, words: String) {
        let told = self.refused_at.is_some_and(|at| now.saturating_since(at) < REFUSE_EVERY);
        if !told && !words.is_empty() {
            self.refused_at = Some(now);
            self.refusal = Some((words, remote));
        }
    }
}

impl Endpoint for KcpEndpoint {
    /// Each conversation has a socket of its own: a kcp-go listener tells its sessions apart by the peer's address alone.
    fn connect(&mut self, now: Time, wan: WanId, route: Route) -> bool {
        let alive = |state| matches!(state, LinkState::Up | LinkState::Connecting);
        let reports = self.session.reports();
        let have = reports.iter().filter(|link| link.wan == wan && alive(link.state)).count();
        if have >= self.mux {
            return false;
        }
        let Some(index) = self.free_conversation() else { return false };
        self.begun[index] = Some(now);
        let link = self.new_link(now, self.conversation(index));
        self.session.add_link(now, wan, route, link);
        have + 1 < self.mux
    }

    fn prefer(&mut self, _now: Time, wan: WanId, preference: Preference) {
        self.session.prefer(wan, preference);
    }

    fn remove_wan(&mut self, now: Time, wan: WanId, reason: &str) {
        self.session.remove_wan(now, wan, &DownReason::Local(reason.to_owned()));
    }

    fn close(&mut self, now: Time) {
        self.session.close(now);
    }

    fn uses_socket(&self, socket: SocketId) -> bool {
        self.session.uses_socket(socket)
    }

    fn set_scheduler(&mut self, scheduler: SchedulerKind) {
        self.session.set_scheduler(scheduler);
    }

    fn handle_datagram(&mut self, now: Time, route: Route, datagram: &mut [u8]) {
        let wire_bytes = datagram.len();
        let range = match self.crypt.open(datagram) {
            Ok(body) => fec::segments(body),
            Err(error) => {
                let hint = "give both ends the same --secret, and --aes to both or none";
                return self.refuse(now, route.remote, format!("{error}; {hint}"));
            }
        };
        // Parity of a peer with FEC is not needed: what is lost comes again.
        let Some(range) = range else { return };
        let segments = &mut datagram[HEADER_LEN..][range];
        let conv = segments.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if let Some(id) = self.session.find(conv, route.socket, &route.remote) {
            return self.session.handle_datagram(now, id, segments, wire_bytes);
        }
        match self.admit(segments) {
            Ok(opened) => {
                self.accept(now, opened, route);
                if let Some(id) = self.session.find(opened.0, route.socket, &route.remote) {
                    self.session.handle_datagram(now, id, segments, wire_bytes);
                }
            }
            Err(words) => self.refuse(now, route.remote, words),
        }
    }

    fn handle_packet(&mut self, now: Time, _session: SessionId, packet: &[u8]) {
        self.session.handle_packet(now, packet);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.session.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.session.poll_timeout()
    }

    fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<Route> {
        self.session.poll_transmit(now, out)
    }

    fn poll_delivery(&mut self) -> Option<(SessionId, Packet)> {
        self.session.poll_delivery().map(|packet| (SESSION, packet))
    }

    fn recycle(&mut self, _session: SessionId, packet: Packet) {
        self.session.recycle(packet);
    }

    fn poll_event(&mut self) -> Option<EndpointEvent> {
        let wans_up = self.session.wans_up();
        if let Some((words, remote)) = self.refusal.take() {
            let event = Event::Refused(words);
            return Some(EndpointEvent { session: SESSION, event, remote: Some(remote), wans_up });
        }
        let event = self.session.poll_event()?;
        let remote = match &event {
            Event::WanUp(wan) | Event::WanSuspect(wan) => self.remotes.get(wan).copied(),
            Event::WanDown(wan, _) => self.remotes.remove(wan),
            _ => None,
        };
        Some(EndpointEvent { session: SESSION, event, remote, wans_up })
    }

    fn reports(&self) -> Vec<SessionReport> {
        vec![SessionReport {
            id: SESSION,
            peer: self.session.peer(),
            up_since: self.session.up_since(),
            cipher: None,
            stats: self.session.stats(),
            gate: GateStats::default(),
            links: self.session.reports(),
        }]
    }
}
