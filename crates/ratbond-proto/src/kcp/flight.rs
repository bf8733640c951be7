//! What was sent and is not yet known to have arrived: a ring indexed by sn, threaded by two lists.
//!
//! `in_flight` holds the segments in the order of their last transmission, `lost` those that wait to be sent again. Both run
//! through the ring's slots, so that an acknowledged segment leaves its list in O(1), however many there are.

use super::payload::Payload;
use super::segment::HEADER_LEN;
use super::serial::precedes;
use crate::Time;
use crate::path::rate::SendRecord;

/// End of a list.
const NIL: u32 = u32::MAX;

/// One transmission of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transmission {
    /// Counts all transmissions of the conversation: which of two came first, even within one tick of the clock.
    pub order: u64,
    pub sent: Time,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Vacant,
    InFlight,
    Lost,
    Delivered,
}

/// All that an ACK touches of a segment, in one cache line: with many in flight each is cold.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot {
    state: State,
    frg: u8,
    transmissions: u32,
    prev: u32,
    next: u32,
    payload: Payload,
    first_sent: Time,
    last: Transmission,
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
    len: u32,
}

/// A segment, as it goes on the wire.
pub(super) struct Launch<'a> {
    pub sn: u32,
    pub frg: u8,
    pub transmissions: u32,
    pub payload: &'a [u8],
}

/// A segment that has just been found to have arrived.
pub(super) struct Delivery {
    pub first_sent: Time,
    pub last: Transmission,
    pub transmissions: u32,
    /// It was taken for lost, and had not been sent again yet.
    pub was_lost: bool,
    pub payload: Payload,
}

impl Delivery {
    /// Bytes of the segment, header included.
    pub fn bytes(&self) -> u64 {
        wire_bytes(&self.payload)
    }
}

/// The segments between una and the next sn.
#[derive(Debug)]
pub(super) struct Flight {
    slots: Box<[Slot]>,
    /// The rate estimator's part of each slot; asked for once a datagram.
    records: Box<[SendRecord]>,
    mask: u32,
    una: u32,
    next_sn: u32,
    in_flight: List,
    in_flight_bytes: u64,
    lost: List,
}

const EMPTY: List = List { head: NIL, tail: NIL, len: 0 };

impl Flight {
    /// Room for `window` segments, the first of them `first_sn`.
    pub fn new(window: u16, first_sn: u32) -> Self {
        let capacity = u32::from(window.max(1)).next_power_of_two();
        Self {
            slots: (0..capacity).map(|_| Slot::default()).collect(),
            records: vec![SendRecord::default(); capacity as usize].into(),
            mask: capacity - 1,
            una: first_sn,
            next_sn: first_sn,
            in_flight: EMPTY,
            in_flight_bytes: 0,
            lost: EMPTY,
        }
    }

    /// The oldest sn that is not known to have arrived.
    pub fn una(&self) -> u32 {
        self.una
    }

    /// The sn of the next new segment.
    pub fn next_sn(&self) -> u32 {
        self.next_sn
    }

    /// Segments between una and the next sn.
    pub fn span(&self) -> u32 {
        self.next_sn.wrapping_sub(self.una)
    }

    pub fn in_flight_segments(&self) -> u32 {
        self.in_flight.len
    }

    pub fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Payload bytes of the lost segment that is to be sent next.
    pub fn next_lost_len(&self) -> Option<usize> {
        (self.lost.head != NIL).then(|| self.slots[self.lost.head as usize].payload.len())
    }

    /// The oldest transmission in flight.
    pub fn oldest(&self) -> Option<&Transmission> {
        (self.in_flight.head != NIL).then(|| &self.slots[self.in_flight.head as usize].last)
    }

