//! The keys of one link over the key epochs of its session.
//!
//! A datagram names its epoch modulo 4, so the key that opens it is looked up, never guessed. After a rekeying the old
//! key goes on opening for a while: what was under way is not lost.

use std::time::Duration;

use super::datagram::{Header, ReceiverIndex};
use super::keys::{Cipher, Direction, Master, OpenKey, SealError, SealKey};
use crate::Time;
use crate::session::Role;

/// Bounds of the time that old keys go on opening: three times the largest RTT, but never less or more than these.
const MIN_GRACE: Duration = Duration::from_secs(1);
const MAX_GRACE: Duration = Duration::from_secs(30);

/// How long old keys go on opening when the session's largest round trip is `rtt`.
#[must_use]
pub fn grace(rtt: Duration) -> Duration {
    (rtt * 3).clamp(MIN_GRACE, MAX_GRACE)
}

/// Seals with one epoch, opens with up to two.
#[derive(Debug)]
pub struct Keyring {
    role: Role,
    cipher: Cipher,
    link: u16,
    seal: SealKey,
    open: [Option<OpenKey>; 4],
    retire: Option<(u8, Time)>,
}

impl Keyring {
    /// The keys of `link` in the epoch of `master`.
    #[must_use]
    pub fn new(role: Role, master: &Master, cipher: Cipher, link: u16) -> Self {
        let (ours, _) = directions(role);
        let seal = master.seal_key(ours, cipher, link);
        let mut ring = Self { role, cipher, link, seal, open: [None, None, None, None], retire: None };
        ring.expect(master);
        ring
    }

    /// Opens datagrams of `master`'s epoch as well from now on: the peer may have its keys.
    pub fn expect(&mut self, master: &Master) {
        let (_, theirs) = directions(self.role);
        self.open[slot(master.epoch())] = Some(master.open_key(theirs, self.cipher, self.link));
    }

    /// Seals with `master`'s epoch from now on: the peer does have its keys. The old ones open for `grace` longer.
    pub fn switch(&mut self, now: Time, master: &Master, grace: Duration) {
        if self.seal.epoch() == master.epoch() {
            return;
        }
        if let Some((older, _)) = self.retire.take() {
            self.open[slot(older)] = None;
        }
        self.retire = Some((self.seal.epoch(), now + grace));
        self.seal = master.seal_key(directions(self.role).0, self.cipher, self.link);
    }

    /// The epoch that this end seals with.
    #[must_use]
    pub const fn epoch(&self) -> u8 {
        self.seal.epoch()
    }

    /// Datagrams sealed in this epoch.
    #[must_use]
    pub const fn sealed(&self) -> u64 {
        self.seal.sealed()
    }

    /// Seals; see [`SealKey::seal`].
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn seal(
        &mut self,
        receiver: ReceiverIndex,
        number: u64,
        datagram: &mut [u8],
        frames_len: usize,
    ) -> Result<usize, SealError> {
        self.seal.seal(receiver, number, datagram, frames_len)
    }

    /// Opens; the frames and the epoch of the key, or `None` when there is no key for the datagram, or not the right one.
    pub fn open<'a>(
        &mut self,
        header: Header,
        number: u64,
        datagram: &'a mut [u8],
    ) -> Option<(&'a [u8], u8)> {
        let key = self.open[slot(header.phase)].as_mut()?;
        let epoch = key.epoch();
        key.open(number, datagram).map(|frames| (&*frames, epoch))
    }

    /// When old keys are to be erased.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.retire.map(|(_, at)| at)
    }

    /// Erases old keys whose time has come.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Some((epoch, _)) = self.retire.take_if(|(_, at)| *at <= now) {
            self.open[slot(epoch)] = None;
        }
    }
}

/// The direction that this end seals, and the one that it opens.
const fn directions(role: Role) -> (Direction, Direction) {
    match role {
        Role::Client => (Direction::ClientToServer, Direction::ServerToClient),
        Role::Server => (Direction::ServerToClient, Direction::ClientToServer),
    }
}

