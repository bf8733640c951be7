//! Two ends over simulated WANs in virtual time.
//!
//! ```text
//!  packets ─ client ═ socket 0 ═ up ─▶ ═ server ─ packets
//!                   ═ socket 1 ═ ◀─ down ═
//!                       (one pair of netem links a WAN)
//! ```

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a simulation that cannot be built is a failed test")]

pub mod cubic;
pub mod scenario;
pub mod tcp;
pub mod traffic;
mod wiretap;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ratbond_netem::{Link, LinkConfig};
use ratbond_proto::bond::endpoint::{BondClient, BondEndpointConfig, BondServer};
use ratbond_proto::bond::handshake::{Credentials, ServerKeys, shared_psk};
use ratbond_proto::bond::keys::Cipher;
use ratbond_proto::bond::secret::Secret32;
use ratbond_proto::endpoint::{Endpoint, EndpointEvent, SessionId};
use ratbond_proto::kcp::{KcpEndpoint, KcpEndpointConfig};
use ratbond_proto::link::{Route, SocketId, WanId};
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_proto::{Event, Role, Time};

use self::wiretap::Wiretap;

pub const SESSION: SessionId = SessionId(0);
const IP_UDP_BYTES: u32 = 28;
const SERVER_SOCKET: SocketId = SocketId(0);

/// A datagram on a wire, with the client's socket that it left or goes to.
#[derive(Clone)]
pub struct Flight {
    socket: SocketId,
    bytes: Vec<u8>,
}

pub struct Wan {
    pub up: Link<Flight>,
    pub down: Link<Flight>,
}

/// One end and what came out of it.
pub struct End {
    pub endpoint: Box<dyn Endpoint>,
    pub delivered: Vec<(Time, Vec<u8>)>,
    pub events: Vec<(Time, EndpointEvent)>,
}

impl End {
    fn new(endpoint: Box<dyn Endpoint>) -> Self {
        Self { endpoint, delivered: Vec::new(), events: Vec::new() }
    }

    fn collect(&mut self, now: Time) -> Vec<Event> {
        while let Some((session, packet)) = self.endpoint.poll_delivery() {
            self.delivered.push((now, packet.as_slice().to_vec()));
            self.endpoint.recycle(session, packet);
        }
        let mut fresh = Vec::new();
        while let Some(event) = self.endpoint.poll_event() {
            fresh.push(event.event.clone());
            self.events.push((now, event));
        }
        fresh
    }

    pub fn saw(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(|(_, event)| wanted(&event.event))
    }
}

pub struct Pair {
    pub now: Time,
    pub client: End,
    pub server: End,
    pub wans: Vec<Wan>,
    /// What arrived beside downloads.
    pub client_others: Vec<(Time, Vec<u8>)>,
    pub server_others: Vec<(Time, Vec<u8>)>,
    sockets: BTreeMap<SocketId, usize>,
    next_socket: u32,
    port_offset: u16,
    /// Key phases of the sealed datagrams that arrived at the server, as bits.
    phases: u8,
    new_server: NewEnd,
    seed: u64,
    wiretap: Wiretap,
}

/// Makes an end anew, from a seed.
type NewEnd = Box<dyn Fn(u64) -> Box<dyn Endpoint>>;

pub fn kcp(role: Role, scheduler: SchedulerKind, mux: usize, seed: u64) -> Box<dyn Endpoint> {
    let config = KcpEndpointConfig { role, tunnel_id: 660, scheduler, mux, secret: None, seed };
    Box::new(KcpEndpoint::new(config))
}

/// An end that speaks bond/1 with a secret of 32 times the same byte.
pub fn bond(role: Role, scheduler: SchedulerKind, secret: u8, seed: u64) -> Box<dyn Endpoint> {
    let (psk, config) = (shared_psk(&Secret32([secret; 32])), bond_config(scheduler, seed));
    match role {
        Role::Client => Box::new(BondClient::new(Credentials::Shared { psk }, config)),
        Role::Server => Box::new(BondServer::new(ServerKeys::Shared { psk }, config)),
    }
}

pub fn bond_config(scheduler: SchedulerKind, seed: u64) -> BondEndpointConfig {
    let mut entropy = Secret32([0; 32]);
    entropy.0[..8].copy_from_slice(&seed.to_be_bytes());
    let ciphers = vec![Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];
    BondEndpointConfig { tunnel_id: 660, scheduler, ciphers, seed: entropy }
}

/// 50 Mbit/s, 20 ms round trip, 100 ms of queue: the plain link of most tests.
pub fn plain_link() -> LinkConfig {
    LinkConfig {
        rate_bps: 50_000_000,
        delay_ns: 10_000_000,
        queue: ratbond_netem::QueueLimit::Nanos(100_000_000),
        ..LinkConfig::default()
    }
}

impl Pair {
    /// Two ends that speak KCP, and a WAN for each configuration (the same both ways). Nothing is connected yet.
    pub fn kcp(scheduler: SchedulerKind, links: &[LinkConfig], seed: u64) -> Self {
        let new_server = Box::new(move |seed| kcp(Role::Server, scheduler, 1, seed));
        Self::new(kcp(Role::Client, scheduler, 1, seed), new_server, links, seed)
    }

