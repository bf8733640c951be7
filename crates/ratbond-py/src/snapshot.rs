//! Snapshots as plain Python dictionaries.

use std::net::SocketAddr;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use ratbond_io::Snapshot;
use ratbond_proto::bond::keys::Cipher;
use ratbond_proto::bond::link::path_mtu::PathMtuState;
use ratbond_proto::endpoint::SessionReport;
use ratbond_proto::session::{LinkReport, LinkState};

use crate::event::peer_name;
use crate::preference::tier_name;

/// What the engine was made with and the worker does not tell again.
pub(crate) struct Facts {
    pub tunnel_id: u16,
    pub scheduler: &'static str,
}

/// `list[SessionSnapshot]`.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    snapshot: &Snapshot,
    facts: &Facts,
) -> PyResult<Bound<'py, PyList>> {
    let sessions = PyList::empty(py);
    for (report, tun) in &snapshot.sessions {
        let dict = PyDict::new(py);
        dict.set_item("id", report.id.0)?;
        dict.set_item("up", report.up_since.is_some())?;
        dict.set_item("peer", report.peer.map_or("", peer_name))?;
        dict.set_item("cipher", report.cipher.map_or("", Cipher::name))?;
        dict.set_item("tunnel_id", facts.tunnel_id)?;
        dict.set_item("scheduler", facts.scheduler)?;
        let uptime = report.up_since.map(|since| snapshot.at.saturating_since(since));
        dict.set_item("uptime_ms", uptime.map_or(0.0, millis))?;
        dict.set_item("tun", &tun.name)?;
        dict.set_item("tun_rx_packets", tun.rx_packets)?;
        dict.set_item("tun_rx_bytes", tun.rx_bytes)?;
        dict.set_item("tun_tx_packets", tun.tx_packets)?;
        dict.set_item("tun_tx_bytes", tun.tx_bytes)?;
        dict.set_item("tun_tx_drops", tun.tx_drops)?;
        dict.set_item("no_link_drops", report.stats.no_link_drops)?;
        dict.set_item("not_ip_drops", report.stats.not_ip_drops)?;
        dict.set_item("own_drops", report.stats.own_drops)?;
        dict.set_item("queued_packets", report.stats.queued.0)?;
        dict.set_item("queued_bytes", report.stats.queued.1)?;
        dict.set_item("aqm_drops", report.stats.queues.aqm_drops)?;
        dict.set_item("aqm_marks", report.stats.queues.aqm_marks)?;
        dict.set_item("overflow_drops", report.stats.queues.overflow_drops)?;
        dict.set_item("requeued_packets", report.stats.requeued_packets)?;
        dict.set_item("doubled_packets", report.stats.doubled_packets + report.stats.copied_packets)?;
        dict.set_item("doubled_bytes", report.stats.doubled_bytes)?;
        dict.set_item("inner_mtu", report.stats.inner_mtu)?;
        dict.set_item("too_big_packets", report.stats.too_big_packets)?;
        dict.set_item("too_big_answers", report.stats.too_big_answers)?;
        dict.set_item("spoofed_drops", report.gate.spoofed_drops)?;
        dict.set_item("other_client_drops", report.gate.other_client_drops)?;
        dict.set_item("cap_drops_tx", report.gate.cap_drops_to_client)?;
        dict.set_item("cap_drops_rx", report.gate.cap_drops_from_client)?;
        dict.set_item("links", links(py, snapshot, report)?)?;
        sessions.append(dict)?;
    }
    Ok(sessions)
}

fn links<'py>(py: Python<'py>, snapshot: &Snapshot, session: &SessionReport) -> PyResult<Bound<'py, PyList>> {
    let links = PyList::empty(py);
    for link in &session.links {
        let dict = PyDict::new(py);
        identity(&dict, snapshot, link)?;
        protocol(&dict, link)?;
        traffic(&dict, link)?;
        links.append(dict)?;
    }
    Ok(links)
}

