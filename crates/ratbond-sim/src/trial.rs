//! A bond with loads over it, run as far as the caller likes, and what came of it second by second.
//!
//! What happens to the links is the caller's business: it lets the trial run to a moment, changes what it likes through
//! [`Trial::pair`], and lets it run on.

use std::time::Duration;

use ratbond_netem::LinkConfig;
use ratbond_proto::link::WanId;
use ratbond_proto::preference::Preference;
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_proto::{Role, Time};

use crate::pair::{Pair, flow_of, packet, sequence_of};
use crate::tcp::{Algorithm, BOND_PACKET_BYTES, Tcp, receive};

/// Links that are not up by then join later, or never.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
/// TCP flows are numbered below this, and streams of datagrams as well.
pub const MAX_FLOWS: usize = 30_000;

/// A stream of datagrams of one size at one pace, as a call's or a camera's.
#[derive(Debug)]
pub struct Stream {
    flow: u16,
    from: Role,
    every: Duration,
    bytes: usize,
    next: Time,
    until: Time,
    sent: Vec<Time>,
    /// How long each took, by number; none for those that have not come.
    delays: Vec<Option<Duration>>,
    arrived: u64,
    duplicates: u64,
}

/// Transfers that start and end together.
#[derive(Debug)]
struct Transfers {
    flows: Vec<Tcp>,
    from: Time,
    until: Time,
}

#[derive(Debug)]
enum Load {
    Transfers(Transfers),
    Stream(Stream),
}

/// Bytes by second.
#[derive(Clone, Debug, Default)]
struct Meter {
    before: u64,
    seconds: Vec<u64>,
}

/// What a load has come to.
#[derive(Debug)]
pub struct LoadOutcome<'a> {
    /// Payload bytes that arrived in each full second: of transfers in order, of streams as they came.
    pub seconds: &'a [u64],
    /// Segments that TCP sent again.
    pub resent: u64,
    /// When each datagram was sent, and how long it took; a stream's only.
    pub datagrams: Vec<(Duration, Option<Duration>)>,
    /// Datagrams that came more than once.
    pub duplicates: u64,
}

/// Bytes that a link delivered in each full second, IP and UDP headers of the tunnel's own datagrams included.
#[derive(Debug)]
pub struct LinkOutcome<'a> {
    /// To the server.
    pub up: &'a [u64],
    /// To the client.
    pub down: &'a [u64],
}

/// See the module.
pub struct Trial {
    /// The two ends and the links.
    pub pair: Pair,
    began: Time,
    loads: Vec<(Load, Meter)>,
    links: Vec<[Meter; 2]>,
    next_second: Time,
    flows: usize,
}

impl Trial {
    /// A bond that has connected, over links that are given as up and down and what is wanted of them. Its clock is at zero.
    ///
    /// # Panics
    /// A configuration has a value that no link can have, or there are more than 256 links.
    #[must_use]
    pub fn new(
        scheduler: SchedulerKind,
        links: &[[LinkConfig; 2]],
        preferences: &[Preference],
        seed: u64,
    ) -> Self {
        let mut pair = Pair::bond_over(scheduler, links, seed);
        for (index, &preference) in preferences.iter().enumerate() {
            pair.client.endpoint.prefer(pair.now, WanId(index as u32), preference);
        }
        pair.connect_within(CONNECT_WITHIN);
        pair.run_for(SECOND);
        pair.client.delivered.clear();
        pair.server.delivered.clear();
        let mut trial = Self {
            began: pair.now,
            next_second: pair.now + SECOND,
            links: vec![Default::default(); links.len()],
            loads: Vec::new(),
            flows: 0,
            pair,
        };
        for (meters, carried) in trial.links.iter_mut().zip(carried(&trial.pair)) {
            for (meter, bytes) in meters.iter_mut().zip(carried) {
                meter.before = bytes;
            }
        }
        trial
    }

    /// A link is used otherwise from now on.
    pub fn prefer(&mut self, index: usize, preference: Preference) {
        self.pair.client.endpoint.prefer(self.pair.now, WanId(index as u32), preference);
    }

