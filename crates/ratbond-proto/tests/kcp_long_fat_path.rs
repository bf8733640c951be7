//! A conversation with 30,000 segments in flight over 1 Gbit/s and 250 ms, in virtual time.

#![allow(clippy::unwrap_used, reason = "tests")]

mod kcp_support;

use std::time::Duration;

use kcp_support::{End, Pair, ms};
use ratbond_netem::{LinkConfig, QueueLimit};
use ratbond_proto::Time;
use ratbond_proto::kcp::Config;

const PAYLOAD: [u8; 1_336] = [0x5a; 1_336];
/// Of 1,408 bytes on the wire (IPv4, UDP, crypt header, segment header) 1,336 are payload.
const BEST_BPS: f64 = 1e9 * 1_336.0 / 1_408.0;

/// The goodput of the third and fourth second, as a part of the best possible, and the most segments seen in flight.
fn goodput_over_long_fat_path(window: u16, in_flight_limit: u32, loss: f64) -> (f64, u32) {
    let link = LinkConfig {
        rate_bps: 1_000_000_000,
        overhead_bytes: 20,
        delay_ns: ms(125),
        queue: QueueLimit::Nanos(ms(700)),
        loss,
        ..LinkConfig::default()
    };
    let config = Config { send_window: window, receive_window: window, ..Config::default() };
    let mut pair = Pair::ours(config, link, 1);
    pair.a.kcp.set_in_flight_limit(u64::from(in_flight_limit) * 1_360);
    let mut read_bytes_after = |seconds: u64, most: &mut u32| {
        let mut read_bytes = 0;
        loop {
            while pair.a.has_room() {
                pair.a.send(&PAYLOAD);
            }
            let going_on = pair.step(Time::ZERO + Duration::from_secs(seconds));
            while let Some(message) = pair.b.recv() {
                read_bytes += message.len();
            }
            *most = (*most).max(pair.a.kcp.stats().in_flight_segments);
            pair.a.summaries.clear();
            pair.b.summaries.clear();
            if !going_on {
                return read_bytes;
            }
        }
    };
    let mut most = 0;
    read_bytes_after(2, &mut most);
    let goodput_bps = read_bytes_after(4, &mut most) as f64 * 8.0 / 2.0;
    (goodput_bps / BEST_BPS, most)
}

#[test]
fn thirty_thousand_segments_in_flight_hold_the_rate() {
    let (part, most) = goodput_over_long_fat_path(30_000, 30_000, 0.0);
    println!("{:.1} % of the rate, {most} in flight", part * 100.0);
    assert!(part >= 0.9, "{:.1} % of the rate", part * 100.0);
    assert_eq!(most, 30_000);
}

/// A segment that is sent again holds una back for a round trip more: the largest window KCP can tell.
#[test]
fn loss_does_not_lower_the_rate_while_the_window_holds_twice_the_path() {
    let (part, most) = goodput_over_long_fat_path(65_535, 25_000, 0.0005);
    println!("{:.1} % of the rate, {most} in flight", part * 100.0);
    assert!(part >= 0.9, "{:.1} % of the rate", part * 100.0);
}
