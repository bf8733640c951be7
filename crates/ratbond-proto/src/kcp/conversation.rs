//! One KCP conversation: the sending and the receiving half, and the datagrams they share.
//!
//! The driver's round: [`Kcp::input`] for what came, [`Kcp::handle_timeout`] when [`Kcp::poll_timeout`] has passed,
//! [`Kcp::recv`] until there is none, then [`Kcp::poll_transmit`] until it returns 0, or as far as pacing allows.

use std::time::Duration;

use super::acks::{Ack, Acks};
use super::config::Config;
use super::probe::WindowProbe;
use super::receiver::{self, Arrival, Receiver};
use super::segment::{Cmd, HEADER_LEN, Header, Segment, SegmentError, Segments};
use super::sender::{LossSummary, NeverSent, Round, Sender};
use super::serial::wire_clock;
use super::stats::Stats;
use crate::path::rate::RateSample;
use crate::path::rtt::RttEstimator;
use crate::{Packet, PacketPool, Time};

/// Why a message was not queued. It is handed back.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It needs more fragments than can be numbered.
    #[error("a message of {} bytes needs more than 256 segments", .0.len())]
    TooLong(Packet),
    /// kcp-go sends no empty messages.
    #[error("a message has no content")]
    Empty(Packet),
}

/// Why the rest of a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// It is no segment.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// It belongs to another conversation.
    #[error("segment of conversation {0}")]
    OtherConversation(u32),
    /// una or an ACK speaks of what was never sent.
    #[error("acknowledges what was never sent")]
    NeverSent,
    /// The payload is longer than any that KCP's MTU allows, or a message has more fragments than the window.
    #[error("segment or message too long")]
    TooLong,
}

/// What a datagram did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputSummary {
    /// Segments taken in, of any kind.
    pub segments: u32,
    /// Our segments that are now known to have arrived.
    pub newly_acked_segments: u32,
    /// Their bytes, segment headers included.
    pub newly_acked_bytes: u64,
    /// Round trip of the newest transmission that was acknowledged by its ts.
    pub rtt: Option<Duration>,
    /// Delivery rate over the flight of the newest segment acknowledged.
    pub rate: Option<RateSample>,
    /// Our transmissions that this datagram shows to be lost.
    pub lost: LossSummary,
    /// New PUSH segments.
    pub new_pushes: u32,
    /// PUSH segments that had arrived before.
    pub duplicate_pushes: u32,
    /// PUSH segments for which there was no room.
    pub out_of_window_pushes: u32,
    /// Why the rest of the datagram was dropped. Segments before it count.
    pub error: Option<InputError>,
}

/// One conversation. Pure: bytes and time come in, bytes and deadlines go out.
#[derive(Debug)]
pub struct Kcp {
    conv: u32,
    config: Config,
    sender: Sender,
    receiver: Receiver,
    acks: Acks,
    probe: WindowProbe,
    /// Whether the peer is to be told our window.
    tell_window: bool,
    stats: Stats,
}

impl Kcp {
    /// A conversation that begins now. Both ends must use the same `conv`.
    #[must_use]
    pub fn new(conv: u32, config: Config, now: Time) -> Self {
        Self {
            conv,
            config,
            sender: Sender::new(config, now),
            receiver: Receiver::new(config.receive_window, config.first_sn),
            acks: Acks::new(usize::from(config.receive_window), config.ack_delay, config.ack_threshold),
            probe: WindowProbe::Idle,
            tell_window: false,
            stats: Stats::default(),
        }
    }

    /// The conversation's id.
    #[must_use]
    pub fn conv(&self) -> u32 {
        self.conv
    }

    /// What it was told at its start.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Queues a message. One that fits [`Config::mss`] becomes one segment; nothing is ever put with it.
    ///
    /// The queue takes all it is given: ask [`Kcp::has_room`] first.
    ///
    /// # Errors
    /// When the message is empty, or would need more than 256 segments.
    pub fn send(&mut self, message: Packet) -> Result<(), SendError> {
        if message.is_empty() {
            return Err(SendError::Empty(message));
        }
        self.sender.enqueue(message).map_err(SendError::TooLong)
    }

