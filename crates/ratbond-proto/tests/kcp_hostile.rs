//! What a hostile or broken peer sends is dropped, costs nothing lasting, and does not hurt the conversation.

#![allow(clippy::unwrap_used, reason = "tests")]

mod kcp_support;

use std::time::Duration;

use kcp_support::{CONV, packet};
use ratbond_proto::kcp::conversation::InputError;
use ratbond_proto::kcp::segment::{Cmd, Header, SegmentError, Segments};
use ratbond_proto::kcp::{Config, InputSummary, Kcp};
use ratbond_proto::{PacketPool, Time};

/// A conversation that has sent sn 0 to 9 at t = 0 and heard nothing.
struct Victim {
    kcp: Kcp,
    pool: PacketPool,
}

impl Victim {
    fn new() -> Self {
        let mut kcp = Kcp::new(CONV, Config::default(), Time::ZERO);
        let mut datagram = Vec::new();
        for index in 0..10 {
            kcp.send(packet(&[index; 100])).unwrap();
        }
        while kcp.poll_transmit(Time::ZERO, &mut datagram) > 0 {}
        Self { kcp, pool: PacketPool::new(16) }
    }

    fn input(&mut self, at_ms: u64, header: Header, payload: &[u8]) -> InputSummary {
        let mut datagram = Vec::new();
        header.write(payload, &mut datagram);
        self.kcp.input(Time::from_millis(at_ms), &datagram, &mut self.pool)
    }

    /// Everything it wants to send, as headers.
    fn sent(&mut self, at_ms: u64) -> Vec<Header> {
        let mut datagrams = Vec::new();
        while self.kcp.poll_transmit(Time::from_millis(at_ms), &mut datagrams) > 0 {}
        Segments::new(&datagrams).map(|segment| segment.unwrap().header).collect()
    }
}

fn header(cmd: Cmd) -> Header {
    Header { conv: CONV, cmd, frg: 0, wnd: 1_024, ts: 0, sn: 0, una: 0 }
}

#[test]
fn acknowledging_what_was_never_sent_is_refused() {
    for una in [11, 1 << 20, 0x7fff_ffff] {
        let mut victim = Victim::new();
        let summary = victim.input(20, Header { una, ..header(Cmd::WindowTell) }, b"");
        assert_eq!(summary.error, Some(InputError::NeverSent), "una {una}");
        assert_eq!((summary.newly_acked_segments, victim.kcp.waiting()), (0, 10));
    }
    for sn in [10, 11, 1 << 20, 0x7fff_ffff] {
        let mut victim = Victim::new();
        let summary = victim.input(20, Header { sn, ..header(Cmd::Ack) }, b"");
        assert_eq!(summary.error, Some(InputError::NeverSent), "sn {sn}");
        assert_eq!((summary.newly_acked_segments, victim.kcp.waiting()), (0, 10));
    }
}

#[test]
fn an_old_una_changes_nothing() {
    let mut victim = Victim::new();
    victim.input(20, Header { una: 5, wnd: 77, ..header(Cmd::WindowTell) }, b"");
    for una in [4, 0, u32::MAX, 0x8000_000b] {
        let summary = victim.input(21, Header { una, wnd: 0, ..header(Cmd::WindowTell) }, b"");
        assert_eq!((summary.error, summary.newly_acked_segments, victim.kcp.waiting()), (None, 0, 5));
    }
    // Nor did its window count: it is older than the one already known.
    victim.kcp.send(packet(b"more")).unwrap();
    assert_eq!(victim.sent(21).len(), 1);
}

#[test]
fn an_invented_ts_gives_no_round_trip() {
    let mut victim = Victim::new();
    let summary = victim.input(20, Header { sn: 3, ts: 0xdead_beef, ..header(Cmd::Ack) }, b"");
    assert_eq!((summary.newly_acked_segments, summary.rtt), (1, None));
    let summary = victim.input(20, Header { sn: 4, ts: 0, ..header(Cmd::Ack) }, b"");
    assert_eq!(summary.rtt, Some(Duration::from_millis(20)));
}

#[test]
fn another_conversation_is_refused() {
    let mut victim = Victim::new();
    let summary = victim.input(20, Header { conv: CONV + 1, una: 10, ..header(Cmd::Push) }, b"data");
    assert_eq!(summary.error, Some(InputError::OtherConversation(CONV + 1)));
    assert_eq!((victim.kcp.waiting(), victim.kcp.stats().malformed), (10, 1));
}

