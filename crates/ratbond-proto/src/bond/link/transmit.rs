//! From what waits to a sealed datagram.

use super::path_mtu::Probe;
use super::{BondLink, Control, Item, MAX_ITEMS};
use crate::bond::datagram::{HEADER_LEN, SEALED_OVERHEAD, TAG_LEN};
use crate::bond::frame::{DATA_HEADER_LEN, DATA_HEADER_WITH_LENGTH_LEN, Writer};
use crate::time::Time;

/// What went into a datagram.
struct Built {
    frames_len: usize,
    ack_eliciting: bool,
    acked: bool,
}

impl BondLink {
    /// Appends one sealed datagram to `out` and returns true, or leaves it alone when nothing is due.
    ///
    /// Packets are paced; acks and frames of the protocol are not.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        if let Some(probe) = self.path_mtu.poll_probe() {
            return self.transmit_probe(now, probe, out);
        }
        self.hand_back_oversize();
        let ack_due = self.acks.due().is_some_and(|due| due <= now);
        let blocked = !self.recovery.has_room();
        self.waited &= !self.data.is_empty();
        let data_due = !self.data.is_empty() && self.path.may_send(now);
        if !ack_due && (blocked || (self.control.is_empty() && !data_due && !self.probe)) {
            return false;
        }
        let start = out.len();
        out.resize(start + self.path_mtu.datagram_len(), 0);
        let mut content = self.spare.pop().unwrap_or_default();
        let built = self.build(now, &mut out[start + HEADER_LEN..], (ack_due, data_due), &mut content);
        let number = self.recovery.next_number();
        let sealed = self.keys.seal(self.identity.peer, number, &mut out[start..], built.frames_len);
        let Ok(len) = sealed else {
            // The key is used up: the session ends for want of a rekeying.
            self.lost.append(&mut content);
            out.truncate(start);
            return false;
        };
        out.truncate(start + len);
        self.counters.sent += 1;
        let told = if built.acked { self.acks.on_sent(now) } else { None };
        if built.ack_eliciting {
            // A datagram is never longer than MAX_DATAGRAM_LEN.
            self.copied.on_sent(number, &content);
            self.recovery.on_sent(now, len as u32, content, told);
            self.path.on_sent(now, len as u64, self.waited);
        } else {
            self.counters.sent_acks_only += 1;
            self.recovery.on_sent_unacknowledged();
            self.spare.push(content);
        }
        true
    }

    /// Writes frames: the pending ack, frames of the protocol, packets.
    fn build(
        &mut self,
        now: Time,
        body: &mut [u8],
        (ack_due, data_due): (bool, bool),
        content: &mut Vec<Item>,
    ) -> Built {
        let room = body.len() - TAG_LEN;
        let mut writer = Writer::new(&mut body[..room]);
        let mut acked = self.acks.is_pending() && self.write_ack(now, &mut writer);
        if acked && !ack_due && data_due && !self.fits_after(&writer) {
            // A full packet goes alone; the ack can wait until it is due.
            writer = Writer::new(&mut body[..room]);
            acked = false;
        }
        let mut ack_eliciting = false;
        if self.recovery.has_room() {
            ack_eliciting |= self.write_controls(&mut writer, content);
            ack_eliciting |= data_due && self.write_data(&mut writer, content);
            if std::mem::take(&mut self.probe) || (acked && !ack_eliciting && self.acks.wants_ping()) {
                ack_eliciting |= !ack_eliciting && writer.ping();
            }
        }
        Built { frames_len: writer.len(), ack_eliciting, acked }
    }

    fn write_ack(&self, now: Time, writer: &mut Writer<'_>) -> bool {
        self.acks.content(now).is_some_and(|content| writer.ack(None, &content))
    }

    /// Whether the next thing that waits still fits.
    fn fits_after(&self, writer: &Writer<'_>) -> bool {
        match self.data.front() {
            Some((_, packet)) if self.control.is_empty() => writer.room() >= DATA_HEADER_LEN + packet.len(),
            _ => true,
        }
    }

    fn write_controls(&mut self, writer: &mut Writer<'_>, content: &mut Vec<Item>) -> bool {
        let mut eliciting = false;
        while let Some(frame) = self.control.front() {
            if !frame.write(writer) {
                if writer.is_empty() {
                    // Longer than any datagram: it can never go.
                    self.control.pop_front();
                    continue;
                }
                break;
            }
            eliciting |= frame.is_ack_eliciting();
            content.extend(self.control.pop_front().filter(Control::is_ack_eliciting).map(Item::Control));
        }
        eliciting
    }

    fn write_data(&mut self, writer: &mut Writer<'_>, content: &mut Vec<Item>) -> bool {
        let before = content.len();
        while let Some((numbering, packet)) = self.data.front() {
            let last = !self.next_fits_too(writer, packet.len()) || content.len() + 1 >= before + MAX_ITEMS;
            if !writer.data(*numbering, packet.as_slice(), last) {
                break;
            }
            let Some((numbering, packet)) = self.data.pop_front() else { break };
            self.data_bytes -= packet.len();
            content.push(Item::Data(numbering, packet));
            if let Some((_, next)) = self.data.front() {
                next.prefetch();
            }
            if last {
                break;
            }
        }
        content.len() > before
    }

    fn next_fits_too(&self, writer: &Writer<'_>, len: usize) -> bool {
        let Some((_, next)) = self.data.get(1) else { return false };
        writer.room() >= DATA_HEADER_WITH_LENGTH_LEN + len + DATA_HEADER_LEN + next.len()
    }

    /// Appends a probe of the path MTU: PING and padding.
    fn transmit_probe(&mut self, now: Time, probe: Probe, out: &mut Vec<u8>) -> bool {
        let len = usize::from(probe.len).max(SEALED_OVERHEAD + 1);
        self.transmit_alone(now, &Control::Ping, len, Some(probe), out)
    }

    /// Appends a datagram with a PATH_CHALLENGE and nothing else, to be sent to the address that is to prove itself.
    pub fn transmit_challenge(&mut self, now: Time, token: [u8; 8], out: &mut Vec<u8>) -> bool {
        let len = SEALED_OVERHEAD + 1 + token.len();
        self.transmit_alone(now, &Control::PathChallenge(token), len, None, out)
    }

    /// Appends a datagram with a CLOSE and nothing else.
    pub fn transmit_close(&mut self, now: Time, code: u8, reason: &str, out: &mut Vec<u8>) -> bool {
        let len = SEALED_OVERHEAD + 3 + reason.len();
        let frame = Control::Close { code, reason: reason.to_owned() };
        self.transmit_alone(now, &frame, len, None, out)
    }

    /// One frame, padded to `len` bytes of UDP payload; nothing of it is sent again.
    fn transmit_alone(
        &mut self,
        now: Time,
        frame: &Control,
        len: usize,
        probe: Option<Probe>,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(frames_len) = len.checked_sub(SEALED_OVERHEAD).filter(|_| self.recovery.has_room()) else {
            return false;
        };
        let start = out.len();
        out.resize(start + len, 0);
        let mut writer = Writer::new(&mut out[start + HEADER_LEN..start + HEADER_LEN + frames_len]);
        let fits = frame.write(&mut writer);
        writer.pad_to(frames_len);
        let number = self.recovery.next_number();
        if !fits || self.keys.seal(self.identity.peer, number, &mut out[start..], frames_len).is_err() {
            out.truncate(start);
            return false;
        }
        self.counters.sent += 1;
        let mut content = self.spare.pop().unwrap_or_default();
        if let Some(probe) = probe {
            content.push(Item::Probe(probe));
            self.recovery.on_probe_sent(now, len as u32, content);
        } else {
            self.recovery.on_sent(now, len as u32, content, None);
        }
        true
    }
}
