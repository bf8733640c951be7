//! Inner addresses: which networks belong to whom, and what the two ends of a session are called inside the tunnel.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::endpoint::SessionId;

/// The inner addresses of a session's two ends in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends<A> {
    /// The client's.
    pub client: A,
    /// The server's.
    pub server: A,
    /// Length of the prefix that both are in.
    pub prefix_len: u8,
}

/// What a server gives a client to be called inside the tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// IPv4.
    pub v4: Option<Ends<Ipv4Addr>>,
    /// IPv6.
    pub v6: Option<Ends<Ipv6Addr>>,
}

impl Assignment {
    /// The networks that both ends are in.
    pub fn networks(&self) -> impl Iterator<Item = Network> {
        let v4 = self.v4.and_then(|ends| Network::new(ends.client.into(), ends.prefix_len));
        let v6 = self.v6.and_then(|ends| Network::new(ends.client.into(), ends.prefix_len));
        v4.into_iter().chain(v6)
    }

    /// The client's own addresses with the length of their prefix.
    pub fn of_client(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        let v4 = self.v4.map(|ends| (ends.client.into(), ends.prefix_len));
        let v6 = self.v6.map(|ends| (ends.client.into(), ends.prefix_len));
        v4.into_iter().chain(v6)
    }
}

/// An IP network: a prefix. Its host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    first: Key,
    last: Key,
}

/// Family and number of an address: families never mix, an IPv4-mapped IPv6 address included.
type Key = (u8, u128);

impl Network {
    /// The network that `address` is in; `None` when the prefix is longer than an address.
    #[must_use]
    pub fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        let host_bits = bits.checked_sub(prefix_len)?;
        let hosts = if host_bits == 128 { u128::MAX } else { (1 << host_bits) - 1 };
        let (family, number) = key(address);
        Some(Self { first: (family, number & !hosts), last: (family, number | hosts) })
    }

    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        (self.first..=self.last).contains(&key(address))
    }
}

/// Whose network an address is in. A lookup takes time logarithmic in the number of networks.
#[derive(Debug, Default)]
pub struct NetworkTable {
    by_first: BTreeMap<Key, (Key, Owner)>,
}

/// Whose a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The session of its client.
    pub session: SessionId,
    /// Whether packets may go between it and other clients' networks.
    pub reaches_clients: bool,
}

impl NetworkTable {
    /// Adds a network, and returns whether it was free: one that overlaps another stays out.
    pub fn insert(&mut self, network: Network, owner: Owner) -> bool {
        let before = self.by_first.range(..=network.last).next_back();
        let free = before.is_none_or(|(_, &(last, _))| last < network.first);
        if free {
            self.by_first.insert(network.first, (network.last, owner));
        }
        free
    }

    /// Whose network an address is in.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<Owner> {
        let wanted = key(address);
        let (_, &(last, owner)) = self.by_first.range(..=wanted).next_back()?;
        (wanted <= last).then_some(owner)
    }
}

/// Source and destination of an IP packet; `None` when the bytes are none.
#[must_use]
pub fn ends_of(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => {
            let address =
                |at: usize| IpAddr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
            Some((address(12), address(16)))
        }
        6 if packet.len() >= 40 => {
            let address = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).ok().map(IpAddr::from);
            Some((address(8)?, address(24)?))
        }
        _ => None,
    }
}

fn key(address: IpAddr) -> Key {
    match address {
        IpAddr::V4(v4) => (4, u128::from(u32::from(v4))),
        IpAddr::V6(v6) => (6, u128::from(v6)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        let (address, len) = text.split_once('/').unwrap();
        Network::new(address.parse().unwrap(), len.parse().unwrap()).unwrap()
    }

    fn owner(session: u32) -> Owner {
        Owner { session: SessionId(session), reaches_clients: false }
    }

    #[test]
    fn an_address_is_found_in_the_network_it_is_in_and_in_no_other() {
        let mut table = NetworkTable::default();
        assert!(table.insert(network("10.10.0.0/30"), owner(1)));
        assert!(table.insert(network("10.10.0.4/30"), owner(2)));
        assert!(table.insert(network("fd00::/126"), owner(3)));
        let session = |address: &str| table.owner(address.parse().unwrap()).map(|owner| owner.session.0);
        assert_eq!(session("10.10.0.3"), Some(1));
        assert_eq!(session("10.10.0.4"), Some(2));
        assert_eq!(session("10.10.0.8"), None);
        assert_eq!(session("fd00::3"), Some(3));
        assert_eq!(session("fd00::4"), None);
        assert_eq!(session("::ffff:10.10.0.1"), None, "a mapped address is no IPv4 address");
    }

    #[test]
    fn a_network_that_overlaps_another_stays_out() {
        let mut table = NetworkTable::default();
        assert!(table.insert(network("10.10.0.4/30"), owner(1)));
        for overlapping in ["10.10.0.4/30", "10.10.0.0/16", "10.10.0.6/32", "0.0.0.0/0"] {
            assert!(!table.insert(network(overlapping), owner(2)), "{overlapping}");
        }
        assert_eq!(table.owner("10.10.0.6".parse().unwrap()), Some(owner(1)));
    }

    #[test]
    fn a_prefix_longer_than_an_address_is_no_network() {
        assert_eq!(Network::new(Ipv4Addr::LOCALHOST.into(), 33), None);
        assert_eq!(Network::new(Ipv6Addr::LOCALHOST.into(), 129), None);
        assert!(network("::/0").contains("ffff::1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn a_table_agrees_with_asking_every_network(
            networks in prop::collection::vec((any::<u16>(), 20u8..=32), 0..40),
            addresses in prop::collection::vec(any::<u16>(), 40),
        ) {
            let host = |low: u16| IpAddr::from(Ipv4Addr::from(0x0a0a_0000 | u32::from(low)));
            let mut table = NetworkTable::default();
            let mut kept = Vec::new();
            for (number, &(low, len)) in networks.iter().enumerate() {
                let network = Network::new(host(low), len).unwrap();
                if table.insert(network, owner(number as u32)) {
                    kept.push((network, owner(number as u32)));
                }
            }
            for low in addresses {
                let owners: Vec<_> = kept.iter().filter(|(network, _)| network.contains(host(low))).collect();
                prop_assert!(owners.len() <= 1);
                prop_assert_eq!(table.owner(host(low)), owners.first().map(|(_, owner)| *owner));
            }
        }

        #[test]
        fn no_bytes_make_the_reader_of_addresses_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = ends_of(&bytes);
        }
    }
}