    /// How far it has run.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.pair.now - self.began
    }

    /// Adds `count` TCP transfers that an end sends from a moment on, until another.
    ///
    /// # Panics
    /// There are more than [`MAX_FLOWS`] flows in all.
    pub fn add_transfers(
        &mut self,
        from: Role,
        count: usize,
        algorithm: Algorithm,
        (start, stop): (Duration, Duration),
    ) {
        let flow = |trial: &mut Self| {
            Tcp::from(from, trial.next_flow(), BOND_PACKET_BYTES).with_congestion(algorithm)
        };
        let flows = (0..count).map(|_| flow(self)).collect();
        let transfers = Transfers { flows, from: self.began + start, until: self.began + stop };
        self.loads.push((Load::Transfers(transfers), Meter::default()));
    }

    /// Adds a stream that an end sends: an IP packet of `bytes` each `every`.
    ///
    /// # Panics
    /// There are more than [`MAX_FLOWS`] flows in all.
    pub fn add_stream(&mut self, from: Role, every: Duration, bytes: usize, start: Duration, stop: Duration) {
        let (next, until) = (self.began + start, self.began + stop);
        let stream = Stream {
            flow: 2 * self.next_flow() + 1,
            from,
            every,
            bytes,
            next,
            until,
            sent: Vec::new(),
            delays: Vec::new(),
            arrived: 0,
            duplicates: 0,
        };
        self.loads.push((Load::Stream(stream), Meter::default()));
    }

    /// Whether so many more flows may be added.
    #[must_use]
    pub fn has_room_for(&self, count: usize) -> bool {
        count <= MAX_FLOWS - self.flows
    }

    fn next_flow(&mut self) -> u16 {
        assert!(self.flows < MAX_FLOWS, "a flow's number has 15 bits");
        self.flows += 1;
        self.flows as u16 - 1
    }

    /// Runs on to a moment.
    pub fn advance(&mut self, until: Duration) {
        let end = self.began + until;
        while self.pair.now < end {
            self.step(end.min(self.next_second));
            if self.pair.now >= self.next_second {
                self.note_second();
            }
        }
    }

    /// What each load has come to, in the order in which they were added.
    pub fn loads(&self) -> impl Iterator<Item = LoadOutcome<'_>> {
        self.loads.iter().map(|(load, meter)| match load {
            Load::Transfers(transfers) => LoadOutcome {
                seconds: &meter.seconds,
                resent: transfers.flows.iter().map(|flow| u64::from(flow.resent)).sum(),
                datagrams: Vec::new(),
                duplicates: 0,
            },
            Load::Stream(stream) => LoadOutcome {
                seconds: &meter.seconds,
                resent: 0,
                datagrams: stream.datagrams(self.began),
                duplicates: stream.duplicates,
            },
        })
    }

    /// What each link has carried.
    pub fn links(&self) -> impl Iterator<Item = LinkOutcome<'_>> {
        self.links.iter().map(|[up, down]| LinkOutcome { up: &up.seconds, down: &down.seconds })
    }

    /// Lets the loads send, and time pass to the next thing that happens.
    fn step(&mut self, end: Time) {
        let now = self.pair.now;
        for (load, _) in &mut self.loads {
            match load {
                Load::Transfers(transfers) if (transfers.from..transfers.until).contains(&now) => {
                    for flow in &mut transfers.flows {
                        flow.send(&mut self.pair);
                    }
                }
                Load::Transfers(_) => {}
                Load::Stream(stream) => stream.speak(&mut self.pair),
            }
        }
        let wakes = self.loads.iter().filter_map(|(load, _)| load.wakes_at(now)).min();
        self.pair.advance(wakes.map_or(end, |at| at.min(end)));
        for (load, _) in &mut self.loads {
            if let Load::Transfers(transfers) = load {
                receive(&mut self.pair, &mut transfers.flows);
                // What is not theirs is put back for the others.
                let pair = &mut self.pair;
                pair.client.delivered.append(&mut pair.client_others);
                pair.server.delivered.append(&mut pair.server_others);
            }
        }
        for end in [Role::Client, Role::Server] {
            for (at, packet) in std::mem::take(&mut self.pair.end(end).delivered) {
                self.take(at, &packet);
            }
        }
    }

    fn take(&mut self, at: Time, packet: &[u8]) {
        let flow = flow_of(packet);
        for (load, _) in &mut self.loads {
            if let Load::Stream(stream) = load
                && stream.flow == flow
            {
                stream.take(at, sequence_of(packet));
            }
        }
    }

    fn note_second(&mut self) {
        self.next_second += SECOND;
        for (load, meter) in &mut self.loads {
            meter.note(load.delivered_bytes());
        }
        for (meters, carried) in self.links.iter_mut().zip(carried(&self.pair)) {
            for (meter, bytes) in meters.iter_mut().zip(carried) {
                meter.note(bytes);
            }
        }
    }
}

impl Load {
    fn delivered_bytes(&self) -> u64 {
        match self {
            Self::Transfers(transfers) => transfers.flows.iter().map(Tcp::delivered_bytes).sum(),
            Self::Stream(stream) => stream.arrived * stream.payload_bytes(),
        }
    }

    /// When it has something to do though nothing has come.
    fn wakes_at(&self, now: Time) -> Option<Time> {
        match self {
            Self::Transfers(transfers) if now < transfers.from => Some(transfers.from),
            Self::Transfers(transfers) if now < transfers.until => {
                transfers.flows.iter().filter_map(|flow| flow.poll_timeout(now)).min()
            }
            Self::Transfers(_) => None,
            Self::Stream(stream) => (stream.next < stream.until).then_some(stream.next),
        }
    }
}

impl Stream {
    const IP_UDP_BYTES: usize = 28;

    fn payload_bytes(&self) -> u64 {
        self.bytes.saturating_sub(Self::IP_UDP_BYTES) as u64
    }

    fn speak(&mut self, pair: &mut Pair) {
        while self.next <= pair.now && self.next < self.until {
            let number = self.sent.len() as u32;
            self.sent.push(pair.now);
            self.delays.push(None);
            self.next += self.every;
            pair.sends(self.from, &packet(self.flow, number, self.bytes));
        }
    }

    fn take(&mut self, at: Time, number: u32) {
        let number = number as usize;
        match &mut self.delays[number] {
            Some(_) => self.duplicates += 1,
            none => {
                *none = Some(at - self.sent[number]);
                self.arrived += 1;
            }
        }
    }

    fn datagrams(&self, began: Time) -> Vec<(Duration, Option<Duration>)> {
        self.sent.iter().map(|&sent| sent - began).zip(self.delays.iter().copied()).collect()
    }
}

impl Meter {
    fn note(&mut self, total: u64) {
        self.seconds.push(total - self.before);
        self.before = total;
    }
}

/// Bytes that each link has delivered, up and down.
fn carried(pair: &Pair) -> impl Iterator<Item = [u64; 2]> + '_ {
    pair.wans.iter().map(|wan| [&wan.up, &wan.down].map(|link| link.stats().delivered_bytes))
}
