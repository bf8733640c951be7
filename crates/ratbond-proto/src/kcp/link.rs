//! A link that speaks KCP to a stock ratbond, or to one of ours: one conversation, sealed as stock seals it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::crypt::{HEADER_LEN as CRYPT_LEN, NONCE_LEN};
use super::frame::{self, Frame, FrameReader, HELLO_LEN, HelloOrigin};
use super::{Config, Crypt, InputSummary, Kcp, segment};
use crate::bond::link::path_mtu::PathMtuState;
use crate::event::{DownReason, Peer};
use crate::link::{Link, LinkStats, Outgoing, Received};
use crate::packet::{Packet, PacketPool};
use crate::path::{AckSample, PathModel};
use crate::preference::Preference;
use crate::time::Time;

/// See the module.
#[derive(Debug)]
pub struct KcpLink {
    kcp: Kcp,
    hello: [u8; HELLO_LEN],
    crypt: Arc<Crypt>,
    nonces: ChaCha8Rng,
    reader: FrameReader,
    frames: Vec<Frame>,
    path: PathModel,
    /// Bytes found lost by a timeout; the next acknowledgement reports them.
    lost_bytes: u64,
    /// Mean size of the packets taken lately, for how many fit into what is left of a window.
    mean_packet_bytes: u64,
    waiting_since: Option<Time>,
    /// When the pace lets go what waits for it.
    held_at: Option<Time>,
}

impl KcpLink {
    /// A new conversation, which says this HELLO. `nonces` must differ from every other link's.
    #[must_use]
    pub fn new(
        now: Time,
        (conv, hello): (u32, [u8; HELLO_LEN]),
        config: Config,
        crypt: Arc<Crypt>,
        nonces: ChaCha8Rng,
    ) -> Self {
        let mut link = Self {
            kcp: Kcp::new(conv, config, now),
            hello,
            crypt,
            nonces,
            reader: FrameReader::new(),
            frames: Vec::new(),
            path: PathModel::default(),
            lost_bytes: 0,
            mean_packet_bytes: 0,
            waiting_since: None,
            held_at: None,
        };
        link.apply_window();
        link
    }

    fn apply_window(&mut self) {
        self.kcp.set_in_flight_limit(self.path.window_bytes());
    }

    fn learn(&mut self, now: Time, summary: &InputSummary) {
        let sample = AckSample {
            acked_bytes: summary.newly_acked_bytes,
            lost_bytes: summary.lost.bytes + std::mem::take(&mut self.lost_bytes),
            in_flight_bytes: self.kcp.stats().in_flight_bytes,
            rtt: summary.rtt,
            rate: summary.rate,
        };
        self.path.on_ack(now, &sample);
        self.apply_window();
    }

    fn read_messages(&mut self, received: &mut Vec<Received<Self>>, pool: &mut PacketPool) {
        while let Some(message) = self.kcp.recv(pool) {
            self.reader.read(message, pool, &mut self.frames);
        }
        received.extend(self.frames.drain(..).map(|frame| match frame {
            Frame::Hello(HelloOrigin::Ours) => Received::Hello(Peer::Ratbond, None),
            Frame::Hello(HelloOrigin::Stock) => Received::Hello(Peer::Stock, None),
            Frame::LinkDown { conv } => Received::LinkDown(u32::from(conv)),
            Frame::Ip(packet) => Received::Packet(None, packet),
        }));
    }

    fn send_control(&mut self, bytes: &[u8], pool: &mut PacketPool) {
        // Neither empty nor longer than a segment, which is all that the conversation refuses.
        let _ = self.kcp.send(pool.copy_of(bytes));
    }
}

impl Link for KcpLink {
    /// The conversation that is gone.
    type Farewell = u32;
    type Control = Infallible;

    const NUMBERED: bool = false;
    const KEEPALIVE: Duration = Duration::from_secs(2);
    const PATIENCE: Duration = Duration::from_millis(600);
    const SERVER_SAYS_FAREWELL: bool = false;
    const INNER_MTU: usize = 1_336;

    fn key(&self) -> u32 {
        self.kcp.conv()
    }

    fn prefer(&mut self, _preference: &Preference, cap: Option<u64>) {
        self.path.set_cap(cap);
    }

    fn room(&self, _now: Time) -> usize {
        // What waits here is out of the fair queue's hands, so only what can leave now comes in.
        let stats = self.kcp.stats();
        if stats.queued_segments > 0 || self.held_at.is_some() {
            return 0;
        }
        let left =
            self.path.window_bytes().saturating_sub(stats.in_flight_bytes).min(self.path.burst_bytes());
        let by_path = left.div_ceil(self.mean_packet_bytes + segment::HEADER_LEN as u64) as usize;
        let by_window = usize::from(self.kcp.config().send_window).saturating_sub(self.kcp.waiting());
        by_path.min(by_window)
    }

    fn send(&mut self, _now: Time, packet: Outgoing) {
        self.mean_packet_bytes = (self.mean_packet_bytes * 7 + packet.packet.len() as u64) / 8;
        // An IP packet is never empty, nor of more than 256 segments.
        let _ = self.kcp.send(packet.packet);
    }

