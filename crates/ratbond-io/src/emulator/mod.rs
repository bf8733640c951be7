//! WAN links on one machine: frames that come in at one interface go out at another as [`ratbond_netem::Link`] says.
//!
//! ```text
//!   client's veth ══ client port ─▶ Link "up"   ─▶ server port ══ server's veth
//!                                ◀─ Link "down" ◀─
//! ```
//!
//! One thread serves all links: an `AF_PACKET` ring per port for what comes in, `sendmmsg` for what goes out. A frame's
//! arrival is the kernel's own time stamp, so that it does not matter when the thread sees it; what is due goes out at
//! most [`BATCH_INTERVAL`] late. Checksums that the sender left to the hardware stay open and are carried along
//! (`PACKET_VNET_HDR`), as between two virtual interfaces. Segmentation offload must be off at the senders: a frame
//! larger than a packet is counted as [`PortStats::oversize_frames`] and dropped, since no WAN would carry it.

mod clock;
mod frame;
mod port;
mod ring;
mod transmit;
mod worker;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use ratbond_netem::{ConfigError, Link, LinkConfig};
use rustix::event::EventfdFlags;
use thiserror::Error;

use frame::Frame;
use port::Port;
use worker::{Command, Worker};

/// How long the emulator of a busy link lets frames gather before it sends them: 8 full packets at 1 Gbit/s.
pub const BATCH_INTERVAL: Duration = Duration::from_micros(100);

/// The interfaces of one WAN link, by name in the calling thread's network namespace, and what the link is like.
#[derive(Clone, Debug)]
pub struct WanLink {
    /// The interface whose other end the client has.
    pub client_port: String,
    /// The interface whose other end the server has.
    pub server_port: String,
    /// From the client to the server.
    pub up: LinkConfig,
    /// From the server to the client.
    pub down: LinkConfig,
}

