//! The thread that owns a tunnel, or a share of a server's, both directions: it waits, reads a bounded batch from every source
//! that is ready, lets the protocol work, and sends what came of it.

mod commands;
mod moderation;
mod port;
mod transmit;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use ratbond_proto::bond::keys::Cipher;
use ratbond_proto::endpoint::{Endpoint, EndpointEvent, SessionId};
use ratbond_proto::link::{SocketId, WanId};
use ratbond_proto::{Event, Time};

use self::moderation::Moderation;
use self::port::TunPort;
use self::transmit::TransmitBatch;
use crate::clock;
use crate::command::{Command, CommandSource, EngineEvent, EngineEventKind, EventSink, Mailbox, WanSpec};
use crate::error::EngineError;
use crate::poller::{Poller, Ready};
use crate::tun::ReadBuffer;
use crate::udp::{ReceiveBuffers, Udp, is_too_big};

/// Batches sent before other sources get their turn.
const TRANSMIT_BUDGET: usize = 16;
const RETRY_SOCKET_AFTER: Duration = Duration::from_secs(1);
/// Niceness of the thread. Other programs on a busy host would else make packets wait as long as each of them works; where the
/// kernel forwards, it asks none of them either. They keep a tenth of each core.
const NICENESS: i32 = -10;
/// The same trouble is told at most this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Worker {
    endpoint: Box<dyn Endpoint>,
    /// Whether its sockets may use segmentation offload.
    offload: bool,
    poller: Poller,
    commands: CommandSource,
    /// All workers of the end, this one too, by their numbers.
    peers: Vec<Mailbox>,
    events: EventSink,
    sockets: BTreeMap<SocketId, Udp>,
    next_socket: u32,
    wans: BTreeMap<WanId, WanSpec>,
    next_wan: u32,
    tuns: BTreeMap<SessionId, TunPort>,
    /// WANs whose socket could not be opened, and when to try again.
    retries: Vec<(Time, WanId)>,
    complained: BTreeMap<String, Time>,
    receive: ReceiveBuffers,
    transmit: TransmitBatch,
    tun_buffer: ReadBuffer,
    moderation: Moderation,
    /// Packets and datagrams of the turn.
    handled: u64,
    /// Sessions whose tun has packets to write.
    unwritten: Vec<SessionId>,
    /// Sockets or wans changed: look for sockets that nobody uses.
    stale_sockets: bool,
}

impl Worker {
    pub(crate) fn new(
        endpoint: Box<dyn Endpoint>,
        listen: Option<Udp>,
        offload: bool,
        (commands, peers): (CommandSource, Vec<Mailbox>),
        events: EventSink,
    ) -> Result<Self, EngineError> {
        let poller = Poller::new()?;
        poller.add(&*commands.waker, Ready::Wake)?;
        let mut worker = Self {
            endpoint,
            offload,
            poller,
            commands,
            peers,
            events,
            sockets: BTreeMap::new(),
            next_socket: 0,
            wans: BTreeMap::new(),
            next_wan: 0,
            tuns: BTreeMap::new(),
            retries: Vec::new(),
            complained: BTreeMap::new(),
            receive: ReceiveBuffers::new(),
            transmit: TransmitBatch::default(),
            tun_buffer: ReadBuffer::default(),
            moderation: Moderation::default(),
            handled: 0,
            unwritten: Vec::new(),
            stale_sockets: false,
        };
        if let Some(udp) = listen {
            worker.add_socket(udp)?;
        }
        Ok(worker)
    }

    /// Works until it is told to close.
    pub(crate) fn run(mut self) {
        // None is this thread. Without CAP_SYS_NICE it goes on as any other.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        let mut ready = Vec::new();
        loop {
            let timeout = self.next_deadline().map(|deadline| deadline.saturating_since(clock::now()));
            if let Err(error) = self.poller.wait(timeout, &mut ready) {
                self.tell(EngineEventKind::Note, &format!("the engine stops: {error}"));
                return;
            }
            let now = clock::now();
            if self.turn(now, &ready) {
                return;
            }
            self.gather(now);
        }
    }

    /// Lets more packets come before the next turn, if they come so densely that it pays; but misses no deadline.
    fn gather(&mut self, began: Time) {
        let Some(pause) = self.moderation.on_turn(began, std::mem::take(&mut self.handled)) else { return };
        let until = self.next_deadline().map_or(began + pause, |deadline| deadline.min(began + pause));
        let rest = until.saturating_since(clock::now());
        if rest > Duration::ZERO {
            std::thread::sleep(rest);
        }
    }

