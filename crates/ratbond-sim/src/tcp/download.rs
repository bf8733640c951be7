//! Downloads that a caller steps through.

use std::time::Duration;

use ratbond_proto::Role;

use super::Tcp;
use crate::pair::{Pair, flow_of};

/// Runs transfers for a while; returns the goodput of each in bits per second.
pub fn download(pair: &mut Pair, flows: &mut [Tcp], duration: Duration) -> Vec<f64> {
    download_beside(pair, flows, duration, |_| {})
}

/// The same, with `beside` called before each step, for what is to happen meanwhile. What other flows deliver is put into
/// the pair's lists.
pub fn download_beside(
    pair: &mut Pair,
    flows: &mut [Tcp],
    duration: Duration,
    mut beside: impl FnMut(&mut Pair),
) -> Vec<f64> {
    let before: Vec<u64> = flows.iter().map(Tcp::delivered_bytes).collect();
    let (start, end) = (pair.now, pair.now + duration);
    while pair.now < end {
        beside(pair);
        for flow in flows.iter_mut() {
            flow.send(pair);
        }
        pair.advance((pair.now + Duration::from_millis(1)).min(end));
        receive(pair, flows);
    }
    let seconds = (end - start).as_secs_f64();
    let goodput = |(flow, before): (&Tcp, u64)| (flow.delivered_bytes() - before) as f64 * 8.0 / seconds;
    flows.iter().zip(before).map(goodput).collect()
}

/// Hands transfers what came out for them; what is for others is put into the pair's lists.
pub(crate) fn receive(pair: &mut Pair, flows: &mut [Tcp]) {
    hand_out(pair, flows, Role::Client);
    for flow in flows.iter_mut() {
        flow.send_due_acknowledgement(pair);
    }
    hand_out(pair, flows, Role::Server);
}

fn hand_out(pair: &mut Pair, flows: &mut [Tcp], at: Role) {
    for (when, packet) in std::mem::take(&mut pair.end(at).delivered) {
        let id = flow_of(&packet);
        match flows.iter_mut().find(|flow| flow.id() == id) {
            Some(flow) => flow.take(pair, at, &packet),
            None if at == Role::Client => pair.client_others.push((when, packet)),
            None => pair.server_others.push((when, packet)),
        }
    }
}
