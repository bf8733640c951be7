//! Entry points for fuzzing: each takes any bytes, must neither panic nor hang, and asserts what must always hold.

use std::time::Duration;

use super::crypt::{AesCfb, Crypt, HEADER_LEN, NONCE_LEN};
use super::segment::{self, Segments};
use super::{Config, Frame, FrameReader, Kcp};
use crate::{Packet, PacketPool, Time};

const CONV: u32 = 1;

/// Segments: all bytes of a datagram are accounted for, and what was read is written the same.
pub fn segments(data: &[u8]) {
    let mut written = Vec::new();
    let mut refused = 0;
    for segment in Segments::new(data) {
        assert_eq!(refused, 0, "nothing comes after an error");
        match segment {
            Ok(segment) => segment.header.write(segment.payload, &mut written),
            Err(_) => refused += 1,
        }
    }
    assert!(data.starts_with(&written));
    assert_eq!(refused, usize::from(written.len() < data.len()));
}

/// The crypt header: what anybody sends is refused or opened, what was sealed opens again.
pub fn crypt(data: &[u8]) {
    for crypt in [Crypt::Plain, Crypt::Aes(Box::new(AesCfb::new(&[7; 32])))] {
        if let Ok(body) = crypt.open(&mut data.to_vec()) {
            assert_eq!(body.len() + HEADER_LEN, data.len());
        }
        let mut datagram = Vec::new();
        Crypt::begin(&mut datagram);
        datagram.extend_from_slice(data);
        crypt.seal(&mut datagram, [9; NONCE_LEN]);
        let opened = crypt.open(&mut datagram).map(<[u8]>::to_vec).ok();
        assert_eq!(opened.as_deref(), (data.len() >= segment::HEADER_LEN).then_some(data));
    }
}

/// Frames: no more bytes come out than went in, and the reader keeps no more than one frame. The first byte is the length
/// of the messages.
pub fn frames(data: &[u8]) {
    let Some((len, data)) = data.split_first() else { return };
    let (mut reader, mut pool, mut frames) = (FrameReader::new(), PacketPool::new(4), Vec::new());
    for message in data.chunks(usize::from(*len) + 1) {
        reader.read(Packet::from(message), &mut pool, &mut frames);
    }
    let bytes: usize = frames.iter().map(frame_len).sum();
    assert!(bytes <= data.len(), "{bytes} bytes of frames from {}", data.len());
}

fn frame_len(frame: &Frame) -> usize {
    match frame {
        Frame::Hello(_) => super::frame::HELLO_LEN,
        Frame::LinkDown { .. } => super::frame::LINK_DOWN_LEN,
        Frame::Ip(packet) => packet.len(),
    }
}

/// One end of a conversation under whatever its peer sends: `data` is a sequence of datagrams, each led by its length and by
/// how many milliseconds pass before it.
pub fn hostile_peer(data: &[u8]) {
    let mut end = End::new(Time::ZERO);
    let mut rest = data;
    let mut now = Time::ZERO;
    while let [len, wait_ms, following @ ..] = rest {
        let (datagram, following) = following.split_at(usize::from(*len).min(following.len()));
        rest = following;
        now += Duration::from_millis(u64::from(*wait_ms));
        end.send_next();
        let datagram = addressed(datagram);
        let summary = end.kcp.input(now, &datagram, &mut end.pool);
        assert!(summary.new_pushes as usize <= datagram.len() / segment::HEADER_LEN);
        end.kcp.handle_timeout(now);
        end.transmit(now);
        while end.kcp.recv(&mut end.pool).is_some() {}
        assert!(end.kcp.stats().in_flight_segments <= u32::from(end.kcp.config().send_window));
    }
    let queued = end.sent - end.kcp.stats().segments_acked;
    assert_eq!(end.kcp.into_unacknowledged().count() as u64, queued);
}