    /// The same with bond/1.
    pub fn bond(scheduler: SchedulerKind, links: &[LinkConfig], seed: u64) -> Self {
        let new_server = Box::new(move |seed| bond(Role::Server, scheduler, 7, seed));
        Self::new(bond(Role::Client, scheduler, 7, seed), new_server, links, seed)
    }

    pub fn new(client: Box<dyn Endpoint>, new_server: NewEnd, links: &[LinkConfig], seed: u64) -> Self {
        let wan = |(index, config): (usize, &LinkConfig)| Wan {
            up: Link::new(config.clone(), seed + 100 + index as u64).unwrap(),
            down: Link::new(config.clone(), seed + 200 + index as u64).unwrap(),
        };
        Self {
            now: Time::from_millis(1_000),
            client: End::new(client),
            server: End::new(new_server(seed + 1)),
            wans: links.iter().enumerate().map(wan).collect(),
            client_others: Vec::new(),
            server_others: Vec::new(),
            sockets: BTreeMap::new(),
            next_socket: 0,
            port_offset: 0,
            phases: 0,
            new_server,
            seed,
            wiretap: Wiretap::default(),
        }
    }

    /// Connects every WAN and waits until all are up at both ends.
    pub fn connect(&mut self) {
        for index in 0..self.wans.len() {
            self.open(index);
        }
        let wanted = self.wans.len();
        let up = |end: &End| end.endpoint.reports().iter().map(up_links).sum::<usize>();
        for _ in 0..600 {
            self.run_for(Duration::from_millis(100));
            if up(&self.client) >= wanted && up(&self.server) >= wanted {
                return;
            }
        }
        panic!("not all links came up: {:?} {:?}", self.client.events, self.server.events);
    }

    /// New sockets for a WAN, until it has its links.
    pub fn open(&mut self, index: usize) {
        loop {
            let socket = SocketId(self.next_socket);
            self.next_socket += 1;
            self.sockets.insert(socket, index);
            let route = Route { socket, remote: server_address(), local: None };
            if !self.client.endpoint.connect(self.now, WanId(index as u32), route) {
                break;
            }
        }
        self.flush();
    }

    pub fn blackhole(&mut self, index: usize, on: bool) {
        self.reconfigure(index, |config| config.blackhole = on);
    }

    /// Nothing arrives at the server any more.
    pub fn blackhole_up(&mut self, index: usize) {
        let link = &mut self.wans[index].up;
        let config = LinkConfig { blackhole: true, ..link.config().clone() };
        link.reconfigure(self.now.as_nanos(), config).unwrap();
    }

    pub fn reconfigure(&mut self, index: usize, change: impl Fn(&mut LinkConfig)) {
        let now_ns = self.now.as_nanos();
        let wan = &mut self.wans[index];
        for link in [&mut wan.up, &mut wan.down] {
            let mut config = link.config().clone();
            change(&mut config);
            link.reconfigure(now_ns, config).unwrap();
        }
    }

    /// As if its interface went down: nothing comes or goes any more, and the client knows.
    pub fn pull(&mut self, index: usize) {
        self.blackhole(index, true);
        self.sockets.retain(|_, wan| *wan != index);
        self.client.endpoint.remove_wan(self.now, WanId(index as u32), "interface down");
        self.flush();
    }

    /// A server process that starts anew and knows nothing.
    pub fn restart_server(&mut self) {
        self.seed += 7;
        self.server = End::new((self.new_server)(self.seed));
    }

    /// A client process that starts anew and knows nothing.
    pub fn restart_client(&mut self, endpoint: Box<dyn Endpoint>) {
        self.client = End::new(endpoint);
        self.sockets.clear();
        for index in 0..self.wans.len() {
            self.open(index);
        }
    }

    /// Each of the client's sockets gets another address, as a NAT that restarts does it.
    pub fn rebind_all(&mut self) {
        self.port_offset += 1_000;
    }

    pub fn client_closes(&mut self) {
        self.client.endpoint.close(self.now);
        self.flush();
    }

    pub fn client_sends(&mut self, packet: &[u8]) {
        self.client.endpoint.handle_packet(self.now, SESSION, packet);
        self.flush();
    }