    /// Takes in a new segment as sent. The caller keeps [`Flight::span`] below the window.
    pub fn launch_new(
        &mut self,
        payload: Payload,
        frg: u8,
        transmission: Transmission,
        record: SendRecord,
    ) -> Launch<'_> {
        debug_assert!(self.span() <= self.mask, "the window bounds the span");
        let index = self.next_sn & self.mask;
        self.next_sn = self.next_sn.wrapping_add(1);
        let slot = &mut self.slots[index as usize];
        slot.payload = payload;
        slot.frg = frg;
        slot.transmissions = 0;
        slot.first_sent = transmission.sent;
        self.launch(index, transmission, record)
    }

    /// Takes the first lost segment as sent again.
    pub fn launch_lost(&mut self, transmission: Transmission, record: SendRecord) -> Option<Launch<'_>> {
        let index = self.lost.head;
        if index == NIL {
            return None;
        }
        unlink(&mut self.slots, &mut self.lost, index);
        Some(self.launch(index, transmission, record))
    }

    fn launch(&mut self, index: u32, transmission: Transmission, record: SendRecord) -> Launch<'_> {
        self.records[index as usize] = record;
        append(&mut self.slots, &mut self.in_flight, index);
        let sn = self.sn_of(index);
        let slot = &mut self.slots[index as usize];
        slot.state = State::InFlight;
        slot.last = transmission;
        slot.transmissions = slot.transmissions.saturating_add(1);
        self.in_flight_bytes += wire_bytes(&slot.payload);
        Launch { sn, frg: slot.frg, transmissions: slot.transmissions, payload: slot.payload.as_slice() }
    }

    /// The sn in a slot: the only one of the window that maps to it.
    fn sn_of(&self, index: u32) -> u32 {
        self.una.wrapping_add(index.wrapping_sub(self.una) & self.mask)
    }

    /// Declares the oldest transmission in flight lost.
    pub fn lose_oldest(&mut self) {
        let index = self.in_flight.head;
        if index == NIL {
            return;
        }
        unlink(&mut self.slots, &mut self.in_flight, index);
        append(&mut self.slots, &mut self.lost, index);
        let slot = &mut self.slots[index as usize];
        slot.state = State::Lost;
        self.in_flight_bytes -= wire_bytes(&slot.payload);
    }

    /// Takes a segment out as arrived; None if it was known, or never sent.
    pub fn deliver(&mut self, sn: u32) -> Option<Delivery> {
        if precedes(sn, self.una) || !precedes(sn, self.next_sn) {
            return None;
        }
        let index = sn & self.mask;
        let list = match self.slots[index as usize].state {
            State::InFlight => &mut self.in_flight,
            State::Lost => &mut self.lost,
            State::Vacant | State::Delivered => return None,
        };
        unlink(&mut self.slots, list, index);
        let slot = &mut self.slots[index as usize];
        let payload = std::mem::take(&mut slot.payload);
        let was_lost = slot.state == State::Lost;
        if !was_lost {
            self.in_flight_bytes -= wire_bytes(&payload);
        }
        slot.state = State::Delivered;
        Some(Delivery {
            first_sent: slot.first_sent,
            last: slot.last,
            transmissions: slot.transmissions,
            was_lost,
            payload,
        })
    }

    /// What was recorded when `sn`, sent and not overtaken by una for a window since, was last sent.
    pub fn record(&self, sn: u32) -> SendRecord {
        self.records[(sn & self.mask) as usize]
    }

    /// Moves una over all that has arrived without a gap.
    pub fn advance(&mut self) {
        while self.una != self.next_sn {
            let slot = &mut self.slots[(self.una & self.mask) as usize];
            if slot.state != State::Delivered {
                return;
            }
            slot.state = State::Vacant;
            self.una = self.una.wrapping_add(1);
        }
    }

    /// Takes out what is not known to have arrived, in order of sn.
    pub fn into_undelivered(self) -> impl Iterator<Item = Payload> {
        let Self { mut slots, mask, una, next_sn, .. } = self;
        (0..next_sn.wrapping_sub(una)).filter_map(move |offset| {
            let slot = &mut slots[(una.wrapping_add(offset) & mask) as usize];
            matches!(slot.state, State::InFlight | State::Lost).then(|| std::mem::take(&mut slot.payload))
        })
    }
}

