//! Datagrams on their way to the kernel, gathered so that those that go the same way leave in one system call.

use ratbond_proto::Time;
use ratbond_proto::endpoint::Endpoint;
use ratbond_proto::link::Route;

use crate::udp::Run;

const MAX_DATAGRAMS: usize = 64;
/// The kernel refuses a super-datagram whose IP packet would be longer than 65,535 bytes.
const MAX_RUN_BYTES: usize = 65_000;
const MAX_RUN_SEGMENTS: usize = 64;

/// One batch of datagrams, back to back in one buffer.
#[derive(Debug, Default)]
pub(super) struct TransmitBatch {
    bytes: Vec<u8>,
    datagrams: Vec<(Route, usize)>,
    /// Whether the last batch was full, so that more may wait.
    pub has_more: bool,
}

impl TransmitBatch {
    /// Takes what the endpoint has, up to a batch; returns whether there is anything to send.
    pub(super) fn fill(&mut self, now: Time, endpoint: &mut dyn Endpoint) -> bool {
        self.bytes.clear();
        self.datagrams.clear();
        while self.datagrams.len() < MAX_DATAGRAMS {
            let before = self.bytes.len();
            let Some(route) = endpoint.poll_transmit(now, &mut self.bytes) else { break };
            self.datagrams.push((route, self.bytes.len() - before));
        }
        self.has_more = self.datagrams.len() == MAX_DATAGRAMS;
        !self.datagrams.is_empty()
    }

    /// The batch cut into runs of the same way and size.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        let mut start = 0;
        let mut rest = &self.datagrams[..];
        std::iter::from_fn(move || {
            let (&(route, segment), _) = rest.split_first()?;
            let (count, bytes) = run_length(rest);
            let run = Run { route, segment, bytes: &self.bytes[start..start + bytes] };
            start += bytes;
            rest = &rest[count..];
            Some(run)
        })
    }
}

/// How many datagrams, and bytes, make the first run: one shorter datagram ends it.
fn run_length(datagrams: &[(Route, usize)]) -> (usize, usize) {
    let (route, segment) = datagrams[0];
    let (mut count, mut bytes) = (0, 0);
    for &(next_route, len) in datagrams.iter().take(MAX_RUN_SEGMENTS) {
        if next_route != route || len > segment || bytes + len > MAX_RUN_BYTES {
            break;
        }
        count += 1;
        bytes += len;
        if len < segment {
            break;
        }
    }
    (count.max(1), bytes.max(segment))
}

#[cfg(test)]
mod tests {
    use ratbond_proto::link::SocketId;

    use super::*;

    fn lengths(datagrams: &[(u32, usize)]) -> Vec<(u32, usize)> {
        let remote = ([127, 0, 0, 1], 1).into();
        let route = |socket| Route { socket: SocketId(socket), remote, local: None };
        let datagrams: Vec<_> = datagrams.iter().map(|&(socket, len)| (route(socket), len)).collect();
        let bytes = vec![0; datagrams.iter().map(|(_, len)| len).sum()];
        let batch = TransmitBatch { bytes, datagrams, has_more: false };
        batch.runs().map(|run| (run.route.socket.0, run.bytes.len())).collect()
    }

    #[test]
    fn equal_datagrams_of_one_route_leave_together_and_a_shorter_one_ends_the_run() {
        assert_eq!(lengths(&[(0, 10), (0, 10), (0, 4), (0, 10)]), [(0, 24), (0, 10)]);
    }

    #[test]
    fn a_longer_datagram_or_another_route_starts_a_new_run() {
        assert_eq!(lengths(&[(0, 10), (0, 12), (1, 12), (1, 12)]), [(0, 10), (0, 12), (1, 24)]);
    }

    #[test]
    fn no_run_is_longer_than_an_ip_packet_may_be() {
        assert!(lengths(&[(0, 1400); 64]).iter().all(|&(_, bytes)| bytes <= MAX_RUN_BYTES));
    }
}
