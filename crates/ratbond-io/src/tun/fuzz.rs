//! Entry points for fuzzing: each takes any bytes, must neither panic nor hang, and asserts what must always hold.

use std::io::IoSlice;

use ratbond_proto::Packet;

use super::{Coalescer, Joins, Segmenter, VnetHeader};

const JOINS: Joins = Joins { tcp: true, udp: true };

/// What is read from a tun: an offload header and whatever follows. No packet is longer than what it was cut from, and
/// all of them together have its payload.
pub fn read(data: &[u8]) {
    let Some((header, packet)) = data.split_first_chunk() else { return };
    let header = VnetHeader::read(header);
    let (mut packets, mut bytes) = (0, 0);
    let whole = packet.len();
    let cut = Segmenter::default().cut(&header, &mut packet.to_vec(), |packet| {
        assert!(packet.len() <= whole);
        packets += 1;
        bytes += packet.len();
    });
    match cut {
        Ok(()) => assert!(packets > 0 && bytes >= whole),
        Err(_) => assert_eq!(packets, 0, "refused only after some of it was handed over"),
    }
}

/// What a peer sends to be written, each packet led by its length: cut again, it is the same packets, whatever they are,
/// but for identifications that mean nothing.
pub fn write(data: &[u8]) {
    let mut sent = Vec::new();
    let mut rest = data;
    while let [len, following @ ..] = rest {
        let (packet, following) = following.split_at(usize::from(*len).min(following.len()));
        sent.push(packet.to_vec());
        rest = following;
    }
    let mut received = join_and_cut(&sent);
    for packets in [&mut received, &mut sent] {
        packets.iter_mut().for_each(|packet| forget_id(packet));
        packets.sort();
    }
    assert_eq!(received, sent);
}

/// An IPv4 packet that will never be a fragment has an identification that means nothing (RFC 6864 section 4.1); the kernel
/// counts it on.
fn forget_id(packet: &mut [u8]) {
    if packet.len() >= 20 && packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
}

/// The packets as they are after they were joined and what came of it was cut, as the kernel would.
///
/// # Panics
/// When something was joined to what cannot be cut.
#[must_use]
pub fn join_and_cut(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut received = Vec::new();
    for (header, mut bytes) in join(packets) {
        Segmenter::default()
            .cut(&header, &mut bytes, |packet| received.push(packet.to_vec()))
            .expect("what was joined can be cut");
    }
    received
}

/// What is written for these packets: offload headers and the packets or super-packets behind them.
#[must_use]
pub fn join(packets: &[Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut coalescer = Coalescer::new(JOINS);
    let mut written = Vec::new();
    let mut recycled = 0;
    let mut flush = |coalescer: &mut Coalescer| {
        coalescer.flush(
            |pieces, _| {
                let bytes = concat(pieces);
                let (header, packet) = bytes.split_first_chunk().expect("an offload header");
                written.push((VnetHeader::read(header), packet.to_vec()));
            },
            |_| recycled += 1,
        );
    };
    for packet in packets {
        coalescer.push(Packet::from(&packet[..]));
        if coalescer.is_full() {
            flush(&mut coalescer);
        }
    }
    flush(&mut coalescer);
    assert_eq!(recycled, packets.len(), "every packet's memory comes back");
    written
}

fn concat(pieces: &[IoSlice<'_>]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| piece.iter().copied()).collect()
}

/// An entry point and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of the above.
pub const ALL: [Target; 2] = [("read", read), ("write", write)];
