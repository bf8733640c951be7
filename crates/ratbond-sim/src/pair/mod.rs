//! Two ends over simulated WANs in virtual time.
//!
//! ```text
//!  packets ─ client ═ socket 0 ═ up ─▶ ═ server ─ packets
//!                   ═ socket 1 ═ ◀─ down ═
//!                       (one pair of netem links a WAN)
//! ```

mod address;
mod ends;
mod packet;
mod wiretap;

use std::collections::BTreeMap;
use std::time::Duration;

pub use ends::{End, NewEnd, bond, bond_config, kcp};
pub(crate) use packet::word;
pub use packet::{flow_of, packet, sequence_of, sequences};
use ratbond_netem::{Link, LinkConfig, QueueLimit};
use ratbond_proto::endpoint::{Endpoint, SessionId};
use ratbond_proto::link::{Route, SocketId, WanId};
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_proto::{Event, Role, Time};

use self::address::{attacker_address, client_address, client_of, server_address};
use self::wiretap::Wiretap;

/// The one session that a pair has.
pub const SESSION: SessionId = SessionId(0);
const IP_UDP_BYTES: u32 = 28;
const SERVER_SOCKET: SocketId = SocketId(0);
/// A WAN whose sockets get no answer asks for another every few seconds; the ports go round after so many.
const SOCKETS: u32 = 20_000;

/// A datagram on a wire, with the client's socket that it left or goes to.
#[derive(Clone, Debug)]
pub struct Flight {
    socket: SocketId,
    bytes: Vec<u8>,
}

/// A WAN of the client.
#[derive(Debug)]
pub struct Wan {
    /// To the server.
    pub up: Link<Flight>,
    /// From the server.
    pub down: Link<Flight>,
    /// Longer IP packets are refused to the end that would send them, with a word.
    pub device_mtu: u32,
}

/// See the module.
pub struct Pair {
    /// Virtual time.
    pub now: Time,
    /// The end that opens links.
    pub client: End,
    /// The end that waits for them.
    pub server: End,
    /// What is between them.
    pub wans: Vec<Wan>,
    /// What arrived at the client beside downloads.
    pub client_others: Vec<(Time, Vec<u8>)>,
    /// What arrived at the server beside the acknowledgements of downloads.
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

/// 50 Mbit/s, 20 ms round trip, 100 ms of queue: the plain link of most tests.
#[must_use]
pub fn plain_link() -> LinkConfig {
    LinkConfig {
        rate_bps: 50_000_000,
        delay_ns: 10_000_000,
        queue: QueueLimit::Nanos(100_000_000),
        ..LinkConfig::default()
    }
}

fn both_ways(links: &[LinkConfig]) -> Vec<[LinkConfig; 2]> {
    links.iter().map(|link| [link.clone(), link.clone()]).collect()
}

impl Pair {
    /// Two ends that speak KCP, and a WAN for each configuration (the same both ways). Nothing is connected yet.
    #[must_use]
    pub fn kcp(scheduler: SchedulerKind, links: &[LinkConfig], seed: u64) -> Self {
        let new_server = Box::new(move |seed| kcp(Role::Server, scheduler, 1, seed));
        Self::new(kcp(Role::Client, scheduler, 1, seed), new_server, links, seed)
    }

    /// The same with bond/1.
    #[must_use]
    pub fn bond(scheduler: SchedulerKind, links: &[LinkConfig], seed: u64) -> Self {
        Self::bond_over(scheduler, &both_ways(links), seed)
    }

    /// The same with WANs that are given as up and down.
    #[must_use]
    pub fn bond_over(scheduler: SchedulerKind, links: &[[LinkConfig; 2]], seed: u64) -> Self {
        let new_server = Box::new(move |seed| bond(Role::Server, scheduler, 7, seed));
        Self::over(bond(Role::Client, scheduler, 7, seed), new_server, links, seed)
    }

    /// Any two ends, and WANs that are the same both ways.
    #[must_use]
    pub fn new(client: Box<dyn Endpoint>, new_server: NewEnd, links: &[LinkConfig], seed: u64) -> Self {
        Self::over(client, new_server, &both_ways(links), seed)
    }

