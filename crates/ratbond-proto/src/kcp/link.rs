//! A link that speaks KCP to a stock ratbond, or to one of ours: one conversation, sealed as stock seals it.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::crypt::{HEADER_LEN as CRYPT_LEN, NONCE_LEN};
use super::frame::{self, Frame, FrameReader, HelloOrigin};
use super::{Config, Crypt, InputSummary, Kcp, segment};
use crate::event::Peer;
use crate::link::{Link, LinkStats, Received};
use crate::packet::{Packet, PacketPool};
use crate::path::{AckSample, PathModel};
use crate::time::Time;

/// Packets handed to the conversation ahead of what it may send: none would leave the pipe idle between two polls.
const SPARE_ROOM: u64 = 4;

/// See the module.
#[derive(Debug)]
pub struct KcpLink {
    kcp: Kcp,
    crypt: Arc<Crypt>,
    nonces: ChaCha8Rng,
    reader: FrameReader,
    frames: Vec<Frame>,
    path: PathModel,
    /// Bytes found lost by a timeout; the next acknowledgement reports them.
    lost_bytes: u64,
    window_segments: u32,
    waiting_since: Option<Time>,
}

impl KcpLink {
    /// A new conversation. `nonces` must differ from every other link's.
    #[must_use]
    pub fn new(now: Time, conv: u32, config: Config, crypt: Arc<Crypt>, nonces: ChaCha8Rng) -> Self {
        let mut link = Self {
            kcp: Kcp::new(conv, config, now),
            crypt,
            nonces,
            reader: FrameReader::new(),
            frames: Vec::new(),
            path: PathModel::default(),
            lost_bytes: 0,
            window_segments: 0,
            waiting_since: None,
        };
        link.apply_window();
        link
    }

    fn apply_window(&mut self) {
        let segments = self.path.window_bytes() / self.kcp.config().mtu as u64;
        self.window_segments = u32::try_from(segments).unwrap_or(u32::MAX);
        self.kcp.set_in_flight_limit(self.window_segments);
    }

    fn learn(&mut self, now: Time, summary: &InputSummary) {
        let rate = summary.rate.as_ref();
        let sample = AckSample {
            acked_bytes: summary.newly_acked_bytes,
            lost_bytes: summary.lost.bytes + std::mem::take(&mut self.lost_bytes),
            rtt: summary.rtt,
            delivery_rate: rate.map(|rate| rate.rate_bps() / 8),
            app_limited: rate.is_some_and(|rate| rate.app_limited),
            prior_delivered: rate.map_or(0, |rate| rate.prior_delivered_bytes),
            delivered: rate.map_or(0, |rate| rate.total_delivered_bytes),
        };
        self.path.on_ack(now, &sample);
        self.apply_window();
    }

    fn read_messages(&mut self, received: &mut Vec<Received>, pool: &mut PacketPool) {
        while let Some(message) = self.kcp.recv(pool) {
            self.reader.read(message, pool, &mut self.frames);
        }
        received.extend(self.frames.drain(..).map(|frame| match frame {
            Frame::Hello(HelloOrigin::Ours) => Received::Hello(Peer::Ratbond),
            Frame::Hello(HelloOrigin::Stock) => Received::Hello(Peer::Stock),
            Frame::LinkDown { conv } => Received::LinkDown { key: u32::from(conv) },
            Frame::Ip(packet) => Received::Packet(packet),
        }));
    }

    fn send_control(&mut self, bytes: &[u8], pool: &mut PacketPool) {
        // Neither empty nor longer than a segment, which is all that the conversation refuses.
        let _ = self.kcp.send(pool.copy_of(bytes));
    }
}

impl Link for KcpLink {
    fn key(&self) -> u32 {
        self.kcp.conv()
    }

    fn room(&self) -> usize {
        let stats = self.kcp.stats();
        let in_flight = u64::from(stats.in_flight_segments) + stats.queued_segments as u64;
        let by_path = (u64::from(self.window_segments) + SPARE_ROOM).saturating_sub(in_flight);
        let by_window = usize::from(self.kcp.config().send_window).saturating_sub(self.kcp.waiting());
        by_window.min(by_path as usize)
    }

    fn send(&mut self, _now: Time, packet: Packet) {
        // An IP packet is never empty, nor of more than 256 segments.
        let _ = self.kcp.send(packet);
    }

    fn send_hello(&mut self, _now: Time, pool: &mut PacketPool) {
        self.send_control(&frame::hello(), pool);
    }

    fn send_link_down(&mut self, _now: Time, key: u32, pool: &mut PacketPool) {
        // Tunnel-ids end at 65,525, so that every conv fits stock's 16 bits.
        if let Ok(conv) = u16::try_from(key) {
            self.send_control(&frame::link_down(conv), pool);
        }
    }

    fn receive(
        &mut self,
        now: Time,
        data: &[u8],
        received: &mut Vec<Received>,
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

    fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>, _pool: &mut PacketPool) -> bool {
        let start = out.len();
        out.resize(start + CRYPT_LEN, 0);
        if self.kcp.poll_transmit(now, out) == 0 {
            out.truncate(start);
            return false;
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
        self.kcp.poll_timeout()
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

    fn into_unacknowledged(self) -> Vec<Packet> {
        self.kcp.into_unacknowledged().filter(is_ip).collect()
    }

    fn stats(&self) -> LinkStats {
        let (stats, rtt) = (self.kcp.stats(), self.kcp.rtt());
        LinkStats {
            srtt: rtt.srtt().unwrap_or_default(),
            rttvar: rtt.rttvar().unwrap_or_default(),
            min_rtt: self.path.min_rtt().unwrap_or_default(),
            rto: rtt.rto(0),
            delivery_rate_bps: self.path.rate_bytes_per_s() * 8,
            loss: self.path.loss(),
            in_flight_segments: u64::from(stats.in_flight_segments),
            in_flight_bytes: stats.in_flight_bytes,
            window_segments: u64::from(self.window_segments),
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
    config.rto.max = std::time::Duration::from_secs(1);
    debug_assert!(config.mtu + CRYPT_LEN <= 1380 && config.mtu > segment::HEADER_LEN);
    config
}