#[test]
fn segments_before_a_malformed_one_count_and_none_after_it() {
    let mut victim = Victim::new();
    let mut datagram = Vec::new();
    header(Cmd::Push).write(b"good", &mut datagram);
    Header { sn: 1, ..header(Cmd::Push) }.write(b"bad", &mut datagram);
    let at = datagram.len() - 3 - 4;
    datagram[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    Header { sn: 2, ..header(Cmd::Push) }.write(b"never seen", &mut datagram);
    let summary = victim.kcp.input(Time::ZERO, &datagram, &mut victim.pool);
    assert!(matches!(summary.error, Some(InputError::Segment(SegmentError::Length { len: u32::MAX, .. }))));
    assert_eq!((summary.segments, summary.new_pushes), (1, 1));
    assert_eq!(victim.kcp.recv(&mut victim.pool), Some(packet(b"good")));
    assert_eq!(victim.kcp.recv(&mut victim.pool), None);
}

#[test]
fn a_push_beyond_the_window_is_dropped_without_an_ack() {
    for sn in [1_024, 1_025, 1 << 20, 0x7fff_ffff] {
        let mut victim = Victim::new();
        let summary = victim.input(20, Header { sn, ..header(Cmd::Push) }, b"far");
        assert_eq!(summary.out_of_window_pushes, 1, "sn {sn}");
        assert_eq!(victim.sent(50), []);
    }
    let mut victim = Victim::new();
    assert_eq!(victim.input(20, Header { sn: 1_023, ..header(Cmd::Push) }, b"edge").new_pushes, 1);
    assert_eq!(victim.sent(50).len(), 1);
}

#[test]
fn a_push_from_the_past_is_acknowledged_again() {
    let mut victim = Victim::new();
    for sn in 0..3 {
        victim.input(20, Header { sn, ..header(Cmd::Push) }, b"data");
    }
    assert_eq!(victim.sent(30).len(), 1);
    let summary = victim.input(40, Header { sn: 1, ts: 99, ..header(Cmd::Push) }, b"data");
    assert_eq!((summary.new_pushes, summary.duplicate_pushes), (0, 1));
    let acks = victim.sent(42);
    assert_eq!(acks.len(), 1);
    assert_eq!((acks[0].cmd, acks[0].sn, acks[0].ts, acks[0].una), (Cmd::Ack, 1, 99, 3));
}

#[test]
fn oversized_segments_and_messages_are_refused() {
    let mut victim = Victim::new();
    let summary = victim.input(20, header(Cmd::Push), &[0; 2_049]);
    assert_eq!(summary.error, Some(InputError::TooLong));
    let config = Config { receive_window: 32, ..Config::default() };
    let mut kcp = Kcp::new(CONV, config, Time::ZERO);
    let mut datagram = Vec::new();
    Header { frg: 32, ..header(Cmd::Push) }.write(b"of 33", &mut datagram);
    let summary = kcp.input(Time::ZERO, &datagram, &mut victim.pool);
    assert_eq!(summary.error, Some(InputError::TooLong));
}

#[test]
fn a_flood_of_tiny_segments_owes_no_more_acks_than_the_window() {
    let mut victim = Victim::new();
    for round in 0..2_000_u32 {
        let mut datagram = Vec::new();
        for index in 0..56 {
            // Spread over the window, most of them again and again, with a hole at 0 so that each is acknowledged.
            Header { sn: 1 + (round * 56 + index) % 1_023, ..header(Cmd::Push) }.write(b"", &mut datagram);
        }
        victim.kcp.input(Time::ZERO, &datagram, &mut victim.pool);
    }
    assert_eq!(victim.kcp.stats().pushes_received, 1_023);
    let sent = victim.sent(10);
    assert!(sent.len() <= 1_024, "{} segments in answer", sent.len());
    assert_eq!(victim.sent(20), []);
}

#[test]
fn fragments_without_an_end_fill_the_window_and_no_more() {
    let mut victim = Victim::new();
    for sn in 0..5_000 {
        victim.input(20, Header { sn, frg: 255, ..header(Cmd::Push) }, b"part");
    }
    assert_eq!(victim.kcp.recv(&mut victim.pool), None);
    assert_eq!(victim.kcp.stats().pushes_received, 1_024);
}

#[test]
fn questions_for_the_window_are_answered_once_a_datagram() {
    let mut victim = Victim::new();
    let mut datagram = Vec::new();
    for _ in 0..50 {
        header(Cmd::WindowAsk).write(b"", &mut datagram);
    }
    victim.kcp.input(Time::ZERO, &datagram, &mut victim.pool);
    let answers = victim.sent(0);
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].cmd, answers[0].wnd), (Cmd::WindowTell, 1_024));
}
