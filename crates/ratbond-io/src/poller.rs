//! Waiting for several file descriptors and a deadline at once, with nanosecond deadlines.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ratbond_proto::endpoint::SessionId;
use ratbond_proto::link::SocketId;
use rustix::event::{EventfdFlags, Timespec, epoll};
use rustix::io::Errno;

use crate::error::EngineError;

const MAX_EVENTS: usize = 64;

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Somebody called [`Waker::wake`].
    Wake,
    /// A UDP socket can be read or written.
    Socket(SocketId),
    /// A session's tun can be read.
    Tun(SessionId),
}

impl Ready {
    fn to_data(self) -> u64 {
        match self {
            Self::Wake => 0,
            Self::Socket(SocketId(id)) => 1 << 32 | u64::from(id),
            Self::Tun(SessionId(id)) => 2 << 32 | u64::from(id),
        }
    }

    fn from_data(data: u64) -> Self {
        let id = data as u32;
        match data >> 32 {
            1 => Self::Socket(SocketId(id)),
            2 => Self::Tun(SessionId(id)),
            _ => Self::Wake,
        }
    }
}

/// An epoll instance.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> Result<Self, EngineError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(EngineError::system("cannot poll"))?;
        Ok(Self { epoll })
    }

    pub(crate) fn add(&self, source: impl AsFd, ready: Ready) -> Result<(), EngineError> {
        let data = epoll::EventData::new_u64(ready.to_data());
        epoll::add(&self.epoll, source, data, epoll::EventFlags::IN)
            .map_err(EngineError::system("cannot poll"))
    }

    /// Also waits until `source` can be written, or no longer does.
    pub(crate) fn want_write(&self, source: impl AsFd, ready: Ready, write: bool) -> Result<(), EngineError> {
        let flags =
            if write { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        let data = epoll::EventData::new_u64(ready.to_data());
        epoll::modify(&self.epoll, source, data, flags).map_err(EngineError::system("cannot poll"))
    }

    pub(crate) fn remove(&self, source: impl AsFd) {
        // It fails only when the descriptor was never added, which leaves nothing to undo.
        let _ = epoll::delete(&self.epoll, source);
    }

    /// Waits at most `timeout` (for ever without one) and fills `ready`.
    pub(crate) fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Result<(), EngineError> {
        ready.clear();
        let timeout = timeout.map(|duration| Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(duration.subsec_nanos()),
        });
        let mut events = [const { MaybeUninit::uninit() }; MAX_EVENTS];
        match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((events, _)) => ready.extend(events.iter().map(|event| Ready::from_data(event.data.u64()))),
            Err(Errno::INTR) => {}
            Err(error) => return Err(EngineError::system("cannot poll")(error)),
        }
        Ok(())
    }
}

/// Wakes a [`Poller`] from another thread; or, the other way round, makes a descriptor readable for an event loop.
#[derive(Debug)]
pub(crate) struct Waker {
    fd: OwnedFd,
}

impl Waker {
    pub(crate) fn new() -> Result<Self, EngineError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            fd: rustix::event::eventfd(0, flags).map_err(EngineError::system("cannot make an eventfd"))?,
        })
    }

    pub(crate) fn wake(&self) {
        // It fails only when 2^64 - 2 wakes are pending: the other side is about to wake anyway.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Forgets all wakes so far.
    pub(crate) fn clear(&self) {
        let mut count = [0; 8];
        // EAGAIN: there was none.
        let _ = rustix::io::read(&self.fd, &mut count);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
