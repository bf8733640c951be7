//! Our end of a conversation against an independent implementation: the `kcp` crate.

#![allow(clippy::unwrap_used, reason = "tests")]

mod kcp_support;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use kcp_support::{CONV, End, Ours, Pair, ms};
use ratbond_netem::{LinkConfig, Reordering};
use ratbond_proto::kcp::config::Mode;
use ratbond_proto::kcp::{Config, Frame, FrameReader};
use ratbond_proto::{PacketPool, Time};

const LIMIT: Duration = Duration::from_secs(600);
const INTERVAL_MS: u64 = 10;

/// The datagrams the oracle has written.
#[derive(Clone, Default)]
struct Outbox(Rc<RefCell<VecDeque<Vec<u8>>>>);

impl io::Write for Outbox {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().push_back(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The independent end, set as stock ratbond sets kcp-go.
struct Oracle {
    kcp: kcp::Kcp<Outbox>,
    outbox: Outbox,
    window: u16,
    next_update: Time,
}

impl Oracle {
    fn new(stream: bool, mtu: usize, window: u16) -> Self {
        let outbox = Outbox::default();
        let new = if stream { kcp::Kcp::new_stream } else { kcp::Kcp::new };
        let mut kcp = new(CONV, outbox.clone());
        kcp.set_mtu(mtu).unwrap();
        kcp.set_nodelay(true, INTERVAL_MS as i32, 2, true);
        kcp.set_wndsize(window, window);
        kcp.update(0).unwrap();
        Self { kcp, outbox, window, next_update: Time::ZERO }
    }
}

impl End for Oracle {
    fn send(&mut self, message: &[u8]) {
        self.kcp.send(message).unwrap();
    }

    fn recv(&mut self) -> Option<Vec<u8>> {
        let mut message = vec![0; self.kcp.peeksize().ok()?];
        let len = self.kcp.recv(&mut message).unwrap();
        message.truncate(len);
        Some(message)
    }

    fn has_room(&self) -> bool {
        self.kcp.wait_snd() < usize::from(self.window)
    }

    fn input(&mut self, _: Time, datagram: &[u8]) {
        assert_eq!(
            self.kcp.input(datagram).unwrap(),
            datagram.len(),
            "the oracle did not take all of a datagram"
        );
    }

    fn transmit(&mut self, _: Time) -> Option<Vec<u8>> {
        self.outbox.0.borrow_mut().pop_front()
    }

    fn deadline(&self, _: Time) -> Option<Time> {
        Some(self.next_update)
    }

    fn timeout(&mut self, now: Time) {
        self.kcp.update(now.as_millis() as u32).unwrap();
        self.next_update = now + Duration::from_millis(INTERVAL_MS);
    }
}

fn link(loss: f64) -> LinkConfig {
    LinkConfig { rate_bps: 50_000_000, delay_ns: ms(10), loss, ..LinkConfig::default() }
}

fn pair(config: Config, oracle: Oracle, link: LinkConfig, seed: u64) -> Pair<Ours, Oracle> {
    Pair::new(Time::ZERO, Ours::new(config, Time::ZERO), oracle, link, seed)
}

fn assert_exchange(mut pair: Pair<Ours, Oracle>, count: u32) {
    let (oracle_read, we_read) = pair.exchange(count, LIMIT);
    let expected: Vec<_> = (0..count).collect();
    assert!(oracle_read == expected, "the oracle read {} of {count}", oracle_read.len());
    assert!(we_read == expected, "we read {} of {count}", we_read.len());
}

#[test]
fn both_directions_agree_with_the_oracle_under_loss() {
    for percent in [0_u8, 1, 10, 30] {
        let oracle = Oracle::new(false, 1_360, 1_024);
        let lossy = link(f64::from(percent) / 100.0);
        assert_exchange(pair(Config::default(), oracle, lossy, percent.into()), 2_000);
    }
}

#[test]
fn both_directions_agree_with_the_oracle_under_reordering_and_duplication() {
    let reordering = Some(Reordering { probability: 0.2, held_back_ns: ms(12) });
    let bad = LinkConfig { reordering, duplication: 0.2, ..link(0.05) };
    assert_exchange(pair(Config::default(), Oracle::new(false, 1_360, 1_024), bad, 21), 2_000);
}

#[test]
fn both_directions_agree_with_the_oracle_on_fragments() {
    let config = Config { mode: Mode::Message, mtu: 124, ..Config::default() };
    assert_exchange(pair(config, Oracle::new(false, 124, 1_024), link(0.05), 22), 200);
}

#[test]
fn small_windows_of_either_size_get_along_with_the_oracle() {
    for (ours, theirs) in [(4, 256), (256, 4), (128, 128)] {
        let config = Config { send_window: ours, receive_window: ours.max(128), ..Config::default() };
        assert_exchange(pair(config, Oracle::new(false, 1_360, theirs), link(0.02), 23), 300);
    }
}

#[test]
fn a_closed_window_opens_between_us_and_the_oracle() {
    let config = Config { receive_window: 128, send_window: 512, ..Config::default() };
    let mut pair = pair(config, Oracle::new(false, 1_360, 128), link(0.0), 24);
    for index in 0..400 {
        pair.a.send(&kcp_support::message(index));
        pair.b.send(&kcp_support::message(index));
    }
    pair.run(Duration::from_secs(20));
    let (mut we_read, mut oracle_read) = (0, 0);
    for _ in 0..30 {
        we_read += std::iter::from_fn(|| pair.a.recv()).count();
        oracle_read += std::iter::from_fn(|| pair.b.recv()).count();
        pair.run(Duration::from_millis(200));
    }
    assert_eq!((we_read, oracle_read), (400, 400));
    assert_eq!(pair.a.kcp.stats().malformed, 0);
}

/// An IPv4 packet of `len` bytes, 20 at least.
fn ipv4(index: u16, len: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..len).map(|i| (i as u16 ^ index) as u8).collect();
    packet[..4].copy_from_slice(&[0x45, 0, (len >> 8) as u8, len as u8]);
    packet[4..6].copy_from_slice(&index.to_be_bytes());
    packet
}

#[test]
fn packets_that_a_stream_cut_in_two_come_out_whole() {
    let mut pair = pair(Config::default(), Oracle::new(true, 1_360, 1_024), link(0.03), 25);
    let mut pool = PacketPool::new(64);
    let (mut reader, mut frames) = (FrameReader::new(), Vec::new());
    // All are queued before the first is sent, as when stock's window is full: the oracle fills its segments.
    let packets: Vec<_> =
        (0..800_u16).map(|index| ipv4(index, 20 + usize::from(index) * 37 % 1_300)).collect();
    for packet in &packets {
        pair.b.send(packet);
    }
    let mut messages = 0;
    while frames.len() < packets.len() && pair.step(Time::ZERO + LIMIT) {
        while let Some(message) = pair.a.recv() {
            messages += 1;
            reader.read(kcp_support::packet(&message), &mut pool, &mut frames);
        }
    }
    assert!(messages < packets.len(), "the oracle did not fill its segments");
    assert_eq!(reader.malformed(), 0);
    let read: Vec<_> = frames
        .iter()
        .map(|frame| match frame {
            Frame::Ip(packet) => packet.as_slice(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(read == packets, "{} frames", read.len());
}
