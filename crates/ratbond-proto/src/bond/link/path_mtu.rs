//! Path MTU discovery by probing, after RFC 8899: what a link's datagrams may be long.
//!
//! A probe is a PING that is padded to the size under test. An ack says that the path carries it; its loss is told as that
//! of any datagram is (RACK, so within a quarter of a round trip after something later has arrived), and is neither
//! congestion nor counted as loss (section 3). Nor does a probe that arrives say anything of the path's rate.
//!
//! ```text
//!        first ack, a new address                         nothing left to try
//!  Base ─────────────────────────▶ Deciding ─▶ Searching ──────────────────▶ Complete
//!                                   ▲ │  ▲      ▲     ▲                         │ │
//!                  not even the base│ ▼  │      │     └── 600 s, when in use ───┘ │
//!                                  Error │      │ passes                          │
//!                                        └── Doubting ◀── large ones get lost ────┘
//!                           lost three times, or too big for the kernel
//! ```
//!
//! *Deciding* sends all sizes that real paths have at once, the largest first, so that one round trip tells which is the
//! largest that passes. *Searching* then tries the next larger ones, each three times, and halves what remains.
//!
//! A **black hole** is a path that has begun to swallow large datagrams without a word. Where several in a row are lost while
//! smaller ones arrive, it may be one; a full queue or a bad radio link may also be the cause. So all goes on as it was while
//! a probe of the size in use is tried three times. Only then, or when the kernel has refused that size, the packets wait for
//! what the volley of all sizes says: they would be lost.

use std::time::Duration;

use crate::time::Time;

/// Before anything is known: an inner packet of 1,400 bytes. It fits an IPv4 path of 1,458 bytes and an IPv6 path of
/// 1,478, so PPPoE and most tunnels of providers.
pub const ASSUMED_LEN: usize = 1_430;
/// What every path should carry, as UDP payload (`BASE_PLPMTU` of RFC 8899, section 5.1.2).
pub const BASE_LEN: usize = 1_200;
/// What is sent where not even the base passes: an IPv4 packet that every host takes (576 bytes, RFC 791).
const MIN_LEN: usize = 548;
/// Sizes of IP packets that paths really carry, the largest first: Ethernet, PPPoE, tunnels in IPv4 and GRE, L2TP, LTE, WireGuard,
/// the least of IPv6. Nothing larger is tried: between two hosts on the Internet it would be a rarity.
const COMMON_MTUS: [usize; 7] = [1_500, 1_492, 1_480, 1_460, 1_420, 1_400, 1_280];
/// A size is given up after so many losses (`MAX_PROBES` of RFC 8899, section 5.1.2).
const MAX_PROBES: u32 = 3;
/// Halving ends here.
const GRANULARITY: usize = 8;
/// A larger size is tried again after this long (`PMTU_RAISE_TIMER`).
const RAISE_AFTER: Duration = Duration::from_secs(600);
/// Where not even the base passes it is tried again after this long.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// So many large datagrams in a row get lost on a path with 20 % loss once in 15,000 times. It costs two datagrams to ask.
const BLACK_HOLE_LOSSES: u32 = 6;

/// One probe: its size, and which series it is of. Answers to older series tell nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// UDP payload; 0: a bare PING, whose ack tells of the loss of those before.
    pub len: u16,
    series: u16,
}

/// How far the search is (RFC 8899, section 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMtuState {
    /// No search: a link protocol of fixed size.
    #[default]
    Fixed,
    /// Nothing is proved yet, or what was proved is in doubt.
    Base,
    /// A larger size is being tried.
    Searching,
    /// The size is found.
    Complete,
    /// Not even the base passes.
    Error,
}

#[derive(Debug)]
enum Phase {
    Base,
    /// Sizes that are under way, and the largest that passed.
    Deciding {
        under_way: Vec<u16>,
        passed: usize,
        tries: u32,
    },
    Searching {
        len: usize,
        tries: u32,
    },
    Complete,
    /// Does the size in use still pass?
    Doubting {
        tries: u32,
    },
    Error,
}

/// The search of one link in its sending direction; pure. Sizes are UDP payloads but where said.
#[derive(Debug)]
pub struct PathMtu {
    /// IP and UDP headers.
    overhead: usize,
    len: usize,
    /// The least size that is known not to pass.
    too_big: usize,
    phase: Phase,
    /// Datagrams of `len` do not pass, and it is not decided yet which do.
    blocked: bool,
    series: u16,
    /// The next one last.
    to_send: Vec<Probe>,
    again_at: Option<Time>,
    /// Large datagrams lost since one of the same size has arrived, and the shortest of them.
    lost: u32,
    shortest_lost: usize,
}