    /// One round over everything that is ready; returns whether to end.
    fn turn(&mut self, now: Time, ready: &[Ready]) -> bool {
        for &item in ready {
            match item {
                Ready::Wake => {
                    if self.handle_commands(now) {
                        return true;
                    }
                }
                Ready::Socket(id) => self.read_socket(now, id),
                Ready::Tun(session) => self.read_tun(now, session),
            }
        }
        self.handle_deadlines(now);
        self.settle(now);
        false
    }

    /// Lets the endpoint give away all it has.
    fn settle(&mut self, now: Time) {
        self.deliver();
        self.transmit(now);
        self.hand_over();
        while let Some(event) = self.endpoint.poll_event() {
            self.handle_event(now, &event);
        }
        if std::mem::take(&mut self.stale_sockets) {
            self.close_stale_sockets();
        }
    }

    /// Gives other workers what is theirs.
    fn hand_over(&mut self) {
        while let Some(handover) = self.endpoint.poll_handover() {
            if let Some(peer) = self.peers.get(usize::from(handover.worker)) {
                // One that has ended answers nobody any more, nor will this one.
                let _ = peer.tell(Command::HandOver(handover.route, handover.datagram));
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let retry = self.retries.iter().map(|&(at, _)| at).min();
        // What the transmit budget left over waits for no deadline.
        let leftover = self.transmit.has_more.then(clock::now);
        [self.endpoint.poll_timeout(), retry, leftover].into_iter().flatten().min()
    }

    fn handle_deadlines(&mut self, now: Time) {
        if self.endpoint.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.endpoint.handle_timeout(now);
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.retries).into_iter().partition(|&(at, _)| at <= now);
        self.retries = later;
        for (_, wan) in due {
            self.reconnect(now, wan);
        }
    }

    fn read_socket(&mut self, now: Time, id: SocketId) {
        let Some(udp) = self.sockets.get_mut(&id) else { return };
        let flushed = udp.flush();
        let (endpoint, handled) = (&mut self.endpoint, &mut self.handled);
        let received = udp.receive(id, &mut self.receive, |route, datagram| {
            *handled += 1;
            endpoint.handle_datagram(now, route, datagram);
        });
        match flushed {
            Ok(blocked) => self.watch_writable(id, blocked),
            Err(error) => self.complain(now, "cannot send", &error),
        }
        if let Err(error) = received {
            self.complain(now, "cannot receive", &error);
        }
    }

    fn read_tun(&mut self, now: Time, session: SessionId) {
        let Some(port) = self.tuns.get_mut(&session) else { return };
        let (endpoint, handled) = (&mut self.endpoint, &mut self.handled);
        let read = port.read(&mut self.tun_buffer, |packet| {
            *handled += 1;
            endpoint.handle_packet(now, session, packet);
        });
        match read {
            Ok(None) => {}
            Ok(Some(malformed)) => self.complain_words(now, "dropped from the tun", &malformed.to_string()),
            Err(error) => self.lose_tun(now, session, &error),
        }
    }

    /// A tun that cannot be read was removed by somebody; polling it on would spin.
    fn lose_tun(&mut self, now: Time, session: SessionId, error: &io::Error) {
        // A device that is merely down says EIO and stays readable once it is up again.
        if let Some(port) = self.tuns.remove(&session) {
            self.poller.remove(&*port.tun);
        }
        self.complain(now, "the tun device is gone", error);
    }

    fn deliver(&mut self) {
        let endpoint = &mut self.endpoint;
        while let Some((session, packet)) = endpoint.poll_delivery() {
            let Some(port) = self.tuns.get_mut(&session) else {
                endpoint.recycle(session, packet);
                continue;
            };
            if !port.holds {
                self.unwritten.push(session);
            }
            port.push(packet, |packet| endpoint.recycle(session, packet));
        }
        for session in self.unwritten.drain(..) {
            if let Some(port) = self.tuns.get_mut(&session) {
                port.flush(|packet| endpoint.recycle(session, packet));
            }
        }
    }

    fn transmit(&mut self, now: Time) {
        for _ in 0..TRANSMIT_BUDGET {
            if !self.transmit.fill(now, &mut *self.endpoint) {
                return;
            }
            let mut troubles = Vec::new();
            let mut fell_back = false;
            for run in self.transmit.runs() {
                let id = run.route.socket;
                let Some(udp) = self.sockets.get_mut(&id) else { continue };
                match udp.send(&run) {
                    Ok(false) => {}
                    Ok(true) => troubles.push((id, None)),
                    Err(error)
                        if is_too_big(&error)
                            && self.endpoint.handle_too_big(now, run.route, run.segment) => {}
                    Err(error) => troubles.push((id, Some(error))),
                }
                fell_back |= std::mem::take(&mut udp.fell_back);
            }
            if fell_back {
                self.complain_words(
                    now,
                    "datagrams leave one by one",
                    "the device on their way cannot cut them",
                );
            }
            for (id, trouble) in troubles {
                match trouble {
                    None => self.watch_writable(id, true),
                    Some(error) => self.complain(now, "cannot send", &error),
                }
            }
        }
    }

    fn handle_event(&mut self, now: Time, event: &EndpointEvent) {
        let (kind, wan, detail) = match &event.event {
            Event::SessionUp(peer) => {
                let report = self.endpoint.reports().into_iter().find(|report| report.id == event.session);
                let cipher = report.and_then(|report| report.cipher).map_or("", Cipher::name);
                (EngineEventKind::SessionUp(*peer), None, cipher.to_owned())
            }
            Event::SessionDown => (EngineEventKind::SessionDown, None, String::new()),
            Event::WanUp(wan) => (EngineEventKind::LinkUp, Some(*wan), String::new()),
            Event::WanSuspect(wan) => {
                (EngineEventKind::LinkSuspect, Some(*wan), "an answer is overdue".into())
            }
            Event::WanDown(wan, reason) => (EngineEventKind::LinkDown, Some(*wan), reason.to_string()),
            Event::Assigned(assignment) => (EngineEventKind::Assigned(*assignment), None, String::new()),
            Event::InnerMtu(len) => (EngineEventKind::InnerMtu(*len), None, String::new()),
            Event::Replaced => (EngineEventKind::Replaced, None, String::new()),
            Event::Trace(line) => (EngineEventKind::Trace, None, line.clone()),
            Event::Refused(words) => (EngineEventKind::Refused, None, words.clone()),
            Event::Reconnect(wan) => {
                self.stale_sockets = true;
                self.reconnect(now, *wan);
                return;
            }
        };
        self.stale_sockets |= matches!(kind, EngineEventKind::LinkDown | EngineEventKind::LinkUp);
        let named = wan.and_then(|wan| self.wans.get(&wan)).map(|spec| spec.name.clone());
        let name = named.or_else(|| event.remote.map(|remote| remote.to_string())).unwrap_or_default();
        let session = event.session;
        self.events.send(EngineEvent { kind, session, wan, name, detail, wans_up: event.wans_up, at: now });
    }

    /// Opens the links that a WAN lacks, each over a new socket; tries again later when the kernel refuses.
    fn reconnect(&mut self, now: Time, wan: WanId) {
        let Some(spec) = self.wans.get(&wan).cloned() else { return };
        loop {
            match self.open_link(now, wan, &spec) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.retries.push((now + RETRY_SOCKET_AFTER, wan));
                    self.complain_words(now, &spec.name, &error.to_string());
                    break;
                }
            }
        }
        self.stale_sockets = true;
    }

    fn add_socket(&mut self, udp: Udp) -> Result<SocketId, EngineError> {
        let id = SocketId(self.next_socket);
        self.poller.add(&udp, Ready::Socket(id))?;
        self.next_socket += 1;
        self.sockets.insert(id, udp);
        Ok(id)
    }

    /// A client's sockets live as long as a link uses them; a server's one for ever.
    fn close_stale_sockets(&mut self) {
        if self.wans.is_empty() && self.next_wan == 0 {
            return;
        }
        let endpoint = &self.endpoint;
        self.sockets.retain(|&id, _| endpoint.uses_socket(id));
    }

    fn watch_writable(&mut self, id: SocketId, blocked: bool) {
        let Some(udp) = self.sockets.get_mut(&id) else { return };
        if udp.awaits_room == blocked {
            return;
        }
        match self.poller.want_write(&*udp, Ready::Socket(id), blocked) {
            Ok(()) => udp.awaits_room = blocked,
            Err(error) => self.tell(EngineEventKind::Note, &error.to_string()),
        }
    }

    fn complain(&mut self, now: Time, what: &str, error: &io::Error) {
        self.complain_words(now, what, &error.to_string());
    }

    fn complain_words(&mut self, now: Time, what: &str, words: &str) {
        let text = format!("{what}: {words}");
        let told = self.complained.get(&text).is_some_and(|&at| now.saturating_since(at) < COMPLAIN_EVERY);
        if !told {
            self.tell(EngineEventKind::Note, &text);
            self.complained.retain(|_, at| now.saturating_since(*at) < COMPLAIN_EVERY);
            self.complained.insert(text, now);
        }
    }

    fn tell(&self, kind: EngineEventKind, words: &str) {
        self.events.send(EngineEvent {
            kind,
            session: SessionId(0),
            wan: None,
            name: String::new(),
            detail: words.to_owned(),
            wans_up: 0,
            at: clock::now(),
        });
    }
}
