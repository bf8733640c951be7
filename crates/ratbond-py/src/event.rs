//! `Event`.

use pyo3::prelude::*;
use ratbond_io::{EngineEvent, EngineEventKind};
use ratbond_proto::Peer;

/// Something that happened; `_core.pyi` lists the kinds.
#[pyclass(frozen, get_all, module = "ratbond._core")]
pub(crate) struct Event {
    kind: &'static str,
    session: u32,
    link: Option<u32>,
    name: String,
    detail: String,
    links_up: usize,
    peer: &'static str,
    addresses: Vec<String>,
    mtu: u16,
    at_ns: u64,
}

#[pymethods]
impl Event {
    fn __repr__(&self) -> String {
        let link = self.link.map_or_else(|| "None".into(), |link| link.to_string());
        format!(
            "Event(kind={:?}, session={}, link={link}, name={:?}, detail={:?}, links_up={}, peer={:?})",
            self.kind, self.session, self.name, self.detail, self.links_up, self.peer
        )
    }
}

impl From<EngineEvent> for Event {
    fn from(event: EngineEvent) -> Self {
        Self {
            kind: match event.kind {
                EngineEventKind::SessionUp(_) => "session_up",
                EngineEventKind::SessionDown => "session_down",
                EngineEventKind::LinkUp => "link_up",
                EngineEventKind::LinkSuspect => "link_suspect",
                EngineEventKind::LinkDown => "link_down",
                EngineEventKind::Assigned(_) => "assigned",
                EngineEventKind::InnerMtu(_) => "mtu",
                EngineEventKind::Replaced => "replaced",
                EngineEventKind::Refused => "refused",
                EngineEventKind::Note => "note",
                EngineEventKind::Trace => "trace",
            },
            session: event.session.0,
            link: event.wan.map(|wan| wan.0),
            name: event.name,
            detail: event.detail,
            links_up: event.wans_up,
            peer: match event.kind {
                EngineEventKind::SessionUp(peer) => peer_name(peer),
                _ => "",
            },
            addresses: match event.kind {
                EngineEventKind::Assigned(assignment) => {
                    assignment.of_client().map(|(address, len)| format!("{address}/{len}")).collect()
                }
                _ => Vec::new(),
            },
            mtu: match event.kind {
                EngineEventKind::InnerMtu(len) => len,
                _ => 0,
            },
            at_ns: event.at.as_nanos(),
        }
    }
}

pub(crate) fn peer_name(peer: Peer) -> &'static str {
    match peer {
        Peer::Ratbond => "ratbond",
        Peer::Stock => "stock",
    }
}
