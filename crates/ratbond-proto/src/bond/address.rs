//! Where the peer is, and how it may move: a new address is believed only once it has answered a challenge.
//!
//! ```text
//! settled at A ──newest datagram from B──► settled at A, B challenged ──response from B──► settled at B
//!                                              └── 3 s without response, or newest from C ──► B is forgotten
//! ```
//! Somebody who replays the peer's datagrams from an address of his own can cause challenges, no more than three times
//! the bytes that he sends; everything else still goes to A.

use std::time::Duration;

use crate::time::Time;

/// How long a challenge may take.
pub const CHALLENGE_LIFETIME: Duration = Duration::from_secs(3);
/// An address that has proved nothing gets at most this many times the bytes that came from it.
const AMPLIFICATION: u64 = 3;

#[derive(Debug)]
struct Candidate<A> {
    address: A,
    token: [u8; 8],
    challenged: Time,
    received_bytes: u64,
    sent_bytes: u64,
}

/// The address of one link's peer. `A` is whatever the driver tells ways apart by.
#[derive(Debug)]
pub struct PeerAddress<A> {
    current: A,
    candidate: Option<Candidate<A>>,
}

impl<A: Copy + Eq> PeerAddress<A> {
    /// The address that the handshake proved.
    #[must_use]
    pub const fn new(address: A) -> Self {
        Self { current: address, candidate: None }
    }

    /// Where datagrams go.
    #[must_use]
    pub const fn current(&self) -> A {
        self.current
    }

    /// A datagram of `bytes` from `from` has opened; `newest`: its number is the largest so far (an older one may have
    /// been held back by somebody). `token` is random. Returns the token when `from` is to be challenged now.
    pub fn on_datagram(
        &mut self,
        now: Time,
        from: A,
        bytes: u64,
        newest: bool,
        token: [u8; 8],
    ) -> Option<[u8; 8]> {
        self.candidate.take_if(|c| now.saturating_since(c.challenged) > CHALLENGE_LIFETIME);
        if let Some(candidate) = self.candidate.as_mut().filter(|c| c.address == from) {
            candidate.received_bytes += bytes;
            return None;
        }
        if !newest {
            return None;
        }
        if from == self.current {
            // The peer is where it was: whoever sent from elsewhere only repeated it.
            self.candidate = None;
            return None;
        }
        self.candidate =
            Some(Candidate { address: from, token, challenged: now, received_bytes: bytes, sent_bytes: 0 });
        Some(token)
    }

    /// A PATH_RESPONSE came from `from`; true when the peer has moved there.
    pub fn on_response(&mut self, from: A, token: [u8; 8]) -> bool {
        let proved = self.candidate.take_if(|c| c.address == from && c.token == token);
        if let Some(candidate) = &proved {
            self.current = candidate.address;
        }
        proved.is_some()
    }

    /// Asks whether `bytes` may go to the challenged address, and counts them if so.
    pub fn spend(&mut self, to: A, bytes: u64) -> bool {
        let Some(candidate) = self.candidate.as_mut().filter(|c| c.address == to) else {
            return to == self.current;
        };
        let may = candidate.sent_bytes + bytes <= AMPLIFICATION * candidate.received_bytes;
        candidate.sent_bytes += if may { bytes } else { 0 };
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: u32 = 1;
    const AWAY: u32 = 2;
    const ELSEWHERE: u32 = 3;
    const TOKEN: [u8; 8] = [7; 8];

    #[test]
    fn a_peer_that_moves_is_followed_once_it_answers_from_there() {
        let mut peer = PeerAddress::new(HOME);
        assert_eq!(peer.on_datagram(Time::ZERO, AWAY, 100, true, TOKEN), Some(TOKEN));
        assert_eq!(peer.current(), HOME);
        assert!(!peer.on_response(ELSEWHERE, TOKEN));
        assert!(!peer.on_response(AWAY, [0; 8]));
        assert!(peer.on_response(AWAY, TOKEN));
        assert_eq!(peer.current(), AWAY);
        assert!(!peer.on_response(AWAY, TOKEN), "a token is good once");
    }

    #[test]
    fn an_old_datagram_moves_nobody() {
        let mut peer = PeerAddress::new(HOME);
        assert_eq!(peer.on_datagram(Time::ZERO, AWAY, 100, false, TOKEN), None);
        assert!(!peer.on_response(AWAY, TOKEN));
    }

    #[test]
    fn a_peer_that_goes_on_from_home_has_not_moved() {
        let mut peer = PeerAddress::new(HOME);
        peer.on_datagram(Time::ZERO, AWAY, 100, true, TOKEN);
        assert_eq!(peer.on_datagram(Time::ZERO, HOME, 100, true, [8; 8]), None);
        assert!(!peer.on_response(AWAY, TOKEN));
        assert_eq!(peer.current(), HOME);
    }

    #[test]
    fn an_address_that_proved_nothing_gets_three_times_what_it_sent() {
        let mut peer = PeerAddress::new(HOME);
        peer.on_datagram(Time::ZERO, AWAY, 100, true, TOKEN);
        assert!(peer.spend(AWAY, 200) && !peer.spend(AWAY, 101) && peer.spend(AWAY, 100));
        assert_eq!(peer.on_datagram(Time::ZERO, AWAY, 10, true, [9; 8]), None, "challenged once");
        assert!(peer.spend(AWAY, 30) && !peer.spend(AWAY, 1));
        assert!(peer.spend(HOME, 1_000_000) && !peer.spend(ELSEWHERE, 1));
    }

    #[test]
    fn a_challenge_that_nobody_answers_is_forgotten() {
        let mut peer = PeerAddress::new(HOME);
        peer.on_datagram(Time::ZERO, AWAY, 100, true, TOKEN);
        let later = Time::ZERO + CHALLENGE_LIFETIME + Duration::from_millis(1);
        assert_eq!(peer.on_datagram(later, AWAY, 100, true, [9; 8]), Some([9; 8]));
        assert!(!peer.on_response(AWAY, TOKEN));
    }
}
