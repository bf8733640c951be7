//! What a sender learns from the ACKs of segments it has sent again, or was about to.

#![allow(clippy::unwrap_used, reason = "tests")]

mod kcp_support;

use std::time::Duration;

use kcp_support::{CONV, packet};
use ratbond_proto::kcp::segment::{Cmd, HEADER_LEN, Header};
use ratbond_proto::kcp::{Config, InputSummary, Kcp};
use ratbond_proto::{PacketPool, Time};

fn sender() -> Kcp {
    Kcp::new(CONV, Config::default(), Time::ZERO)
}

/// Sends `count` new segments in a datagram; returns its bytes.
fn send(kcp: &mut Kcp, at_ms: u64, count: u8) -> usize {
    for index in 0..count {
        kcp.send(packet(&[index])).unwrap();
    }
    kcp.poll_transmit(Time::from_millis(at_ms), &mut Vec::new())
}

/// ACKs of these sn and ts, with una.
fn acknowledge(kcp: &mut Kcp, at_ms: u64, una: u32, acks: &[(u32, u32)]) -> InputSummary {
    let mut datagram = Vec::new();
    for (sn, ts) in acks {
        Header { conv: CONV, cmd: Cmd::Ack, frg: 0, wnd: 1_024, ts: *ts, sn: *sn, una }
            .write(&[], &mut datagram);
    }
    kcp.input(Time::from_millis(at_ms), &datagram, &mut PacketPool::new(0))
}

#[test]
fn an_ack_names_the_transmission_that_arrived_by_its_ts() {
    for (ts, rtt_ms, needless) in [(0, 250, 1), (200, 50, 0)] {
        let mut kcp = sender();
        send(&mut kcp, 0, 1);
        assert_eq!(kcp.poll_timeout(), Some(Time::from_millis(200)));
        assert!(kcp.handle_timeout(Time::from_millis(200)).timed_out);
        assert_eq!(send(&mut kcp, 200, 0), HEADER_LEN + 1);
        let summary = acknowledge(&mut kcp, 250, 1, &[(0, ts)]);
        assert_eq!(summary.rtt, Some(Duration::from_millis(rtt_ms)));
        assert_eq!(kcp.stats().spurious_retransmits, needless);
    }
}

#[test]
fn una_does_not_tell_the_round_trip_of_a_segment_that_was_sent_twice() {
    let mut kcp = sender();
    send(&mut kcp, 0, 1);
    kcp.handle_timeout(Time::from_millis(200));
    send(&mut kcp, 200, 0);
    let tell = Header { conv: CONV, cmd: Cmd::WindowTell, frg: 0, wnd: 1_024, ts: 0, sn: 0, una: 1 };
    let mut datagram = Vec::new();
    tell.write(&[], &mut datagram);
    let summary = kcp.input(Time::from_millis(250), &datagram, &mut PacketPool::new(0));
    assert_eq!((summary.newly_acked_segments, summary.rtt), (1, None));
}

#[test]
fn two_later_acks_show_a_loss_until_one_was_wrong() {
    let mut kcp = sender();
    send(&mut kcp, 0, 4);
    let summary = acknowledge(&mut kcp, 40, 0, &[(2, 0), (3, 0)]);
    assert_eq!(summary.lost.segments, 2);
    // They were only late, and arrive before they were sent again.
    let summary = acknowledge(&mut kcp, 41, 4, &[(3, 0)]);
    assert_eq!((summary.newly_acked_segments, kcp.waiting()), (2, 0));
    assert_eq!(send(&mut kcp, 50, 0), 0, "nothing is sent again");
    send(&mut kcp, 50, 4);
    let summary = acknowledge(&mut kcp, 90, 4, &[(6, 50), (7, 50)]);
    assert_eq!(summary.lost.segments, 0, "time decides now");
    assert!(kcp.poll_timeout() < Some(Time::from_millis(125)));
    assert_eq!(kcp.handle_timeout(Time::from_millis(125)).segments, 2);
}

#[test]
fn a_timeout_repeats_two_segments_and_their_answer_shows_the_rest() {
    let mut kcp = sender();
    send(&mut kcp, 0, 10);
    let lost = kcp.handle_timeout(Time::from_millis(200));
    assert_eq!((lost.segments, lost.timed_out), (2, true));
    send(&mut kcp, 200, 0);
    let summary = acknowledge(&mut kcp, 240, 2, &[(1, 200)]);
    assert_eq!(summary.lost.segments, 8);
    assert_eq!(send(&mut kcp, 240, 0), 8 * (HEADER_LEN + 1));
}

#[test]
fn timeouts_in_a_row_wait_half_as_long_again() {
    let mut kcp = sender();
    send(&mut kcp, 0, 1);
    let mut waits_ms = Vec::new();
    let mut last = Time::ZERO;
    for _ in 0..6 {
        let at = kcp.poll_timeout().unwrap();
        waits_ms.push((at - last).as_millis());
        last = at;
        kcp.handle_timeout(at);
        kcp.poll_transmit(at, &mut Vec::new());
    }
    assert_eq!(waits_ms, [200, 300, 450, 675, 1_012, 1_518]);
}