    fn send_hello(&mut self, _now: Time, pool: &mut PacketPool) {
        let hello = self.hello;
        self.send_control(&hello, pool);
    }

    fn farewell(&self, _now: Time, _reason: &DownReason) -> u32 {
        self.kcp.conv()
    }

    fn farewell_key(farewell: &u32) -> u32 {
        *farewell
    }

    fn send_farewell(&mut self, _now: Time, farewell: &u32, pool: &mut PacketPool) {
        // Tunnel-ids end at 65,525, so that every conv fits stock's 16 bits.
        if let Ok(conv) = u16::try_from(*farewell) {
            self.send_control(&frame::link_down(conv), pool);
        }
    }

    fn take_farewell(&mut self, _now: Time, _farewell: &u32, _pool: &mut PacketPool) {}

    fn receive(
        &mut self,
        now: Time,
        data: &mut [u8],
        received: &mut Vec<Received<Self>>,
        pool: &mut PacketPool,
    ) -> bool {
        let summary = self.kcp.input(now, data, pool);
        if summary.newly_acked_segments > 0 || summary.lost.segments > 0 {
            self.learn(now, &summary);
        }
        if self.kcp.waiting() == 0 {
            self.waiting_since = None;
        }
        if summary.new_pushes > 0 {
            self.read_messages(received, pool);
        }
        summary.segments > 0
    }

    fn take_lost(&mut self, _into: &mut Vec<Outgoing>) {}

    fn take_in_flight(&mut self, _now: Time, _into: &mut Vec<Outgoing>) {}

    fn poll_transmit(&mut self, now: Time, _idle: bool, out: &mut Vec<u8>, _pool: &mut PacketPool) -> bool {
        let start = out.len();
        out.resize(start + CRYPT_LEN, 0);
        let before = self.kcp.stats().push_bytes_sent;
        let waited = self.held_at.is_some();
        if waited && self.path.is_late(now) {
            self.kcp.on_sender_limited();
        }
        self.kcp.hold(!self.path.may_send(now));
        let written = self.kcp.poll_transmit(now, out);
        self.held_at = self.kcp.is_held().then(|| self.path.next_send());
        if written == 0 {
            out.truncate(start);
            return false;
        }
        let pushed = self.kcp.stats().push_bytes_sent - before;
        if pushed > 0 {
            self.path.on_sent(now, pushed, waited);
        }
        let mut nonce = [0; NONCE_LEN];
        self.nonces.fill_bytes(&mut nonce);
        self.crypt.seal(&mut out[start..], nonce);
        if self.waiting_since.is_none() && self.kcp.waiting() > 0 {
            self.waiting_since = Some(now);
        }
        true
    }

    fn poll_timeout(&self) -> Option<Time> {
        [self.kcp.poll_timeout(), self.held_at].into_iter().flatten().min()
    }

    fn next_send(&self) -> Time {
        self.path.next_send()
    }

    fn handle_timeout(&mut self, now: Time) {
        self.lost_bytes += self.kcp.handle_timeout(now).bytes;
    }

    fn waiting_since(&self) -> Option<Time> {
        self.waiting_since
    }

    fn is_exhausted(&self) -> bool {
        self.kcp.is_dead()
    }

    fn into_unacknowledged(self) -> Vec<Outgoing> {
        let packets = self.kcp.into_unacknowledged().filter(is_ip);
        packets.map(|packet| Outgoing { packet, number: None }).collect()
    }

    fn stats(&self) -> LinkStats {
        let (stats, rtt) = (self.kcp.stats(), self.kcp.rtt());
        LinkStats {
            path_mtu: 0,
            path_mtu_state: PathMtuState::Fixed,
            srtt: rtt.srtt().unwrap_or_default(),
            rttvar: rtt.rttvar().unwrap_or_default(),
            min_rtt: self.path.min_rtt().unwrap_or_default(),
            rto: rtt.rto(0),
            delivery_rate_bps: self.path.rate_bytes_per_s() * 8,
            loss: self.path.loss(),
            in_flight_segments: u64::from(stats.in_flight_segments),
            in_flight_bytes: stats.in_flight_bytes,
            window_bytes: self.path.window_bytes(),
            segments_sent: stats.pushes_sent,
            retransmits: stats.retransmits,
            fast_retransmits: stats.fast_losses,
            timeouts: stats.timeout_losses,
            duplicates: stats.duplicates_received,
            malformed: stats.malformed + self.reader.malformed(),
        }
    }
}

/// HELLO and LINKDOWN begin with a zero byte; IP packets with their version.
fn is_ip(message: &Packet) -> bool {
    matches!(message.as_slice().first().map(|byte| byte >> 4), Some(4 | 6))
}

/// Stock's parameters, with what the peer cannot see chosen for a bond.
#[must_use]
pub(super) fn link_config() -> Config {
    let mut config = Config::default();
    // A link that may be dead is asked again soon: what it holds waits, and a fresh server must hear our HELLO.
    config.rto.max = Duration::from_secs(1);
    debug_assert!(config.mtu + CRYPT_LEN <= 1380 && config.mtu > segment::HEADER_LEN);
    config
}
