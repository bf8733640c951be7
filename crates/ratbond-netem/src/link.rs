//! One direction of a link.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::bottleneck::{Bottleneck, Departure};
use crate::config::{ConfigError, LinkConfig};
use crate::jitter::Wander;
use crate::loss::Loss;
use crate::rng::Rng;
use crate::stats::Stats;

/// One direction of a link, holding the packets of type `P` that are under way. See the crate's text for the model.
///
/// Times are nanoseconds since any origin. They should not run backwards; a time before the latest one that was seen
/// counts as that one. Each packet costs O(log n) of the packets that are on the wire.
#[derive(Debug)]
pub struct Link<P> {
    config: LinkConfig,
    now_ns: u64,
    bottleneck: Bottleneck<P>,
    wire: BinaryHeap<Reverse<InFlight<P>>>,
    /// Tells packets apart that arrive in the same nanosecond: first in, first out.
    next_number: u64,
    latest_in_order_ns: u64,
    loss: Loss,
    wander: Wander,
    reordering: Rng,
    duplication: Rng,
    stats: Stats,
}

#[derive(Debug)]
struct InFlight<P> {
    arrival_ns: u64,
    number: u64,
    size_bytes: u32,
    packet: P,
}

impl<P: Clone> Link<P> {
    /// A link at rest. Two links with the same configuration and seed that are used alike behave alike.
    ///
    /// # Errors
    /// The configuration has a value that no link can have.
    pub fn new(config: LinkConfig, seed: u64) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            now_ns: 0,
            bottleneck: Bottleneck::new(config.rate_bps),
            wire: BinaryHeap::new(),
            next_number: 0,
            latest_in_order_ns: 0,
            loss: Loss::new(Rng::new(seed, 1), Rng::new(seed, 2)),
            wander: Wander::new(Rng::new(seed, 3)),
            reordering: Rng::new(seed, 4),
            duplication: Rng::new(seed, 5),
            stats: Stats::default(),
            config,
        })
    }

    /// What the link is told to be.
    #[must_use]
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Changes what the link is, from `now_ns` on. The packet that is being sent goes on at the new rate. Packets that
    /// wait stay, even when the new queue would not have taken them; packets on the wire keep their arrival times.
    ///
    /// # Errors
    /// The configuration has a value that no link can have; nothing is changed then.
    pub fn reconfigure(&mut self, now_ns: u64, config: LinkConfig) -> Result<(), ConfigError> {
        config.validate()?;
        self.advance(now_ns);
        self.bottleneck.set_rate(self.now_ns, config.rate_bps);
        if self.config.jitter != config.jitter {
            self.wander.restart();
        }
        self.config = config;
        self.advance(now_ns); // without a rate, all that waited leaves now
        Ok(())
    }

    /// Gives the link a packet of `size_bytes` at `now_ns`.
    pub fn send(&mut self, now_ns: u64, size_bytes: u32, packet: P) {
        self.advance(now_ns);
        self.stats.sent_packets += 1;
        self.stats.sent_bytes += u64::from(size_bytes);
        if self.config.mtu_bytes != 0 && size_bytes > self.config.mtu_bytes {
            self.stats.oversize_packets += 1;
            return;
        }
        match self.bottleneck.enqueue(self.now_ns, size_bytes, packet, &self.config) {
            Ok(()) => self.advance(now_ns),
            Err(_dropped) => self.stats.queue_dropped_packets += 1,
        }
    }

    /// Takes the next packet that has arrived by `now_ns`. Call it until it gives `None`.
    pub fn poll(&mut self, now_ns: u64) -> Option<P> {
        self.advance(now_ns);
        if self.wire.peek()?.0.arrival_ns > self.now_ns {
            return None;
        }
        let Reverse(arrived) = self.wire.pop()?;
        self.stats.delivered_packets += 1;
        self.stats.delivered_bytes += u64::from(arrived.size_bytes);
        Some(arrived.packet)
    }

    /// When to call [`poll`](Self::poll) next: no packet arrives before. It may be early, as when that packet is lost.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let arrival_ns = self.wire.peek().map(|Reverse(first)| first.arrival_ns);
        // Nothing needs to be done when a packet leaves the bottleneck, only when it can have arrived.
        let shortest_delay_ns = self.config.shortest_delay_ns();
        let departure_ns = self.bottleneck.next_departure_ns().map(|ns| ns.saturating_add(shortest_delay_ns));
        arrival_ns.into_iter().chain(departure_ns).min()
    }

    /// The counters, and how full the link was when it was last touched.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            queued_packets: self.bottleneck.len() as u64,
            queued_bytes: self.bottleneck.waiting_bytes(),
            in_flight_packets: self.wire.len() as u64,
            ..self.stats
        }
    }

    /// Puts on the wire all that has left the bottleneck by `now_ns`.
    fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        while let Some(departure) = self.bottleneck.depart(self.now_ns) {
            self.put_on_wire(departure);
        }
    }

    fn put_on_wire(&mut self, departure: Departure<P>) {
        let Departure { at_ns, size_bytes, packet } = departure;
        if self.config.blackhole {
            self.stats.blackholed_packets += 1;
            return;
        }
        if self.loss.takes(&self.config) {
            self.stats.lost_packets += 1;
            return;
        }
        let arrival_ns = self.arrival_ns(at_ns);
        if self.duplication.chance(self.config.duplication) {
            self.stats.duplicated_packets += 1;
            self.fly(arrival_ns, size_bytes, packet.clone());
        }
        self.fly(arrival_ns, size_bytes, packet);
    }

    fn arrival_ns(&mut self, departure_ns: u64) -> u64 {
        let delay_ns = self.wander.delay_ns(self.config.jitter, self.config.delay_ns, departure_ns);
        let arrival_ns = departure_ns.saturating_add(delay_ns);
        if let Some(reordering) = self.config.reordering
            && self.reordering.chance(reordering.probability)
        {
            self.stats.reordered_packets += 1;
            return arrival_ns.saturating_add(reordering.held_back_ns);
        }
        if self.config.jitter.reorders && self.config.jitter.size_ns > 0 {
            return arrival_ns;
        }
        // A falling delay, by jitter or by a change of the configuration, must not bring a packet before its forerunner.
        self.latest_in_order_ns = self.latest_in_order_ns.max(arrival_ns);
        self.latest_in_order_ns
    }

    fn fly(&mut self, arrival_ns: u64, size_bytes: u32, packet: P) {
        let number = self.next_number;
        self.next_number += 1;
        self.wire.push(Reverse(InFlight { arrival_ns, number, size_bytes, packet }));
    }
}

impl<P> PartialEq for InFlight<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<P> Eq for InFlight<P> {}

impl<P> PartialOrd for InFlight<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for InFlight<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.arrival_ns, self.number).cmp(&(other.arrival_ns, other.number))
    }
}