impl PathMtu {
    /// A path of which nothing is known; over IPv6 or IPv4.
    #[must_use]
    pub fn new(ipv6: bool) -> Self {
        let overhead = if ipv6 { 48 } else { 28 };
        Self {
            overhead,
            len: ASSUMED_LEN,
            too_big: COMMON_MTUS[0] - overhead + 1,
            phase: Phase::Base,
            blocked: false,
            series: 0,
            to_send: Vec::new(),
            again_at: None,
            lost: 0,
            shortest_lost: usize::MAX,
        }
    }

    /// A path over IPv4 whose size is known: datagrams of so many bytes pass, and no larger ones are tried.
    #[must_use]
    pub fn known(len: usize) -> Self {
        Self { len, too_big: len + 1, phase: Phase::Complete, ..Self::new(false) }
    }

    /// The largest datagram to be sent.
    #[must_use]
    pub const fn datagram_len(&self) -> usize {
        self.len
    }

    /// The IP packet that it makes.
    #[must_use]
    pub const fn packet_len(&self) -> usize {
        self.len + self.overhead
    }

    /// How far the search is.
    #[must_use]
    pub const fn state(&self) -> PathMtuState {
        match self.phase {
            Phase::Base | Phase::Deciding { .. } | Phase::Doubting { .. } => PathMtuState::Base,
            Phase::Searching { .. } => PathMtuState::Searching,
            Phase::Complete => PathMtuState::Complete,
            Phase::Error => PathMtuState::Error,
        }
    }

    /// Whether packets should wait: those of the size in use do not pass, and which do is being found out.
    #[must_use]
    pub const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The peer is there: begins, if it has not begun.
    pub fn on_first_ack(&mut self) {
        if matches!(self.phase, Phase::Base) {
            self.decide(0);
        }
    }

    /// The peer is somewhere else: what was known is of another path.
    pub fn on_new_path(&mut self, ipv6: bool) {
        *self = Self { series: self.series, ..Self::new(ipv6) };
        self.decide(0);
    }

    /// The kernel would not send a datagram of this length: the device's own MTU is smaller.
    pub fn on_too_big(&mut self, now: Time, len: usize) {
        if len >= self.too_big || len <= BASE_LEN {
            return;
        }
        self.too_big = len;
        if self.len >= len {
            self.blocked = true;
            self.decide(0);
        } else if matches!(self.phase, Phase::Searching { len: tried, .. } if tried >= len) {
            self.search(now);
        }
    }

    /// A bare PING is to be sent, whatever else is under way.
    pub fn ask(&mut self) {
        self.to_send.insert(0, Probe { len: 0, series: self.series });
    }