    /// Segments that wait to be sent or are not acknowledged.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sender.waiting()
    }

    /// Whether the send window has room for what is queued (kcp-go blocks its writer otherwise).
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.waiting() < usize::from(self.config.send_window)
    }

    /// Sends nothing more while this many bytes are in flight, segment headers included; the windows hold besides. One
    /// segment may always be in flight. For congestion control.
    pub fn set_in_flight_limit(&mut self, bytes: u64) {
        self.sender.set_in_flight_limit(bytes);
    }

    /// Holds PUSH segments back, or lets them go again. For pacing; ACKs and window probes are never held.
    pub fn hold(&mut self, held: bool) {
        self.sender.hold(held);
    }

    /// Sending falls behind for a reason that is not the path's: what is in flight now says little of its rate.
    pub fn on_sender_limited(&mut self) {
        self.sender.limit_rate_samples();
    }

    /// Whether a PUSH segment waits for nothing but the end of [`Kcp::hold`].
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.sender.is_held()
    }

    /// What is known of the round trip.
    #[must_use]
    pub fn rtt(&self) -> &RttEstimator {
        &self.sender.rtt
    }

    /// Whether a segment was sent [`Config::dead_link`] times without an answer.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.sender.is_dead()
    }

    /// Counters and levels.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats;
        self.sender.fill_stats(&mut stats);
        stats
    }

    /// Takes in a datagram: its segments, without the crypt header.
    pub fn input(&mut self, now: Time, segments: &[u8], pool: &mut PacketPool) -> InputSummary {
        let mut summary = InputSummary::default();
        let mut round = Round::default();
        for segment in Segments::new(segments) {
            let taken = segment
                .map_err(InputError::from)
                .and_then(|segment| self.input_segment(now, &segment, &mut round, &mut summary, pool));
            if let Err(error) = taken {
                self.stats.malformed += 1;
                summary.error = Some(error);
                break;
            }
            summary.segments += 1;
        }
        let result = self.sender.on_round_end(&round, now);
        summary.newly_acked_segments = round.segments;
        summary.newly_acked_bytes = round.bytes;
        summary.rtt = result.rtt;
        summary.rate = result.rate;
        summary.lost = result.lost;
        self.stats.segments_acked += u64::from(round.segments);
        self.stats.bytes_acked += round.bytes;
        self.stats.spurious_retransmits += u64::from(round.needless_repeats);
        self.stats.fast_losses += u64::from(result.lost.segments);
        self.probe.update(now, self.sender.is_window_closed());
        summary
    }

    fn input_segment(
        &mut self,
        now: Time,
        segment: &Segment<'_>,
        round: &mut Round,
        summary: &mut InputSummary,
        pool: &mut PacketPool,
    ) -> Result<(), InputError> {
        let Header { conv, cmd, wnd, ts, sn, una, .. } = segment.header;
        if conv != self.conv {
            return Err(InputError::OtherConversation(conv));
        }
        if !self.sender.is_possible(una) {
            return Err(InputError::NeverSent);
        }
        // The ACK before the una that covers it: the una does not say which transmission arrived.
        if cmd == Cmd::Ack {
            let taken = self.sender.on_ack(sn, ts, now, round, pool);
            taken.map_err(|NeverSent| InputError::NeverSent)?;
        }
        self.sender.on_una(una, now, round, pool);
        self.sender.on_window(wnd, una);
        match cmd {
            Cmd::Push => self.input_push(now, segment, summary, pool)?,
            Cmd::WindowAsk => self.tell_window = true,
            Cmd::Ack | Cmd::WindowTell => {}
        }
        Ok(())
    }

    fn input_push(
        &mut self,
        now: Time,
        segment: &Segment<'_>,
        summary: &mut InputSummary,
        pool: &mut PacketPool,
    ) -> Result<(), InputError> {
        let Header { frg, sn, ts, .. } = segment.header;
        if segment.payload.len() > self.config.max_payload || u32::from(frg) >= self.receiver.window() {
            return Err(InputError::TooLong);
        }
        let arrival = self.receiver.push(sn, frg, segment.payload, pool);
        match arrival {
            Arrival::New { .. } => {
                summary.new_pushes += 1;
                self.stats.pushes_received += 1;
            }
            Arrival::Duplicate => {
                summary.duplicate_pushes += 1;
                self.stats.duplicates_received += 1;
            }
            Arrival::OutOfWindow => {
                summary.out_of_window_pushes += 1;
                self.stats.out_of_window += 1;
            }
        }
        receiver::answer(arrival, Ack { sn, ts }, now, &mut self.acks);
        Ok(())
    }

    /// Takes out the next message that has arrived, in order. From a peer in stream mode: the next segment's bytes.
    pub fn recv(&mut self, pool: &mut PacketPool) -> Option<Packet> {
        let was_full = self.receiver.free() == 0;
        let message = self.receiver.read(pool)?;
        self.tell_window |= was_full;
        Some(message)
    }

    /// Appends the segments of one datagram of at most [`Config::mtu`] bytes to `datagram`, and returns how many bytes it
    /// appended; 0 when nothing is due.
    pub fn poll_transmit(&mut self, now: Time, datagram: &mut Vec<u8>) -> usize {
        let start = datagram.len();
        let end = start + self.config.mtu;
        self.probe.update(now, self.sender.is_window_closed());
        if self.acks.due_at().is_some_and(|at| now >= at) {
            self.write_acks(datagram, end);
        }
        self.write_window_segments(now, datagram, end);
        self.write_pushes(now, datagram, end);
        if datagram.len() > start {
            // ACKs that are not yet due ride along where there is room.
            self.write_acks(datagram, end);
        } else {
            self.sender.note_idle();
        }
        datagram.len() - start
    }

    fn write_acks(&mut self, datagram: &mut Vec<u8>, end: usize) {
        let una = self.receiver.next_sn();
        while datagram.len() + HEADER_LEN <= end {
            let Some(Ack { sn, ts }) = self.acks.next(una) else { return };
            Header { sn, ts, ..self.header(Cmd::Ack) }.write(&[], datagram);
            self.stats.acks_sent += 1;
        }
    }

    fn write_window_segments(&mut self, now: Time, datagram: &mut Vec<u8>, end: usize) {
        if datagram.len() + 2 * HEADER_LEN > end {
            return;
        }
        if self.probe.take_due(now) {
            self.header(Cmd::WindowAsk).write(&[], datagram);
            self.stats.probes_sent += 1;
        }
        if std::mem::take(&mut self.tell_window) {
            self.header(Cmd::WindowTell).write(&[], datagram);
        }
    }

    fn write_pushes(&mut self, now: Time, datagram: &mut Vec<u8>, end: usize) {
        let ts = wire_clock(now);
        let template = self.header(Cmd::Push);
        while self.sender.next_len().is_some_and(|len| datagram.len() + HEADER_LEN + len <= end) {
            let Some(launch) = self.sender.launch(now) else { return };
            Header { frg: launch.frg, ts, sn: launch.sn, ..template }.write(launch.payload, datagram);
            self.stats.pushes_sent += 1;
            self.stats.push_bytes_sent += (HEADER_LEN + launch.payload.len()) as u64;
            self.stats.retransmits += u64::from(launch.transmissions > 1);
        }
    }

    fn header(&self, cmd: Cmd) -> Header {
        let (wnd, una) = (self.receiver.free(), self.receiver.next_sn());
        Header { conv: self.conv, cmd, frg: 0, wnd, ts: 0, sn: 0, una }
    }

    /// When [`Kcp::handle_timeout`] and [`Kcp::poll_transmit`] want to be called, if nothing comes in before: an ACK that
    /// may wait no longer, a window probe, a loss that time shows, or the retransmission timeout.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.acks.due_at(), self.probe.due_at(), self.sender.deadline()].into_iter().flatten().min()
    }

    /// Finds what time shows to be lost; [`Kcp::poll_transmit`] sends it again.
    pub fn handle_timeout(&mut self, now: Time) -> LossSummary {
        let lost = self.sender.on_timeout(now);
        let counter =
            if lost.timed_out { &mut self.stats.timeout_losses } else { &mut self.stats.fast_losses };
        *counter += u64::from(lost.segments);
        lost
    }

    /// Ends the conversation and hands back every message not known to have arrived, in order: what was sent and what was
    /// still queued.
    pub fn into_unacknowledged(self) -> impl Iterator<Item = Packet> {
        self.sender.into_unacknowledged().into_iter()
    }
}