fn wire_bytes(payload: &Payload) -> u64 {
    (HEADER_LEN + payload.len()) as u64
}

fn append(slots: &mut [Slot], list: &mut List, index: u32) {
    slots[index as usize].prev = list.tail;
    slots[index as usize].next = NIL;
    match list.tail {
        NIL => list.head = index,
        tail => slots[tail as usize].next = index,
    }
    list.tail = index;
    list.len += 1;
}

fn unlink(slots: &mut [Slot], list: &mut List, index: u32) {
    let Slot { prev, next, .. } = slots[index as usize];
    match prev {
        NIL => list.head = next,
        prev => slots[prev as usize].next = next,
    }
    match next {
        NIL => list.tail = prev,
        next => slots[next as usize].prev = prev,
    }
    list.len -= 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;

    fn payload(byte: u8) -> Payload {
        Payload::Whole(Packet::from(&[byte][..]))
    }

    fn transmission(order: u64) -> Transmission {
        Transmission { order, sent: Time::ZERO }
    }

    fn flight_of(count: u8, first_sn: u32) -> Flight {
        let mut flight = Flight::new(16, first_sn);
        for byte in 0..count {
            flight.launch_new(payload(byte), 0, transmission(u64::from(byte)), SendRecord::default());
        }
        flight
    }

    #[test]
    fn a_slot_is_one_cache_line() {
        assert_eq!(size_of::<Slot>(), 64);
    }

    #[test]
    fn segments_leave_from_any_place_and_una_follows() {
        let mut flight = flight_of(5, u32::MAX - 1);
        assert!(flight.deliver(0).is_some());
        assert!(flight.deliver(0).is_none());
        flight.advance();
        assert_eq!((flight.una(), flight.in_flight_segments()), (u32::MAX - 1, 4));
        assert!(flight.deliver(u32::MAX - 1).is_some());
        assert!(flight.deliver(u32::MAX).is_some());
        flight.advance();
        assert_eq!((flight.una(), flight.span()), (1, 2));
        assert_eq!(flight.in_flight_bytes(), 50);
    }

    #[test]
    fn what_was_never_sent_cannot_arrive() {
        let mut flight = flight_of(3, 7);
        for sn in [6, 10, 11, 7_u32.wrapping_sub(16), 23, u32::MAX] {
            assert!(flight.deliver(sn).is_none(), "{sn}");
        }
    }

    #[test]
    fn a_lost_segment_is_sent_again_as_the_youngest() {
        let mut flight = flight_of(3, 0);
        flight.lose_oldest();
        assert_eq!((flight.in_flight_segments(), flight.next_lost_len()), (2, Some(1)));
        let launch = flight.launch_lost(transmission(3), SendRecord::default()).unwrap();
        assert_eq!((launch.sn, launch.transmissions, launch.payload), (0, 2, &[0][..]));
        let orders: Vec<_> = std::iter::from_fn(|| {
            let order = flight.oldest()?.order;
            flight.lose_oldest();
            Some(order)
        })
        .collect();
        assert_eq!(orders, [1, 2, 3]);
    }

    #[test]
    fn a_lost_segment_may_arrive_after_all() {
        let mut flight = flight_of(2, 0);
        flight.lose_oldest();
        assert!(flight.deliver(0).is_some());
        assert_eq!(flight.next_lost_len(), None);
        assert_eq!(flight.in_flight_bytes(), 25);
    }

    #[test]
    fn all_that_has_not_arrived_comes_out_in_order() {
        let mut flight = flight_of(6, u32::MAX - 2);
        flight.lose_oldest();
        flight.deliver(u32::MAX);
        let left: Vec<_> = flight.into_undelivered().map(|p| p.as_slice()[0]).collect();
        assert_eq!(left, [0, 1, 3, 4, 5]);
    }
}
