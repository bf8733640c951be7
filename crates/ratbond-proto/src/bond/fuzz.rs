//! Entry points for fuzzing: each takes any bytes, must neither panic nor hang, and asserts what must always hold.

use std::time::Duration;

use super::datagram::{HEADER_LEN, Header, Kind, ReceiverIndex, SEALED_OVERHEAD};
use super::frame::tlv::Fields;
use super::frame::{Frame, Frames};
use super::handshake::client::ClientHandshake;
use super::handshake::join::{Join, JoinVerdict};
use super::handshake::server::{ServerHandshakes, Verdict};
use super::handshake::{Credentials, ServerKeys, message, shared_psk};
use super::kdf::MacKey;
use super::keys::{Cipher, Direction, Master, NoiseOutput};
use super::link::{Identity, SealedLink};
use super::secret::Secret32;
use crate::link::{Route, SocketId, WanId};
use crate::queue::QueueConfig;
use crate::scheduler::SchedulerKind;
use crate::session::{Role, Session};
use crate::time::Time;

/// The clear header.
pub fn header(data: &[u8]) {
    let kind = Kind::of(data);
    let header = Header::decode(data);
    if let Ok(header) = header {
        assert_eq!(kind, Ok(Kind::Sealed { phase: header.phase }));
        assert_eq!(ReceiverIndex::of(data), Ok(header.receiver));
        assert_eq!(header.encode(), data[..9]);
    }
}

/// The frames of an opened datagram.
pub fn frames(data: &[u8]) {
    for frame in Frames::new(data) {
        match frame {
            Ok(Frame::Ack { block, .. } | Frame::LinkDown { received: Some(block), .. }) => {
                for next in [0, 1, 1 << 20, 1 << 33] {
                    if let Some(largest) = block.largest(next) {
                        assert!(block.ranges(largest).count() <= super::frame::ack::MAX_RANGES);
                    }
                }
            }
            Ok(Frame::Hello(fields)) => assert!(fields.iter().count() <= data.len() / 2),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Fields of HELLO and of handshake payloads.
pub fn fields(data: &[u8]) {
    if let Ok(fields) = Fields::parse(data) {
        let bytes: usize = fields.iter().map(|(_, value)| value.len() + 2).sum();
        assert_eq!(bytes, data.len());
    }
}

/// What a server of either mode makes of a datagram from anywhere: it answers with no more than it got, or not at all.
pub fn server_handshake(data: &[u8]) {
    let psk = shared_psk(&Secret32([1; 32]));
    for keys in [ServerKeys::Named { own: Secret32([2; 32]) }, ServerKeys::Shared { psk }] {
        let mut server = ServerHandshakes::new(keys, Secret32([3; 32]), Secret32([4; 32]), 1);
        let from = std::net::SocketAddr::from(([192, 0, 2, 1], 5_000));
        match server.handle(Time::ZERO, from, data) {
            Ok(Verdict::Reply(reply) | Verdict::Refuse(reply, _)) => assert!(reply.len() <= data.len()),
            Ok(Verdict::Offer(offer)) => assert!(offer.fields().iter().count() <= data.len()),
            Err(_) => {}
        }
    }
}

/// What a client that waits for a CHALLENGE makes of a datagram: the handshake goes on asking.
pub fn client_handshake(data: &[u8]) {
    let credentials = Credentials::Shared { psk: shared_psk(&Secret32([1; 32])) };
    let steer = ReceiverIndex(0);
    let mut client = ClientHandshake::new(Time::ZERO, credentials, Vec::new(), steer, &Secret32([5; 32]));
    let mut aimed = data.to_vec();
    if let Some(index) = aimed.get_mut(1..5) {
        index.copy_from_slice(&client.own_index().0.to_be_bytes());
    }
    assert!(!matches!(client.handle(Time::ZERO, &aimed), Ok(Some(_))), "nobody proved anything");
    assert!(client.poll_timeout().is_some());
}

/// JOIN, JOINED, CHALLENGE and VERSION with a key that the sender does not have.
pub fn proofs(data: &[u8]) {
    let key = MacKey::new(&Secret32([6; 32]));
    assert!(Join::decode(data).is_err() || !Join::verify(data, &key));
    assert!(JoinVerdict::decode(data, data, &key).is_err());
    assert!(message::read_challenge(data, data, &key).is_err());
    assert!(message::read_version(data, data, &key).is_err());
}

/// What a session makes of anything that its true peer seals, in any order and at any time: a peer's program may be wrong,
/// or a thief's. Each datagram is `length u8, time u8, frames`. Whatever comes, the session's own datagrams still open at the
/// peer.
pub fn sealed_frames(data: &[u8]) {
    let noise = NoiseOutput { split: (Secret32([8; 32]), Secret32([9; 32])), hash: [10; 32] };
    let master = Master::first(&noise);
    let (own, peer, cipher) = (ReceiverIndex(1), ReceiverIndex(2), Cipher::Aes256Gcm);
    let mut seal = master.seal_key(Direction::ClientToServer, cipher, 0);
    let mut open = master.open_key(Direction::ServerToClient, cipher, 0);
    let mut session = Session::new(Role::Server, SchedulerKind::Consistent, QueueConfig::default());
    let identity = Identity { role: Role::Server, link: 0, own, peer };
    let link = SealedLink::new(Time::ZERO, identity, &master, cipher, false);
    let remote = std::net::SocketAddr::from(([192, 0, 2, 1], 5_000));
    let route = Route { socket: SocketId(0), remote, local: None };
    let id = session.add_link(Time::ZERO, WanId(0), route, link);
    let (mut now, mut rest, mut out) = (Time::ZERO, data, Vec::new());
    for number in 0..256 {
        let [len, pause_ms, tail @ ..] = rest else { break };
        let (frames, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = tail;
        now += Duration::from_millis(u64::from(*pause_ms));
        let mut datagram = vec![0; HEADER_LEN];
        datagram.extend_from_slice(frames);
        datagram.resize(frames.len() + SEALED_OVERHEAD, 0);
        let sealed = seal.seal(own, number, &mut datagram, frames.len());
        assert_eq!(sealed, Ok(datagram.len()));
        let len = datagram.len();
        session.handle_datagram(now, id, &mut datagram, len);
        while session.poll_control().is_some() || session.poll_event().is_some() {}
        while let Some(packet) = session.poll_delivery() {
            session.recycle(packet);
        }
        session.handle_timeout(now);
        for _ in 0..64 {
            out.clear();
            if session.poll_transmit(now, &mut out).is_none() {
                break;
            }
            let header = Header::decode(&out);
            assert!(header.is_ok_and(|header| open.open(header.number(number), &mut out).is_some()));
        }
    }
}

/// The name of a fuzz target and the target.
pub type Target = (&'static str, fn(&[u8]));

/// All of the above.
pub const ALL: [Target; 7] = [
    ("header", header),
    ("frames", frames),
    ("fields", fields),
    ("server_handshake", server_handshake),
    ("client_handshake", client_handshake),
    ("proofs", proofs),
    ("sealed_frames", sealed_frames),
];