const fn slot(epoch: u8) -> usize {
    (epoch & 3) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::datagram::{HEADER_LEN, SEALED_OVERHEAD};
    use crate::bond::keys::NoiseOutput;
    use crate::bond::secret::Secret32;
    use proptest::prelude::*;

    fn noise(byte: u8) -> NoiseOutput {
        NoiseOutput { split: (Secret32([byte; 32]), Secret32([byte; 32])), hash: [byte; 32] }
    }

    fn sealed(ring: &mut Keyring, number: u64) -> Vec<u8> {
        let mut datagram = vec![0; HEADER_LEN + 1 + 16];
        datagram[HEADER_LEN] = 1;
        assert_eq!(ring.seal(ReceiverIndex(1), number, &mut datagram, 1), Ok(SEALED_OVERHEAD + 1));
        datagram
    }

    fn opens(ring: &mut Keyring, number: u64, datagram: &[u8]) -> Option<u8> {
        let mut datagram = datagram.to_vec();
        let header = Header::decode(&datagram).unwrap();
        ring.open(header, number, &mut datagram).map(|(_, epoch)| epoch)
    }

    #[test]
    fn old_keys_open_for_the_grace_and_are_erased_then() {
        let first = Master::first(&noise(1));
        let next = first.next(&noise(2));
        let mut client = Keyring::new(Role::Client, &first, Cipher::Aes256Gcm, 0);
        let mut server = Keyring::new(Role::Server, &first, Cipher::Aes256Gcm, 0);
        let old = sealed(&mut server, 5);
        client.expect(&next);
        client.switch(Time::ZERO, &next, grace(Duration::from_millis(500)));
        assert_eq!(client.poll_timeout(), Some(Time::from_millis(1_500)));
        assert_eq!(opens(&mut client, 5, &old), Some(0));
        client.handle_timeout(Time::from_millis(1_499));
        assert_eq!(opens(&mut client, 5, &old), Some(0));
        client.handle_timeout(Time::from_millis(1_500));
        assert_eq!(opens(&mut client, 5, &old), None);
        assert_eq!(opens(&mut server, 6, &sealed(&mut client, 6)), None, "nobody told the server yet");
        server.expect(&next);
        assert_eq!(opens(&mut server, 6, &sealed(&mut client, 6)), Some(1));
    }

    proptest! {
        /// Rekeys every 2 s while datagrams of both directions are under way for up to 300 ms, in any order.
        #[test]
        fn rekeying_loses_nothing_that_is_under_way(delays in prop::collection::vec((0u64..300, 0u64..300), 400)) {
            let mut master = Master::first(&noise(0));
            let mut ends =
                [Role::Client, Role::Server].map(|role| Keyring::new(role, &master, Cipher::ChaCha20Poly1305, 7));
            let mut next = master.clone();
            let mut on_the_way: Vec<(u64, usize, u64, Vec<u8>)> = Vec::new();
            for (number, at) in (0u64..).zip((0..8_000u64).step_by(20)) {
                let now = Time::from_millis(at);
                if at % 2_000 == 1_000 {
                    next = master.next(&noise(u8::try_from(at / 1_000).unwrap()));
                    ends[1].expect(&next);
                }
                if at % 2_000 == 1_100 {
                    ends[0].expect(&next);
                    ends[0].switch(now, &next, grace(Duration::from_millis(600)));
                    master = next.clone();
                }
                let (to_server, to_client) = delays[usize::try_from(number).unwrap()];
                on_the_way.push((at + to_server, 1, number, sealed(&mut ends[0], number)));
                on_the_way.push((at + to_client, 0, number, sealed(&mut ends[1], number)));
                on_the_way.sort();
                while on_the_way.first().is_some_and(|&(due, ..)| due <= at) {
                    let (_, end, number, datagram) = on_the_way.remove(0);
                    let epoch = opens(&mut ends[end], number, &datagram);
                    prop_assert!(epoch.is_some(), "number {} at {} ms", number, at);
                    if end == 1 && epoch == Some(next.epoch()) {
                        ends[1].switch(now, &next, grace(Duration::from_millis(600)));
                    }
                }
                ends.iter_mut().for_each(|end| end.handle_timeout(now));
            }
            prop_assert_eq!(ends[1].epoch(), 4);
        }
    }
}
