//! The server's stateless challenge: a cookie that only somebody who gets datagrams at an address can show.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::Time;
use crate::bond::datagram::ReceiverIndex;
use crate::bond::kdf::{self, MacKey};
use crate::bond::secret::Secret32;

use super::message::COOKIE_LEN;

/// How long one cookie key is used. A cookie is good for one to two of these.
pub const COOKIE_KEY_LIFETIME: Duration = Duration::from_secs(60);

/// Makes and checks cookies. Holds nothing per client: the key of each minute is derived from the seed, so that all
/// workers of a server that share a seed and an origin of time accept each other's.
#[derive(Debug)]
pub struct Cookies {
    seed: Secret32,
}

impl Cookies {
    /// Cookies under keys derived from `seed`, which is random for each start of the server.
    #[must_use]
    pub const fn new(seed: Secret32) -> Self {
        Self { seed }
    }

    /// The cookie for a client at `address` that wants to be addressed as `sender`.
    #[must_use]
    pub fn make(&self, now: Time, address: SocketAddr, sender: ReceiverIndex) -> [u8; COOKIE_LEN] {
        let (bytes, len) = bound(address, sender);
        self.key(period(now)).tag(&[&bytes[..len]])
    }

    /// Whether `cookie` was made for this address and index in this period or the one before.
    #[must_use]
    pub fn check(&self, now: Time, address: SocketAddr, sender: ReceiverIndex, cookie: &[u8]) -> bool {
        let (bytes, len) = bound(address, sender);
        let period = period(now);
        [Some(period), period.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|period| self.key(period).verify(&[&bytes[..len]], cookie))
    }

    fn key(&self, period: u64) -> MacKey {
        MacKey::new(&kdf::expand_secret(&self.seed, "cookie", &period.to_be_bytes()))
    }
}

fn period(now: Time) -> u64 {
    now.as_millis() / 1_000 / COOKIE_KEY_LIFETIME.as_secs()
}

/// Sender index, port, address. An IPv4 client that a dual-stack socket shows as an IPv6 address is the same client.
fn bound(address: SocketAddr, sender: ReceiverIndex) -> ([u8; 22], usize) {
    let mut bytes = [0; 22];
    bytes[..4].copy_from_slice(&sender.0.to_be_bytes());
    bytes[4..6].copy_from_slice(&address.port().to_be_bytes());
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            bytes[6..10].copy_from_slice(&ip.octets());
            (bytes, 10)
        }
        IpAddr::V6(ip) => {
            bytes[6..22].copy_from_slice(&ip.octets());
            (bytes, 22)
        }
    }
}

/// Bounds the work, or the answers, that one address can cause: a token bucket for each of 256 groups of addresses.
///
/// Two addresses may share a bucket; the seed keeps an attacker from choosing whose. An IPv6 client counts as its /64.
#[derive(Debug)]
pub struct RateLimit {
    key: MacKey,
    burst: u32,
    refill: Duration,
    buckets: Vec<(Time, u32)>,
}

const BURST: u32 = 256;
const REFILL: Duration = Duration::from_millis(10);

impl RateLimit {
    /// Full buckets; `seed` is random. Each of the server's `workers` has its share of what one address may cause: it chooses
    /// itself whom its datagrams reach.
    #[must_use]
    pub fn new(seed: &Secret32, workers: u8) -> Self {
        let key = MacKey::new(&kdf::expand_secret(seed, "rate limit", &[]));
        let workers = u32::from(workers.max(1));
        let burst = BURST / workers;
        Self { key, burst, refill: REFILL * workers, buckets: vec![(Time::ZERO, burst); 256] }
    }

    /// Takes one datagram of `address` out of its bucket: 100 a second, 256 at once, of all workers together. False when it is
    /// empty.
    pub fn take(&mut self, now: Time, address: IpAddr) -> bool {
        let group = match address.to_canonical() {
            IpAddr::V4(ip) => self.key.tag(&[&ip.octets()]),
            IpAddr::V6(ip) => self.key.tag(&[&ip.octets()[..8]]),
        };
        let (since, tokens) = &mut self.buckets[usize::from(group[0])];
        let refills = now.saturating_since(*since).as_nanos() / self.refill.as_nanos();
        if refills > 0 {
            *tokens = u32::try_from(refills).unwrap_or(BURST).saturating_add(*tokens).min(self.burst);
            *since = now;
        }
        *tokens = match tokens.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_cookie_is_good_for_its_address_port_and_index_only() {
        let cookies = Cookies::new(Secret32([1; 32]));
        let address: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let cookie = cookies.make(at(5), address, ReceiverIndex(9));
        assert!(cookies.check(at(5), address, ReceiverIndex(9), &cookie));
        assert!(cookies.check(at(5), "[::ffff:192.0.2.1]:4000".parse().unwrap(), ReceiverIndex(9), &cookie));
        assert!(!cookies.check(at(5), "192.0.2.1:4001".parse().unwrap(), ReceiverIndex(9), &cookie));
        assert!(!cookies.check(at(5), "192.0.2.2:4000".parse().unwrap(), ReceiverIndex(9), &cookie));
        assert!(!cookies.check(at(5), address, ReceiverIndex(8), &cookie));
        assert!(!Cookies::new(Secret32([2; 32])).check(at(5), address, ReceiverIndex(9), &cookie));
    }

    #[test]
    fn a_cookie_lasts_one_to_two_minutes() {
        let cookies = Cookies::new(Secret32([1; 32]));
        let address: SocketAddr = "[2001:db8::1]:4000".parse().unwrap();
        let cookie = cookies.make(at(59), address, ReceiverIndex(9));
        assert!(cookies.check(at(119), address, ReceiverIndex(9), &cookie));
        assert!(!cookies.check(at(120), address, ReceiverIndex(9), &cookie));
    }

    #[test]
    fn an_address_that_asks_too_often_is_held_back_and_forgiven() {
        let mut limit = RateLimit::new(&Secret32([3; 32]), 1);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let granted = (0..1_000).filter(|_| limit.take(at(1), address)).count();
        assert_eq!(granted, BURST as usize);
        assert!(limit.take(at(2), address));
    }

    #[test]
    fn workers_grant_an_address_together_what_one_would() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let granted = |workers: u8, later_s: u64| -> usize {
            let mut limits: Vec<_> =
                (0..workers).map(|n| RateLimit::new(&Secret32([n; 32]), workers)).collect();
            let mut take = |at| {
                let of_one = |limit: &mut RateLimit| (0..999).filter(|_| limit.take(at, address)).count();
                limits.iter_mut().map(of_one).sum()
            };
            let _: usize = take(at(1));
            take(at(1 + later_s))
        };
        for workers in [1, 2, 8, 64] {
            assert_eq!(granted(workers, 60), BURST as usize);
            let later = granted(workers, 1);
            assert!((64..=100).contains(&later), "{workers} workers: {later} in a second");
        }
    }
}