/// The datagram, its first segment of the end's conversation.
fn addressed(datagram: &[u8]) -> Vec<u8> {
    let mut datagram = datagram.to_vec();
    if let Some(conv) = datagram.first_chunk_mut() {
        *conv = CONV.to_le_bytes();
    }
    datagram
}

/// Two ends and a network that does what `data` says, one operation a byte: every message arrives once, in order.
pub fn operations(data: &[u8]) {
    let mut now = Time::from_millis(u64::from(u32::MAX) - 2_000);
    let mut ends = [End::new(now), End::new(now)];
    // What is under way to either end.
    let mut wires: [Vec<Vec<u8>>; 2] = [Vec::new(), Vec::new()];
    for byte in data {
        let (operation, side, pick) = (byte >> 5, usize::from(byte >> 4 & 1), usize::from(byte & 15));
        let (end, wire) = (&mut ends[side], &mut wires[side]);
        match operation {
            0 | 1 => end.send_next(),
            2 => {
                let sent = end.transmit(now);
                wires[1 - side].extend(sent);
            }
            3 if !wire.is_empty() => end.input(now, &wire.remove(pick % wire.len())),
            4 if !wire.is_empty() => drop(wire.remove(pick % wire.len())),
            5 if !wire.is_empty() => end.input(now, &wire[pick % wire.len()]),
            6 => {
                now += Duration::from_millis(1 << pick.min(10));
                end.kcp.handle_timeout(now);
            }
            7 => end.read_all(),
            _ => {}
        }
    }
    settle(&mut ends, wires, now);
}

/// Lets an honest network bring the rest over.
fn settle(ends: &mut [End; 2], mut wires: [Vec<Vec<u8>>; 2], mut now: Time) {
    for _ in 0..2_000 {
        for side in 0..2 {
            let sent = ends[side].transmit(now);
            wires[1 - side].extend(sent);
            for datagram in std::mem::take(&mut wires[side]) {
                ends[side].input(now, &datagram);
            }
            ends[side].read_all();
            ends[side].kcp.handle_timeout(now);
        }
        if ends[0].read == ends[1].sent && ends[1].read == ends[0].sent {
            return;
        }
        now += Duration::from_millis(500);
    }
    assert_eq!((ends[0].read, ends[1].read), (ends[1].sent, ends[0].sent), "something never arrived");
}

/// One end, and the numbers of the messages it has sent and read.
struct End {
    kcp: Kcp,
    pool: PacketPool,
    sent: u64,
    read: u64,
}

impl End {
    fn new(now: Time) -> Self {
        let config =
            Config { send_window: 16, receive_window: 16, first_sn: u32::MAX - 8, ..Config::default() };
        Self { kcp: Kcp::new(CONV, config, now), pool: PacketPool::new(16), sent: 0, read: 0 }
    }

    fn send_next(&mut self) {
        let message = self.pool.copy_of(&self.sent.to_le_bytes());
        if self.kcp.has_room() && self.kcp.send(message).is_ok() {
            self.sent += 1;
        }
    }

    fn transmit(&mut self, now: Time) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        loop {
            let mut datagram = Vec::new();
            let len = self.kcp.poll_transmit(now, &mut datagram);
            assert!(len == datagram.len() && len <= self.kcp.config().mtu);
            if len == 0 {
                return sent;
            }
            sent.push(datagram);
            assert!(sent.len() < 1_000, "it sends without end");
        }
    }

    fn input(&mut self, now: Time, datagram: &[u8]) {
        let summary = self.kcp.input(now, datagram, &mut self.pool);
        assert_eq!(summary.error, None, "an honest peer was refused");
    }

    fn read_all(&mut self) {
        while let Some(message) = self.kcp.recv(&mut self.pool) {
            assert_eq!(message.as_slice(), self.read.to_le_bytes(), "not the next message");
            self.read += 1;
            self.pool.put(message);
        }
    }
}

/// An entry point and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of the above.
pub const ALL: [Target; 5] = [
    ("segments", segments),
    ("crypt", crypt),
    ("frames", frames),
    ("hostile_peer", hostile_peer),
    ("operations", operations),
];
