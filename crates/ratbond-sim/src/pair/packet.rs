//! The inner packets of a simulation: a flow's number and a sequence number in an IPv4 packet.

use std::collections::BTreeMap;

use ratbond_proto::Time;

const FIRST_PORT: u16 = 1024;
const SEQUENCE_AT: usize = 28;

/// An IPv4 packet of a numbered flow that carries its sequence number, of 32 bytes at least. Even flows are TCP, odd ones
/// UDP.
#[must_use]
pub fn packet(flow: u16, sequence: u32, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len.max(SEQUENCE_AT + 4)];
    packet[0] = 0x45;
    let total = (packet.len() as u16).to_be_bytes();
    packet[2..4].copy_from_slice(&total);
    packet[9] = if flow.is_multiple_of(2) { 6 } else { 17 };
    packet[12..16].copy_from_slice(&[10, 10, (flow >> 8) as u8, flow as u8]);
    packet[16..20].copy_from_slice(&[192, 0, 2, 1]);
    packet[20..22].copy_from_slice(&flow.wrapping_add(FIRST_PORT).to_be_bytes());
    packet[22..24].copy_from_slice(&443u16.to_be_bytes());
    packet[SEQUENCE_AT..SEQUENCE_AT + 4].copy_from_slice(&sequence.to_be_bytes());
    packet
}

/// The flow that [`packet`] wrote into a packet.
#[must_use]
pub fn flow_of(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[20], packet[21]]).wrapping_sub(FIRST_PORT)
}

/// The sequence number that [`packet`] wrote into a packet.
#[must_use]
pub fn sequence_of(packet: &[u8]) -> u32 {
    word(packet, SEQUENCE_AT)
}

pub(crate) fn word(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

/// What arrived of each flow: sequence numbers in the order of arrival.
#[must_use]
pub fn sequences(delivered: &[(Time, Vec<u8>)]) -> BTreeMap<u16, Vec<u32>> {
    let mut flows: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    for (_, packet) in delivered {
        flows.entry(flow_of(packet)).or_default().push(sequence_of(packet));
    }
    flows
}