    pub fn server_sends(&mut self, packet: &[u8]) {
        self.server.endpoint.handle_packet(self.now, SESSION, packet);
        self.flush();
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Steps from one thing that happens to the next.
    pub fn run_until(&mut self, end: Time) {
        loop {
            let next = self.next_deadline().filter(|&at| at <= end);
            self.now = next.unwrap_or(end).max(self.now);
            self.step();
            if next.is_none() {
                return;
            }
        }
    }

    /// One step: to the next thing that happens, at most to `end`.
    pub fn advance(&mut self, end: Time) {
        let next = self.next_deadline().filter(|&at| at <= end);
        self.now = next.unwrap_or(end).max(self.now);
        self.step();
    }

    fn next_deadline(&self) -> Option<Time> {
        let wires = self.wans.iter().flat_map(|wan| [wan.up.next_deadline(), wan.down.next_deadline()]);
        let ends = [&self.client, &self.server].map(|end| end.endpoint.poll_timeout());
        wires.flatten().map(Time::from_nanos).chain(ends.into_iter().flatten()).min()
    }

    fn step(&mut self) {
        let now_ns = self.now.as_nanos();
        for index in 0..self.wans.len() {
            while let Some(mut flight) = self.wans[index].up.poll(now_ns) {
                if let Some(&first @ 0x80..=0x83) = flight.bytes.first() {
                    self.phases |= 1 << (first & 3);
                }
                if self.wiretap.hijacks {
                    self.wiretap.hijacked_bytes += flight.bytes.len();
                    let route = Route { socket: SERVER_SOCKET, remote: attacker_address(), local: None };
                    self.server.endpoint.handle_datagram(self.now, route, &mut flight.bytes.clone());
                }
                let remote = client_address(index, flight.socket, self.port_offset);
                let route = Route { socket: SERVER_SOCKET, remote, local: None };
                self.server.endpoint.handle_datagram(self.now, route, &mut flight.bytes);
            }
            while let Some(mut flight) = self.wans[index].down.poll(now_ns) {
                if self.sockets.contains_key(&flight.socket) {
                    let route = Route { socket: flight.socket, remote: server_address(), local: None };
                    self.client.endpoint.handle_datagram(self.now, route, &mut flight.bytes);
                }
            }
        }
        for end in [&mut self.client, &mut self.server] {
            if end.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                end.endpoint.handle_timeout(self.now);
            }
        }
        self.flush();
    }

    /// Puts on the wires all that the ends want to send, and takes what they deliver.
    fn flush(&mut self) {
        let now_ns = self.now.as_nanos();
        let mut bytes = Vec::new();
        while let Some(route) = self.client.endpoint.poll_transmit(self.now, &mut bytes) {
            let datagram = std::mem::take(&mut bytes);
            if let Some(&index) = self.sockets.get(&route.socket) {
                if self.wiretap.records {
                    self.wiretap.recorded.push((index, route.socket, datagram.clone()));
                }
                let size = datagram.len() as u32 + IP_UDP_BYTES;
                self.wans[index].up.send(now_ns, size, Flight { socket: route.socket, bytes: datagram });
            }
        }
        while let Some(route) = self.server.endpoint.poll_transmit(self.now, &mut bytes) {
            let datagram = std::mem::take(&mut bytes);
            let Some((index, socket)) = client_of(&route.remote, self.port_offset) else {
                self.wiretap.attracted_bytes += datagram.len();
                continue;
            };
            let size = datagram.len() as u32 + IP_UDP_BYTES;
            self.wans[index].down.send(now_ns, size, Flight { socket, bytes: datagram });
        }
        self.server.collect(self.now);
        for event in self.client.collect(self.now) {
            if let Event::Reconnect(WanId(index)) = event {
                self.open(index as usize);
            }
        }
    }
}

fn up_links(session: &ratbond_proto::endpoint::SessionReport) -> usize {
    session.links.iter().filter(|link| link.up_since.is_some()).count()
}

fn server_address() -> SocketAddr {
    ([203, 0, 113, 1], 12345).into()
}

fn attacker_address() -> SocketAddr {
    ([198, 51, 100, 66], 6_666).into()
}

fn client_address(index: usize, socket: SocketId, port_offset: u16) -> SocketAddr {
    ([10, 1, index as u8, 2], 40_000 + port_offset + socket.0 as u16).into()
}

/// Which of the client's sockets has an address; None where nobody, or somebody else, is.
fn client_of(remote: &SocketAddr, port_offset: u16) -> Option<(usize, SocketId)> {
    let SocketAddr::V4(remote) = remote else { panic!("no such client: {remote}") };
    let socket = remote.port().checked_sub(40_000 + port_offset)?;
    Some((usize::from(remote.ip().octets()[2]), SocketId(u32::from(socket))))
}

/// An IPv4 packet of a numbered flow that carries its sequence number. Even flows are TCP, odd ones UDP.
pub fn packet(flow: u16, sequence: u32, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len.max(32)];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(len.max(32) as u16).to_be_bytes());
    packet[9] = if flow.is_multiple_of(2) { 6 } else { 17 };
    packet[12..16].copy_from_slice(&[10, 10, (flow >> 8) as u8, flow as u8]);
    packet[16..20].copy_from_slice(&[192, 0, 2, 1]);
    packet[20..22].copy_from_slice(&(flow + 1024).to_be_bytes());
    packet[22..24].copy_from_slice(&443u16.to_be_bytes());
    packet[28..32].copy_from_slice(&sequence.to_be_bytes());
    packet
}

/// What arrived of each flow: sequence numbers in the order of arrival.
pub fn sequences(delivered: &[(Time, Vec<u8>)]) -> BTreeMap<u16, Vec<u32>> {
    let mut flows: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    for (_, packet) in delivered {
        let flow = u16::from_be_bytes([packet[20], packet[21]]) - 1024;
        let sequence = u32::from_be_bytes([packet[28], packet[29], packet[30], packet[31]]);
        flows.entry(flow).or_default().push(sequence);
    }
    flows
}
