//! The networks that a bond is judged by: links as in the table of docs/benchmarks, downloads over them, a ping beside.

use std::time::Duration;

use ratbond_netem::{Distribution, Jitter, LinkConfig, QueueLimit};
use ratbond_proto::Time;
use ratbond_proto::scheduler::SchedulerKind;

use crate::pair::{Pair, packet, sequence_of};
use crate::tcp::{BOND_PACKET_BYTES, Tcp, download_beside};

/// Payload in the packets of a download over bytes on the wire: 58 bytes around each.
pub const EFFICIENCY: f64 = 1348.0 / 1458.0;
const PING_EVERY: Duration = Duration::from_millis(50);
const PING_FLOW: u16 = 1_001;

/// A link of a rate and a round trip, with 100 ms of queue.
#[must_use]
pub fn link(mbps: u64, rtt_ms: u64) -> LinkConfig {
    LinkConfig {
        rate_bps: mbps * 1_000_000,
        delay_ns: rtt_ms * 500_000,
        queue: QueueLimit::Nanos(100_000_000),
        ..LinkConfig::default()
    }
}

/// The same with a delay that wanders by this.
#[must_use]
pub fn jittery(size_ms: u64, link: LinkConfig) -> LinkConfig {
    let jitter =
        Jitter { distribution: Distribution::Uniform, size_ns: size_ms * 1_000_000, reorders: false };
    LinkConfig { jitter, ..link }
}

/// The same with each packet lost by this chance.
#[must_use]
pub fn lossy(loss: f64, link: LinkConfig) -> LinkConfig {
    LinkConfig { loss, ..link }
}

/// The same with a queue of this time.
#[must_use]
pub fn bloated(queue_ms: u64, link: LinkConfig) -> LinkConfig {
    LinkConfig { queue: QueueLimit::Nanos(queue_ms * 1_000_000), ..link }
}

/// 50 Mbit/s and 20 ms, twice.
#[must_use]
pub fn equal() -> Vec<LinkConfig> {
    vec![link(50, 20), link(50, 20)]
}

/// 80 Mbit/s and 16 ms beside 30 Mbit/s and 60 ms with some jitter and loss.
#[must_use]
pub fn dsl_lte() -> Vec<LinkConfig> {
    vec![link(80, 16), lossy(0.005, jittery(4, link(30, 60)))]
}

/// Two equal links, of which one loses every fifth packet.
#[must_use]
pub fn bad_link() -> Vec<LinkConfig> {
    vec![link(50, 20), lossy(0.2, link(50, 20))]
}

/// Two equal rates, one with 600 ms.
#[must_use]
pub fn satellite() -> Vec<LinkConfig> {
    vec![link(50, 30), link(50, 600)]
}

/// By radio: 100 Mbit/s and 40 ms beside 50 Mbit/s and 50 ms, whose delays wander by 8 and 10 ms each way.
#[must_use]
pub fn wandering() -> Vec<LinkConfig> {
    vec![jittery(8, link(100, 40)), jittery(10, link(50, 50))]
}

/// A good link beside a slower one with 2 s of queue.
#[must_use]
pub fn bloat() -> Vec<LinkConfig> {
    vec![link(40, 20), bloated(2_000, link(20, 50))]
}

/// Two links that lose 2 %.
#[must_use]
pub fn lossy_both() -> Vec<LinkConfig> {
    vec![lossy(0.02, link(50, 40)), lossy(0.02, link(50, 40))]
}

/// Four links, each slower and farther than the one before.
#[must_use]
pub fn four() -> Vec<LinkConfig> {
    vec![link(20, 20), link(10, 40), link(5, 80), link(2, 150)]
}

/// Two links of 20 ms, of which each changes its rate every [`REDRAWN_EVERY_S`]: see [`redraw`].
#[must_use]
pub fn varying() -> Vec<LinkConfig> {
    vec![link(32, 20), link(32, 20)]
}

/// Seconds for which a rate of `varying` holds.
pub const REDRAWN_EVERY_S: usize = 5;

/// The rate of a link of `varying` in a second, in bit/s: between 5 and 60 Mbit/s, from the seed alone.
#[must_use]
pub fn redrawn_bps(seed: u64, link: usize, second: usize) -> u64 {
    let drawn = (second / REDRAWN_EVERY_S) as u64;
    // The finalizer of SplitMix64.
    let mut mixed =
        (seed << 40 | (link as u64) << 32 | drawn).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    5_000_000 + (mixed ^ mixed >> 31) % 55_000_000
}

/// Gives the links of `varying` the rates of this second.
pub fn redraw(pair: &mut Pair, seed: u64, second: usize) {
    if second.is_multiple_of(REDRAWN_EVERY_S) {
        for link in 0..varying().len() {
            pair.reconfigure(link, |config| config.rate_bps = redrawn_bps(seed, link, second));
        }
    }
}

