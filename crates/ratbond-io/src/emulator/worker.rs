//! The emulator's thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;

use ratbond_netem::{ConfigError, LinkConfig};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::clock::{self, Now};
use super::frame::FramePool;
use super::port::Port;
use super::{BATCH_INTERVAL, DirectionStats, EmulatorStats, FrameLink};

const BATCH_NS: u64 = BATCH_INTERVAL.as_nanos() as u64;

/// The longest that frames may lie in a ring while the thread sleeps. It holds [`Port`]'s ring of frames many times.
const MAX_RECEIVE_SLACK_NS: u64 = 1_000_000;

/// What the handle asks of the thread.
#[derive(Debug)]
pub(super) enum Command {
    Reconfigure { index: usize, config: LinkConfig, reply: mpsc::Sender<Result<(), ConfigError>> },
    Stats { reply: mpsc::Sender<EmulatorStats> },
    Stop,
}

/// Ports and directions. Direction `i` begins at port `i` and ends at port `i ^ 1`.
#[derive(Debug)]
pub(super) struct Worker {
    ports: Vec<Port>,
    links: Vec<FrameLink>,
    pool: FramePool,
    inbox: mpsc::Receiver<Command>,
    wakeup: OwnedFd,
    /// How late a frame may be taken from its ring without being late at its destination.
    receive_slack_ns: u64,
    realtime: bool,
}

impl Worker {
    pub(super) fn new(
        ports: Vec<Port>,
        links: Vec<FrameLink>,
        inbox: mpsc::Receiver<Command>,
        wakeup: OwnedFd,
    ) -> Self {
        let receive_slack_ns = receive_slack_ns(&links);
        Self { ports, links, pool: FramePool::default(), inbox, wakeup, receive_slack_ns, realtime: false }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(&mut self) -> io::Result<()> {
        self.realtime = clock::raise_priority();
        loop {
            let now = Now::read();
            let handled = self.receive(now) + self.transmit(now);
            if !self.obey(now.ns)? {
                return Ok(());
            }
            if handled > 0 {
                self.gather(now.ns);
            } else {
                self.wait()?;
            }
        }
    }

    fn receive(&mut self, now: Now) -> usize {
        let mut received = 0;
        for (port, link) in self.ports.iter_mut().zip(&mut self.links) {
            received += port.receive(now, link, &mut self.pool);
        }
        received
    }

    fn transmit(&mut self, now: Now) -> usize {
        let mut sent = 0;
        for (index, link) in self.links.iter_mut().enumerate() {
            let port = &mut self.ports[index ^ 1];
            while let Some(frame) = link.poll(now.ns) {
                port.send(frame, &mut self.pool);
                sent += 1;
            }
            port.flush(&mut self.pool);
        }
        sent
    }

    /// Carries out the commands that wait, and says whether to go on.
    fn obey(&mut self, now_ns: u64) -> io::Result<bool> {
        loop {
            match self.inbox.try_recv() {
                // Who asked may be gone; the answer is nobody's loss then.
                Ok(Command::Reconfigure { index, config, reply }) => {
                    let _ = reply.send(self.links[index].reconfigure(now_ns, config));
                    self.receive_slack_ns = receive_slack_ns(&self.links);
                }
                Ok(Command::Stats { reply }) => {
                    let _ = reply.send(self.stats()?);
                }
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return Ok(false),
                Err(mpsc::TryRecvError::Empty) => return Ok(true),
            }
        }
    }

    fn stats(&mut self) -> io::Result<EmulatorStats> {
        let mut directions = Vec::with_capacity(self.links.len());
        for (port, link) in self.ports.iter_mut().zip(&self.links) {
            directions.push(DirectionStats { link: link.stats(), port: port.stats()? });
        }
        for link in directions.chunks_exact_mut(2) {
            // Frames are refused where a direction ends.
            let (up, down) = (link[1].port.unsent_frames, link[0].port.unsent_frames);
            (link[0].port.unsent_frames, link[1].port.unsent_frames) = (up, down);
        }
        let links = directions.chunks_exact(2).map(|both| [both[0], both[1]]).collect();
        Ok(EmulatorStats { links, cpu_time: clock::thread_cpu_time(), realtime: self.realtime })
    }

    /// After frames there are more frames: sleeps until the next one is due, or must be taken from its ring, and a batch
    /// interval at least. A wake costs more than many frames do, so there is none for each frame that comes in.
    fn gather(&self, now_ns: u64) {
        let due_ns = self.next_deadline().unwrap_or(u64::MAX);
        clock::sleep_until(due_ns.min(now_ns + self.receive_slack_ns).max(now_ns + BATCH_NS));
    }

    /// Nothing has happened lately: sleeps until a frame comes in or is due, or a command comes.
    fn wait(&self) -> io::Result<()> {
        let timeout =
            self.next_deadline().map(|due_ns| clock::timespec(due_ns.saturating_sub(Now::read().ns)));
        let mut waited: Vec<PollFd<'_>> =
            self.ports.iter().map(|port| PollFd::new(port, PollFlags::IN)).collect();
        waited.push(PollFd::new(&self.wakeup, PollFlags::IN));
        match poll(&mut waited, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for (port, waited) in self.ports.iter().zip(&waited) {
            if waited.revents().contains(PollFlags::ERR) {
                port.clear_error()?;
            }
        }
        if waited.last().is_some_and(|waited| waited.revents().contains(PollFlags::IN)) {
            rustix::io::read(self.wakeup.as_fd(), &mut [0_u8; 8])?;
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<u64> {
        self.links.iter().filter_map(FrameLink::next_deadline).min()
    }
}

/// A frame counts from its time stamp, so it may wait in the ring for as long as it could not have arrived anyway; half
/// of that, to be safe.
fn receive_slack_ns(links: &[FrameLink]) -> u64 {
    let shortest_ns = links.iter().map(|link| link.config().shortest_delay_ns()).min().unwrap_or(0);
    (shortest_ns / 2).min(MAX_RECEIVE_SLACK_NS)
}