    /// The next probe to be sent.
    pub fn poll_probe(&mut self) -> Option<Probe> {
        self.to_send.pop()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Time> {
        self.again_at
    }

    /// Time has passed. A link that carries nothing is left alone: what a larger size would gain is worth no probe.
    pub fn handle_timeout(&mut self, now: Time, in_use: bool) {
        if self.again_at.is_none_or(|at| at > now) {
            return;
        }
        self.again_at = None;
        if !in_use {
            self.again_at = Some(now + RETRY_AFTER);
        } else if matches!(self.phase, Phase::Error) {
            self.decide(0);
        } else {
            self.too_big = COMMON_MTUS[0] - self.overhead + 1;
            self.search(now);
        }
    }

    /// A probe has arrived.
    pub fn on_probe_acked(&mut self, now: Time, probe: Probe) {
        let len = usize::from(probe.len);
        if probe.series != self.series {
            return;
        }
        match &mut self.phase {
            Phase::Deciding { under_way, passed, .. } => {
                *passed = len.max(*passed);
                under_way.retain(|&other| usize::from(other) > *passed);
                self.conclude(now);
            }
            Phase::Searching { len: tried, .. } if *tried == len => {
                self.len = len;
                self.forget_losses();
                self.search(now);
            }
            Phase::Doubting { .. } if len == self.len => {
                self.forget_losses();
                self.search(now);
            }
            _ => {}
        }
    }

    /// A probe got lost.
    pub fn on_probe_lost(&mut self, now: Time, probe: Probe) {
        if probe.series != self.series {
            return;
        }
        match &mut self.phase {
            Phase::Deciding { under_way, .. } => {
                under_way.retain(|&other| other != probe.len);
                self.conclude(now);
            }
            Phase::Searching { len, tries } if *len == usize::from(probe.len) => {
                *tries += 1;
                if *tries < MAX_PROBES {
                    self.to_send = vec![Probe { len: 0, ..probe }, probe];
                } else {
                    self.too_big = self.too_big.min(*len);
                    self.search(now);
                }
            }
            Phase::Doubting { tries } if probe.len > 0 => {
                *tries += 1;
                if *tries < MAX_PROBES {
                    self.to_send = vec![Probe { len: 0, ..probe }, probe];
                } else {
                    self.blocked = true;
                    self.decide(0);
                }
            }
            _ => {}
        }
    }

    /// All that was under way has been taken back, probes as well: nobody will tell of them.
    pub fn on_drained(&mut self) {
        match self.phase {
            Phase::Deciding { tries, .. } => self.decide(tries),
            Phase::Searching { len, .. } => self.probe_alone(len),
            Phase::Doubting { .. } => self.doubt(),
            Phase::Base | Phase::Complete | Phase::Error => {}
        }
    }

    /// Datagrams of these lengths got lost. Where small ones are among them it was no black hole.
    pub fn on_lost(&mut self, lens: impl Iterator<Item = usize>) {
        for len in lens {
            if len <= BASE_LEN {
                return self.forget_losses();
            }
            self.lost += 1;
            self.shortest_lost = self.shortest_lost.min(len);
        }
    }

    /// Datagrams have arrived that were sent after whatever is known to be lost; the longest had this length.
    pub fn on_arrived(&mut self, now: Time, longest: usize) {
        if longest >= self.shortest_lost {
            self.forget_losses();
            if matches!(self.phase, Phase::Doubting { .. }) {
                self.search(now);
            }
        } else if self.lost >= BLACK_HOLE_LOSSES
            && !matches!(self.phase, Phase::Deciding { .. } | Phase::Doubting { .. })
        {
            self.doubt();
        }
    }

    /// Asks whether the size in use still passes.
    fn doubt(&mut self) {
        self.again_at = None;
        self.phase = Phase::Doubting { tries: 0 };
        self.begin_series(&[self.len as u16]);
    }

    fn forget_losses(&mut self) {
        self.lost = 0;
        self.shortest_lost = usize::MAX;
    }

    /// Sends a probe of each size that paths have.
    fn decide(&mut self, tries: u32) {
        self.again_at = None;
        let common = COMMON_MTUS.map(|mtu| mtu - self.overhead);
        let mut sizes: Vec<u16> = common
            .into_iter()
            .chain([self.len, BASE_LEN])
            .filter(|&len| len < self.too_big && len >= BASE_LEN)
            .map(|len| len as u16)
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        self.begin_series(&sizes);
        self.phase = Phase::Deciding { under_way: sizes, passed: 0, tries };
    }

    /// Ends the decision when no larger size can still pass.
    fn conclude(&mut self, now: Time) {
        let Phase::Deciding { under_way, passed, tries } = &self.phase else { return };
        if !under_way.is_empty() {
            return;
        }
        let (passed, tries) = (*passed, *tries + 1);
        if passed == 0 && tries < MAX_PROBES {
            return self.decide(tries);
        }
        self.blocked = false;
        self.forget_losses();
        self.to_send.clear();
        if passed == 0 {
            self.len = MIN_LEN;
            self.phase = Phase::Error;
            self.again_at = Some(now + RETRY_AFTER);
        } else {
            self.len = passed;
            self.search(now);
        }
    }

    /// Tries the next larger size, if one is left.
    fn search(&mut self, now: Time) {
        let common = COMMON_MTUS.iter().rev().map(|mtu| mtu - self.overhead);
        let next = common.filter(|&len| len > self.len && len < self.too_big).min();
        let middle = self.len.midpoint(self.too_big);
        match next {
            Some(len) => self.probe_alone(len),
            None if self.too_big - self.len > GRANULARITY => self.probe_alone(middle),
            None => {
                self.phase = Phase::Complete;
                let is_largest = self.len + self.overhead >= COMMON_MTUS[0];
                self.again_at = (!is_largest).then_some(now + RAISE_AFTER);
            }
        }
    }

    fn probe_alone(&mut self, len: usize) {
        self.phase = Phase::Searching { len, tries: 0 };
        self.begin_series(&[len as u16]);
    }

    /// Sends probes, the longest first, and a bare PING behind them.
    fn begin_series(&mut self, ascending: &[u16]) {
        self.series = self.series.wrapping_add(1);
        let probe = |len| Probe { len, series: self.series };
        self.to_send.clear();
        self.to_send.push(probe(0));
        self.to_send.extend(ascending.iter().copied().map(probe));
    }
}