/// One direction of a WAN link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// Why an emulator does not start, or no longer answers.
#[derive(Debug, Error)]
pub enum EmulatorError {
    /// The interface cannot be used.
    #[error("cannot emulate a link on interface {name}: {source}")]
    Port {
        /// The interface's name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A value that no link can have.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no such link.
    #[error("no link number {number}: there are {count}, counted from 0")]
    UnknownLink {
        /// What was asked for.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// The kernel refused something that is not about one interface.
    #[error("cannot run the link emulator: {0}")]
    System(#[from] io::Error),
    /// The thread has ended.
    #[error("the link emulator has stopped")]
    Stopped,
}

/// What a port has counted, on its way into a link and out of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames that the ring had no room for: the emulator was too slow.
    pub ring_dropped_frames: u64,
    /// Frames that came while the link held all the memory it may.
    pub overload_dropped_frames: u64,
    /// Frames larger than a packet: segmentation offload is on somewhere.
    pub oversize_frames: u64,
    /// Frames that the port's interface refused to send, as when it is down.
    pub unsent_frames: u64,
}

/// The counters of one direction: the link, the port where it begins, and the frames refused where it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectionStats {
    /// The link model's.
    pub link: ratbond_netem::Stats,
    /// The driver's.
    pub port: PortStats,
}

/// What the whole emulator has counted.
#[derive(Clone, Debug, Default)]
pub struct EmulatorStats {
    /// Up and down of every link.
    pub links: Vec<[DirectionStats; 2]>,
    /// Processor time of its thread, receivers' network stacks included, as far as the kernel runs them there.
    pub cpu_time: Duration,
    /// Whether the kernel granted real-time priority, without which a busy machine makes delays less exact.
    pub realtime: bool,
}

/// A running emulator. Dropping it stops it.
#[derive(Debug)]
pub struct Emulator {
    configs: Vec<[LinkConfig; 2]>,
    commands: mpsc::Sender<Command>,
    wakeup: OwnedFd,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Emulator {
    /// Starts to carry frames. The interfaces are looked up in the calling thread's network namespace; afterwards
    /// neither caller nor emulator needs to stay in it. Each direction draws its random numbers from `seed` and its own
    /// place among the links.
    ///
    /// # Errors
    /// An interface cannot be opened, or a configuration has a value that no link can have.
    pub fn start(links: &[WanLink], seed: u64) -> Result<Self, EmulatorError> {
        let mut ports = Vec::new();
        let mut models = Vec::new();
        for (index, link) in (0_u64..).zip(links) {
            ports.push(open_port(&link.client_port)?);
            ports.push(open_port(&link.server_port)?);
            models.push(Link::new(link.up.clone(), direction_seed(seed, 2 * index))?);
            models.push(Link::new(link.down.clone(), direction_seed(seed, 2 * index + 1))?);
        }
        let wakeup = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(io::Error::from)?;
        let (commands, inbox) = mpsc::channel();
        let mut worker = Worker::new(ports, models, inbox, wakeup.try_clone()?);
        let thread = std::thread::Builder::new().name("emulator".into()).spawn(move || worker.run())?;
        let configs = links.iter().map(|link| [link.up.clone(), link.down.clone()]).collect();
        Ok(Self { configs, commands, wakeup, thread: Some(thread) })
    }

    /// What a direction is told to be at present.
    ///
    /// # Errors
    /// There is no such link.
    pub fn config(&self, link: usize, direction: Direction) -> Result<&LinkConfig, EmulatorError> {
        let count = self.configs.len();
        let both = self.configs.get(link).ok_or(EmulatorError::UnknownLink { number: link, count })?;
        Ok(&both[direction as usize])
    }

    /// Changes one direction while it runs, as [`Link::reconfigure`] does, and waits until it holds.
    ///
    /// # Errors
    /// No such link, a value that no link can have, or the emulator has stopped. Nothing is changed then.
    pub fn set(
        &mut self,
        link: usize,
        direction: Direction,
        config: LinkConfig,
    ) -> Result<(), EmulatorError> {
        self.config(link, direction)?;
        config.validate()?;
        let index = 2 * link + direction as usize;
        let new = config.clone();
        self.ask(|reply| Command::Reconfigure { index, config, reply })??;
        self.configs[link][direction as usize] = new;
        Ok(())
    }

    /// The counters.
    ///
    /// # Errors
    /// The emulator has stopped.
    pub fn stats(&self) -> Result<EmulatorStats, EmulatorError> {
        self.ask(|reply| Command::Stats { reply })
    }

    /// Stops the thread and closes the ports; frames under way are gone. Idempotent.
    ///
    /// # Errors
    /// What the thread died of, if it did.
    pub fn close(&mut self) -> Result<(), EmulatorError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // A thread that is gone already cannot be told, and need not be.
        if self.commands.send(Command::Stop).is_ok() {
            self.wake()?;
        }
        thread.join().map_err(|_panic| EmulatorError::Stopped)??;
        Ok(())
    }

    fn ask<T>(&self, command: impl FnOnce(mpsc::Sender<T>) -> Command) -> Result<T, EmulatorError> {
        let (reply, answer) = mpsc::channel();
        self.commands.send(command(reply)).map_err(|_gone| EmulatorError::Stopped)?;
        self.wake()?;
        answer.recv().map_err(|_gone| EmulatorError::Stopped)
    }

    fn wake(&self) -> Result<(), EmulatorError> {
        rustix::io::write(self.wakeup.as_fd(), &1_u64.to_ne_bytes()).map_err(io::Error::from)?;
        Ok(())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Who wants to know how the thread ended calls `close`.
        let _ = self.close();
    }
}

/// Seeds that differ in every direction; the model scrambles them.
fn direction_seed(seed: u64, index: u64) -> u64 {
    seed.wrapping_mul(0x0001_0000_0001).wrapping_add(index)
}

fn open_port(name: &str) -> Result<Port, EmulatorError> {
    Port::open(name).map_err(|source| EmulatorError::Port { name: name.to_owned(), source })
}

type FrameLink = Link<Frame>;
