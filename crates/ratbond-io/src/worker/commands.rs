//! What the handle asks of the worker.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use ratbond_proto::Time;
use ratbond_proto::endpoint::SessionId;
use ratbond_proto::link::{Route, WanId};

use super::Worker;
use super::port::TunPort;
use crate::command::{Command, Snapshot, WanSpec};
use crate::error::EngineError;
use crate::poller::Ready;
use crate::tun::Tun;
use crate::udp::Udp;

impl Worker {
    /// Does what was asked; returns whether to end.
    pub(super) fn handle_commands(&mut self, now: Time) -> bool {
        self.commands.waker.clear();
        while let Ok(command) = self.commands.receiver.try_recv() {
            match command {
                Command::AddWan(spec, reply) => answer(&reply, self.add_wan(now, spec)),
                Command::RemoveWan(wan, reason) => self.remove_wan(now, wan, &reason),
                Command::RenameWan(wan, name) => self.rename_wan(now, wan, name),
                Command::Prefer(wan, preference) => self.endpoint.prefer(now, wan, preference),
                Command::AttachTun(session, tun, reply) => answer(&reply, self.attach_tun(session, tun)),
                Command::DetachTun(session, reply) => {
                    self.detach_tun(session);
                    answer(&reply, ());
                }
                Command::SetClients(clients, reply) => {
                    self.endpoint.set_clients(now, clients);
                    self.settle(now);
                    answer(&reply, ());
                }
                Command::SetScheduler(scheduler) => self.endpoint.set_scheduler(scheduler),
                Command::Snapshot(reply) => answer(&reply, self.snapshot(now)),
                Command::HandOver(route, mut datagram) => {
                    self.endpoint.handle_handover(now, route, &mut datagram);
                }
                Command::Close => {
                    self.endpoint.close(now);
                    self.settle(now);
                    return true;
                }
            }
        }
        false
    }

    fn add_wan(&mut self, now: Time, spec: WanSpec) -> Result<WanId, EngineError> {
        let wan = WanId(self.next_wan);
        let wants_more = self.open_link(now, wan, &spec)?;
        self.next_wan += 1;
        self.wans.insert(wan, spec);
        if wants_more {
            self.reconnect(now, wan);
        }
        Ok(wan)
    }

    /// Opens a socket for a WAN and a link over it; returns whether the WAN lacks another one.
    pub(super) fn open_link(&mut self, now: Time, wan: WanId, spec: &WanSpec) -> Result<bool, EngineError> {
        let udp = Udp::connect(spec.device.as_deref(), spec.source, spec.remote, self.offload)?;
        let socket = self.add_socket(udp)?;
        Ok(self.endpoint.connect(now, wan, Route { socket, remote: spec.remote, local: None }))
    }

    fn remove_wan(&mut self, now: Time, wan: WanId, reason: &str) {
        self.endpoint.remove_wan(now, wan, reason);
        // Its last event still needs the name, so the events go out first.
        self.settle(now);
        self.wans.remove(&wan);
        self.retries.retain(|&(_, waiting)| waiting != wan);
        self.stale_sockets = true;
    }

    fn rename_wan(&mut self, now: Time, wan: WanId, name: String) {
        // What happened before is told under the name that it happened to.
        self.settle(now);
        if let Some(spec) = self.wans.get_mut(&wan) {
            spec.device = spec.device.is_some().then(|| name.clone());
            spec.name = name;
        }
    }

    fn attach_tun(&mut self, session: SessionId, tun: Arc<Tun>) -> Result<(), EngineError> {
        self.detach_tun(session);
        self.poller.add(&*tun, Ready::Tun(session))?;
        self.tuns.insert(session, TunPort::new(tun));
        Ok(())
    }

    fn detach_tun(&mut self, session: SessionId) {
        if let Some(port) = self.tuns.remove(&session) {
            self.poller.remove(&*port.tun);
        }
    }

    fn snapshot(&self, now: Time) -> Snapshot {
        let tun = |id: SessionId| self.tuns.get(&id).map(|port| port.report.clone()).unwrap_or_default();
        Snapshot {
            at: now,
            sessions: self
                .endpoint
                .reports()
                .into_iter()
                .map(|report| (report.clone(), tun(report.id)))
                .collect(),
            names: self.wans.iter().map(|(&wan, spec)| (wan, spec.name.clone())).collect(),
            locals: self
                .sockets
                .iter()
                .filter_map(|(&id, udp)| Some((id, udp.local_address().ok()?)))
                .collect(),
        }
    }
}

/// A reply that nobody waits for any more is no error: the asking thread has gone.
fn answer<T>(reply: &SyncSender<T>, value: T) {
    let _ = reply.send(value);
}