    /// Any two ends, and WANs that are given as up and down.
    ///
    /// # Panics
    /// A configuration has a value that no link can have, or there are more than 256 WANs.
    #[must_use]
    pub fn over(client: Box<dyn Endpoint>, new_server: NewEnd, links: &[[LinkConfig; 2]], seed: u64) -> Self {
        assert!(links.len() <= 256, "a WAN's number is a byte of its address");
        let link = |config: &LinkConfig, seed| Link::new(config.clone(), seed).expect("a link that can be");
        let wan = |(index, [up, down]): (usize, &[LinkConfig; 2])| Wan {
            up: link(up, seed.wrapping_add(100 + index as u64)),
            down: link(down, seed.wrapping_add(200 + index as u64)),
            device_mtu: u32::MAX,
        };
        Self {
            now: Time::from_millis(1_000),
            client: End::new(client),
            server: End::new(new_server(seed.wrapping_add(1))),
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
    ///
    /// # Panics
    /// They are not, within a minute.
    pub fn connect(&mut self) {
        let all = self.connect_within(Duration::from_secs(60));
        assert!(all, "not all links came up: {:?} {:?}", self.client.events, self.server.events);
    }

    /// Connects every WAN and waits until all are up at both ends, or so long; returns whether they are.
    pub fn connect_within(&mut self, patience: Duration) -> bool {
        for index in 0..self.wans.len() {
            self.open(index);
        }
        let (wanted, end) = (self.wans.len(), self.now + patience);
        while self.now < end {
            self.run_for(Duration::from_millis(100));
            if self.client.links_up() >= wanted && self.server.links_up() >= wanted {
                return true;
            }
        }
        false
    }

    /// New sockets for a WAN, until it has its links.
    pub fn open(&mut self, index: usize) {
        loop {
            let socket = SocketId(self.next_socket);
            self.next_socket = (self.next_socket + 1) % SOCKETS;
            self.sockets.insert(socket, index);
            let route = Route { socket, remote: server_address(), local: None };
            if !self.client.endpoint.connect(self.now, WanId(index as u32), route) {
                break;
            }
        }
        self.flush();
    }

    /// Nothing arrives any more over a WAN, and nobody is told; or everything does again.
    pub fn blackhole(&mut self, index: usize, on: bool) {
        self.reconfigure(index, |config| config.blackhole = on);
    }

    /// Nothing arrives at the server any more.
    ///
    /// # Panics
    /// There is no such WAN.
    pub fn blackhole_up(&mut self, index: usize) {
        let link = &mut self.wans[index].up;
        let config = LinkConfig { blackhole: true, ..link.config().clone() };
        link.reconfigure(self.now.as_nanos(), config).expect("a link that can be");
    }

    /// Changes both directions of a WAN.
    ///
    /// # Panics
    /// There is no such WAN, or a value is one that no link can have.
    pub fn reconfigure(&mut self, index: usize, change: impl Fn(&mut LinkConfig)) {
        let now_ns = self.now.as_nanos();
        let wan = &mut self.wans[index];
        for link in [&mut wan.up, &mut wan.down] {
            let mut config = link.config().clone();
            change(&mut config);
            link.reconfigure(now_ns, config).expect("a link that can be");
        }
    }

    /// As if its interface went down: nothing comes or goes any more, and the client knows.
    pub fn pull(&mut self, index: usize) {
        self.blackhole(index, true);
        self.sockets.retain(|_, wan| *wan != index);
        self.client.endpoint.remove_wan(self.now, WanId(index as u32), "interface down");
        self.flush();
    }

    /// The interface of a WAN that was pulled is up again.
    pub fn restore(&mut self, index: usize) {
        self.blackhole(index, false);
        self.open(index);
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

    /// The client process says farewell and ends.
    pub fn client_closes(&mut self) {
        self.client.endpoint.close(self.now);
        self.flush();
    }

    /// The client's tun gives a packet.
    pub fn client_sends(&mut self, packet: &[u8]) {
        self.sends(Role::Client, packet);
    }

    /// The server's tun gives a packet.
    pub fn server_sends(&mut self, packet: &[u8]) {
        self.sends(Role::Server, packet);
    }

    /// An end's tun gives a packet.
    pub fn sends(&mut self, from: Role, packet: &[u8]) {
        let now = self.now;
        self.end(from).endpoint.handle_packet(now, SESSION, packet);
        self.flush();
    }

    /// One of the ends.
    pub fn end(&mut self, role: Role) -> &mut End {
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }

    /// Lets time pass.
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
            while let Some(flight) = self.wans[index].up.poll(now_ns) {
                self.arrive_at_server(index, flight);
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

    fn arrive_at_server(&mut self, index: usize, mut flight: Flight) {
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
                if size > self.wans[index].device_mtu {
                    self.client.endpoint.handle_too_big(self.now, route, datagram.len());
                    continue;
                }
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
            if size > self.wans[index].device_mtu {
                self.server.endpoint.handle_too_big(self.now, route, datagram.len());
                continue;
            }
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