/// What the links of `varying` could deliver from a second on, of so many, in bit/s.
#[must_use]
pub fn redrawn_bound(seed: u64, seconds: std::ops::Range<usize>) -> f64 {
    let count = seconds.len() as f64;
    let rates =
        seconds.flat_map(|second| (0..varying().len()).map(move |link| redrawn_bps(seed, link, second)));
    rates.sum::<u64>() as f64 / count * EFFICIENCY
}

/// What all links together could deliver, in bit/s.
#[must_use]
pub fn bound(links: &[LinkConfig]) -> f64 {
    links.iter().map(|link| link.rate_bps as f64 * (1.0 - link.loss)).sum::<f64>() * EFFICIENCY
}

/// Round trip of the fastest link when nothing waits; zero without links.
#[must_use]
pub fn idle_rtt(links: &[LinkConfig]) -> Duration {
    Duration::from_nanos(links.iter().map(|link| 2 * link.delay_ns).min().unwrap_or_default())
}

/// What a run of downloads with a ping beside them showed.
#[derive(Debug)]
pub struct Outcome {
    /// Goodput of all downloads in each second, bit/s.
    pub seconds: Vec<f64>,
    /// Round trips of pings, with when they were sent, in seconds.
    pub pings: Vec<(f64, Duration)>,
    /// How many were sent.
    pub pings_sent: usize,
    /// Retransmission timeouts of all downloads.
    pub timeouts: u32,
    /// How often their windows were cut for a loss.
    pub backoffs: u32,
}

impl Outcome {
    /// Mean goodput from a second on, as a share of `bound`.
    #[must_use]
    pub fn share_from(&self, second: usize, bound: f64) -> f64 {
        let steady = &self.seconds[second..];
        steady.iter().sum::<f64>() / steady.len() as f64 / bound
    }

    /// What 99 % of the pings that were sent from a second on took at most.
    #[must_use]
    pub fn ping_p99_from(&self, second: f64) -> Duration {
        let mut pings: Vec<_> =
            self.pings.iter().filter(|(sent, _)| *sent >= second).map(|&(_, took)| took).collect();
        pings.sort_unstable();
        pings[(pings.len() - 1) * 99 / 100]
    }
}

/// Downloads through `pair`, which is connected, for so many seconds; `each_second` may change the network.
pub fn run(
    pair: &mut Pair,
    count: u16,
    seconds: usize,
    each_second: impl FnMut(&mut Pair, usize),
) -> Outcome {
    let flows = (0..count).map(|flow| Tcp::with_packets(flow, BOND_PACKET_BYTES)).collect();
    run_flows(pair, flows, seconds, each_second)
}

/// The same with these downloads.
pub fn run_flows(
    pair: &mut Pair,
    mut flows: Vec<Tcp>,
    seconds: usize,
    mut each_second: impl FnMut(&mut Pair, usize),
) -> Outcome {
    let mut outcome =
        Outcome { seconds: Vec::new(), pings: Vec::new(), pings_sent: 0, timeouts: 0, backoffs: 0 };
    let (mut sent, mut next) = (Vec::<Time>::new(), pair.now);
    for second in 0..seconds {
        each_second(pair, second);
        let rates = download_beside(pair, &mut flows, Duration::from_secs(1), |pair| {
            ping(pair, &mut sent, &mut next, &mut outcome.pings);
        });
        outcome.seconds.push(rates.iter().sum());
    }
    outcome.pings_sent = sent.len();
    outcome.timeouts = flows.iter().map(|flow| flow.timeouts).sum();
    outcome.backoffs = flows.iter().map(|flow| flow.backoffs).sum();
    outcome
}

fn ping(pair: &mut Pair, sent: &mut Vec<Time>, next: &mut Time, pings: &mut Vec<(f64, Duration)>) {
    while *next <= pair.now {
        let number = sent.len() as u32;
        pair.client_sends(&packet(PING_FLOW, number, 84));
        sent.push(pair.now);
        *next += PING_EVERY;
    }
    for (_, request) in std::mem::take(&mut pair.server_others) {
        pair.server_sends(&request);
    }
    for (at, answer) in std::mem::take(&mut pair.client_others) {
        let from = sent[sequence_of(&answer) as usize];
        pings.push(((from - sent[0]).as_secs_f64(), at - from));
    }
}

/// A connected pair whose both ends spread packets as `scheduler` does.
#[must_use]
pub fn connected(scheduler: SchedulerKind, links: &[LinkConfig], seed: u64) -> Pair {
    let mut pair = Pair::bond(scheduler, links, seed);
    pair.connect();
    pair.run_for(Duration::from_secs(1));
    pair
}
