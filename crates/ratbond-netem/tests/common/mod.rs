//! What every test of the link needs: virtual time.

use ratbond_netem::{Link, LinkConfig};

/// One millisecond.
pub const MS: u64 = 1_000_000;

/// Steps from deadline to deadline until the link is empty, and says what arrived when.
pub fn drain<P: Clone>(link: &mut Link<P>) -> Vec<(u64, P)> {
    let mut arrived = Vec::new();
    while let Some(now_ns) = link.next_deadline() {
        while let Some(packet) = link.poll(now_ns) {
            arrived.push((now_ns, packet));
        }
    }
    arrived
}

/// Sends `count` numbered packets of 1,000 bytes, `interval_ns` apart, and says what arrived when.
#[allow(dead_code)] // not every test binary has a stream
pub fn constant_stream(config: LinkConfig, count: u32, interval_ns: u64) -> Vec<(u64, u32)> {
    let mut link = Link::new(config, 42).expect("a valid configuration");
    let mut arrived = Vec::new();
    for number in 0..count {
        let now_ns = u64::from(number) * interval_ns;
        while let Some(due_ns) = link.next_deadline().filter(|due_ns| *due_ns <= now_ns) {
            while let Some(packet) = link.poll(due_ns) {
                arrived.push((due_ns, packet));
            }
        }
        link.send(now_ns, 1_000, number);
    }
    arrived.extend(drain(&mut link));
    arrived
}