fn identity(dict: &Bound<'_, PyDict>, snapshot: &Snapshot, link: &LinkReport) -> PyResult<()> {
    let name = snapshot.names.iter().find(|(wan, _)| *wan == link.wan).map(|(_, name)| name.clone());
    let bound =
        snapshot.locals.iter().find(|(socket, _)| *socket == link.route.socket).map(|&(_, local)| local);
    let local = match (bound, link.route.local) {
        (Some(bound), Some(ip)) => Some(SocketAddr::new(ip, bound.port())),
        (bound, _) => bound,
    };
    dict.set_item("id", link.wan.0)?;
    dict.set_item("name", name.unwrap_or_else(|| link.route.remote.to_string()))?;
    dict.set_item("conv", link.key)?;
    dict.set_item(
        "state",
        match link.state {
            LinkState::Connecting => "connecting",
            LinkState::Up => "up",
            LinkState::Suspect { .. } => "suspect",
        },
    )?;
    dict.set_item("tier", tier_name(link.preference.tier))?;
    dict.set_item("cap_up_bps", link.preference.up_bps)?;
    dict.set_item("cap_down_bps", link.preference.down_bps)?;
    dict.set_item("weight", link.preference.weight)?;
    dict.set_item("local", local.map(|local| local.to_string()).unwrap_or_default())?;
    dict.set_item("remote", link.route.remote.to_string())?;
    let since =
        |then: Option<ratbond_proto::Time>| then.map(|then| millis(snapshot.at.saturating_since(then)));
    dict.set_item("hello_age_ms", since(link.last_rx).unwrap_or(-1.0))?;
    dict.set_item("uptime_ms", since(link.up_since).unwrap_or(0.0))
}

fn protocol(dict: &Bound<'_, PyDict>, link: &LinkReport) -> PyResult<()> {
    let stats = &link.stats;
    dict.set_item("rtt_ms", millis(stats.srtt))?;
    dict.set_item("rttvar_ms", millis(stats.rttvar))?;
    dict.set_item("min_rtt_ms", millis(stats.min_rtt))?;
    dict.set_item("rto_ms", millis(stats.rto))?;
    dict.set_item("delivery_rate_bps", stats.delivery_rate_bps as f64)?;
    dict.set_item("in_flight_segments", stats.in_flight_segments)?;
    dict.set_item("in_flight_bytes", stats.in_flight_bytes)?;
    dict.set_item("window_bytes", stats.window_bytes)?;
    dict.set_item("segments_sent", stats.segments_sent)?;
    dict.set_item("retransmits", stats.retransmits)?;
    dict.set_item("fast_retransmits", stats.fast_retransmits)?;
    dict.set_item("timeouts", stats.timeouts)?;
    dict.set_item("duplicates", stats.duplicates)?;
    dict.set_item("loss", stats.loss)?;
    dict.set_item("malformed", stats.malformed)?;
    dict.set_item("link_mtu", link.mtu)?;
    dict.set_item("path_mtu", link.mtu.map(|_| stats.path_mtu))?;
    dict.set_item(
        "path_mtu_state",
        match stats.path_mtu_state {
            PathMtuState::Fixed => "",
            PathMtuState::Base => "base",
            PathMtuState::Searching => "searching",
            PathMtuState::Complete => "complete",
            PathMtuState::Error => "error",
        },
    )
}

fn traffic(dict: &Bound<'_, PyDict>, link: &LinkReport) -> PyResult<()> {
    dict.set_item("queued_packets", link.queued.0)?;
    dict.set_item("queued_bytes", link.queued.1)?;
    dict.set_item("aqm_drops", link.queue.aqm_drops)?;
    dict.set_item("aqm_marks", link.queue.aqm_marks)?;
    dict.set_item("overflow_drops", link.queue.overflow_drops)?;
    dict.set_item("tx_packets", link.traffic.tx_packets)?;
    dict.set_item("tx_bytes", link.traffic.tx_bytes)?;
    dict.set_item("rx_packets", link.traffic.rx_packets)?;
    dict.set_item("rx_bytes", link.traffic.rx_bytes)?;
    dict.set_item("wire_tx_datagrams", link.traffic.wire_tx_datagrams)?;
    dict.set_item("wire_tx_bytes", link.traffic.wire_tx_bytes)?;
    dict.set_item("wire_rx_datagrams", link.traffic.wire_rx_datagrams)?;
    dict.set_item("wire_rx_bytes", link.traffic.wire_rx_bytes)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
