//! From a datagram to what the session gets to know.

use thiserror::Error;

use super::{BondLink, Control, Item, MAX_SPARE, OwnedAck, datagram_len};
use crate::bond::datagram::{DatagramError, Header};
use crate::bond::frame::{AckBlock, Frame, FrameError, Frames, LinkDownReason, RekeyStep};
use crate::bond::recovery::BadAck;
use crate::numbering::Numbering;
use crate::packet::{Packet, PacketPool};
use crate::path::AckSample;
use crate::prefetch;
use crate::time::Time;

/// What came over a link and is not its own business.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A packet, for the resequencer.
    Packet(Numbering, Packet),
    /// Sequences that will not come, for the resequencer.
    Skip {
        /// Their bucket.
        bucket: u8,
        /// The first.
        first: u32,
        /// How many.
        count: u16,
    },
    /// Fields of a HELLO; parse with [`Fields`](crate::bond::frame::tlv::Fields).
    Hello(Vec<u8>),
    /// An ack of another link's datagrams: [`BondLink::on_foreign_ack`] of that link.
    AckOf(u16, OwnedAck),
    /// Another link is gone: first the ack, then [`BondLink::drain`].
    LinkDown {
        /// Which.
        link: u16,
        /// Why.
        reason: LinkDownReason,
        /// What had arrived over it.
        received: Option<OwnedAck>,
    },
    /// A challenge has been answered over this link.
    PathResponse([u8; 8]),
    /// One half of a rekeying.
    Rekey {
        /// Which half.
        step: RekeyStep,
        /// The epoch that it leads to.
        epoch: u8,
        /// The Noise message.
        message: Vec<u8>,
    },
    /// The peer ended the session.
    Close {
        /// See docs/wire.md.
        code: u8,
        /// For people.
        reason: String,
    },
}

/// What a datagram that opened tells besides its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Key epoch that it was sealed in: the first of a new one tells a server to switch.
    pub epoch: u8,
    /// Its number.
    pub number: u64,
    /// Whether its number is the largest so far: only then may its source become the peer's new address.
    pub newest: bool,
}

/// Why a datagram was dropped. It is counted, and nothing else has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejected {
    /// No header.
    #[error(transparent)]
    Datagram(#[from] DatagramError),
    /// Its number has been seen, or is too old to tell.
    #[error("replayed datagram")]
    Replayed,
    /// It does not open.
    #[error("datagram that was not sealed by the peer")]
    Forged,
    /// It opened, but the peer's program made a mistake. What stood before the mistake counts.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It opened, but acknowledges what was never sent.
    #[error(transparent)]
    Ack(#[from] BadAck),
}

impl BondLink {
    /// Takes a datagram that was addressed to this link; pushes what it brought onto `received`.
    ///
    /// # Errors
    /// See [`Rejected`].
    pub fn receive(
        &mut self,
        now: Time,
        datagram: &mut [u8],
        received: &mut Vec<Received>,
        pool: &mut PacketPool,
    ) -> Result<Opened, Rejected> {
        let header = Header::decode(datagram)?;
        let number = header.number(self.replay.expected());
        if !self.replay.is_fresh(number) {
            self.counters.replayed += 1;
            return Err(Rejected::Replayed);
        }
        let Some((frames, epoch)) = self.keys.open(header, number, datagram) else {
            self.counters.forged += 1;
            return Err(Rejected::Forged);
        };
        let newest = number >= self.replay.expected();
        self.replay.take(number);
        self.counters.received += 1;
        let mut ack_eliciting = false;
        let result = Frames::new(frames).try_for_each(|frame| {
            let frame = frame?;
            ack_eliciting |= frame.is_ack_eliciting();
            self.on_frame(now, frame, received, pool)
        });
        self.acks.on_received(now, number, ack_eliciting);
        if result.is_err() {
            self.counters.malformed += 1;
        }
        result.map(|()| Opened { epoch, number, newest })
    }

    fn on_frame(
        &mut self,
        now: Time,
        frame: Frame<'_>,
        received: &mut Vec<Received>,
        pool: &mut PacketPool,
    ) -> Result<(), Rejected> {
        received.push(match frame {
            Frame::Data { numbering, packet } => Received::Packet(numbering, pool.copy_of(packet)),
            Frame::Ping => return Ok(()),
            Frame::Ack { link: None, block } => return Ok(self.on_ack(now, &block, true, pool)?),
            Frame::Ack { link: Some(link), block } => Received::AckOf(link, OwnedAck::from(&block)),
            Frame::Skip { bucket, first, count } => Received::Skip { bucket, first, count },
            Frame::Hello(fields) => Received::Hello(fields.as_bytes().to_vec()),
            Frame::LinkDown { link, reason, received } => {
                Received::LinkDown { link, reason, received: received.as_ref().map(OwnedAck::from) }
            }
            Frame::PathChallenge(token) => {
                self.answer_challenge(token);
                return Ok(());
            }
            Frame::PathResponse(token) => Received::PathResponse(token),
            Frame::Rekey { step, epoch, message } => {
                Received::Rekey { step, epoch, message: message.to_vec() }
            }
            Frame::Close { code, reason } => Received::Close { code, reason: reason.to_owned() },
        });
        Ok(())
    }

    /// One answer at a time: a peer that floods challenges gets the last one answered.
    fn answer_challenge(&mut self, token: [u8; 8]) {
        self.control.retain(|frame| !matches!(frame, Control::PathResponse(_)));
        self.control.push_back(Control::PathResponse(token));
    }

    pub(super) fn on_ack(
        &mut self,
        now: Time,
        block: &AckBlock<'_>,
        own_path: bool,
        pool: &mut PacketPool,
    ) -> Result<(), BadAck> {
        let summary = self.recovery.on_ack(now, block, own_path, &mut self.outcome)?;
        let mut longest = 0;
        for content in &self.outcome.acked {
            prefetch::first_line(content.as_ptr());
        }
        for mut content in self.outcome.acked.drain(..) {
            longest = longest.max(datagram_len(&content));
            for item in content.drain(..) {
                match item {
                    Item::Data(_, packet) => pool.put(packet),
                    Item::Probe(probe) => self.path_mtu.on_probe_acked(now, probe),
                    Item::Control(_) => {}
                }
            }
            if self.spare.len() < MAX_SPARE {
                self.spare.push(content);
            }
        }
        self.give_back_lost(now);
        if longest > 0 {
            self.asked = None;
            self.path_mtu.on_first_ack();
            self.path_mtu.on_arrived(now, longest);
        }
        self.counters.false_alarms += u64::from(summary.false_alarms);
        if let Some(told) = summary.ack_told {
            self.acks.on_ack_acknowledged(told);
        }
        if let Some(srtt) = self.recovery.rtt().srtt() {
            self.acks.on_rtt(srtt);
        }
        if let Some(one_way_us) = summary.one_way_us {
            self.path.on_one_way(now, one_way_us);
        }
        self.path.on_ack(
            now,
            &AckSample {
                acked_bytes: summary.acked_bytes,
                lost_bytes: summary.lost_bytes,
                rtt: summary.rtt,
                in_flight_bytes: self.recovery.in_flight_bytes(),
                rate: summary.rate,
            },
        );
        Ok(())
    }
}
