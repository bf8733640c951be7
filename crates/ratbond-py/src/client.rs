//! A server's table of clients, and X25519 keys, as Python writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pyo3::prelude::*;
use ratbond_proto::addressing::{Assignment, Ends, Network};
use ratbond_proto::bond::endpoint::RateCaps;
use ratbond_proto::bond::handshake::public_key;
use ratbond_proto::bond::secret::Secret32;

use crate::error::usage;

/// `NamedClient` of `_core.pyi`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct NamedClient {
    name: String,
    tunnel_id: u16,
    public_key: String,
    psk: String,
    addresses: Vec<(IpAddr, IpAddr, u8)>,
    lan: Vec<(IpAddr, u8)>,
    cap_tx_bps: Option<u64>,
    cap_rx_bps: Option<u64>,
    reaches_clients: bool,
    revoked: bool,
}

impl NamedClient {
    pub(crate) fn into_engine(self) -> PyResult<ratbond_proto::bond::endpoint::NamedClient> {
        let network = |&(address, len): &(IpAddr, u8)| {
            Network::new(address, len).ok_or_else(|| usage(format!("{address}/{len} is no network")))
        };
        Ok(ratbond_proto::bond::endpoint::NamedClient {
            tunnel_id: self.tunnel_id,
            public_key: parse_key(&self.public_key)?.0,
            psk: parse_key(&self.psk)?,
            addresses: assignment(&self.addresses)?,
            lan: self.lan.iter().map(network).collect::<PyResult<_>>()?,
            caps: RateCaps { to_client_bps: self.cap_tx_bps, from_client_bps: self.cap_rx_bps },
            reaches_clients: self.reaches_clients,
            revoked: self.revoked,
            name: self.name,
        })
    }
}

fn assignment(ends: &[(IpAddr, IpAddr, u8)]) -> PyResult<Assignment> {
    let mut assignment = Assignment::default();
    for &(client, server, prefix_len) in ends {
        if Network::new(client, prefix_len).is_none_or(|network| !network.contains(server)) {
            return Err(usage(format!("{client} and {server} are not in one /{prefix_len}")));
        }
        match (client, server) {
            (IpAddr::V4(client), IpAddr::V4(server)) => {
                assignment.v4 = Some(Ends::<Ipv4Addr> { client, server, prefix_len });
            }
            (IpAddr::V6(client), IpAddr::V6(server)) => {
                assignment.v6 = Some(Ends::<Ipv6Addr> { client, server, prefix_len });
            }
            _ => return Err(usage("both ends of a tunnel have addresses of one family")),
        }
    }
    Ok(assignment)
}

/// 64 hex digits: a key that was generated, or stretched from a passphrase.
pub(crate) fn parse_key(digits: &str) -> PyResult<Secret32> {
    let digits = digits.as_bytes();
    let mut key = Secret32([0; 32]);
    if digits.len() != 2 * key.0.len() {
        return Err(usage("a key has 64 hex digits"));
    }
    for (byte, pair) in key.0.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        let (Some(high), Some(low)) = (value(pair[0]), value(pair[1])) else {
            return Err(usage("a key has hex digits only"));
        };
        *byte = (high << 4 | low) as u8;
    }
    Ok(key)
}

/// The X25519 public key of a private key, both as 64 hex digits.
#[pyfunction]
#[pyo3(name = "public_key")]
pub(crate) fn public_key_of(private_key: &str) -> PyResult<String> {
    let public = public_key(&parse_key(private_key)?);
    Ok(public.iter().map(|byte| format!("{byte:02x}")).collect())
}
