//! `Engine`.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyList;
use ratbond_io::{EngineConfig, Protocol};
use ratbond_proto::Role;
use ratbond_proto::bond::secret::Secret32;
use ratbond_proto::endpoint::SessionId;
use ratbond_proto::link::WanId;
use ratbond_proto::scheduler::SchedulerKind;

use crate::error::{refused, usage};
use crate::event::Event;
use crate::snapshot::{self, Facts};
use crate::tun::Tun;

/// One end of a tunnel; see `_core.pyi`.
#[pyclass(frozen, module = "ratbond._core")]
pub(crate) struct Engine {
    engine: ratbond_io::Engine,
    tunnel_id: u16,
    scheduler: Mutex<&'static str>,
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (*, role, protocol, tunnel_id, scheduler, mux = 1, secret = None, listen = None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of a Python constructor")]
    fn new(
        py: Python<'_>,
        role: &str,
        protocol: &str,
        tunnel_id: u16,
        scheduler: &str,
        mux: usize,
        secret: Option<String>,
        listen: Option<(String, u16)>,
    ) -> PyResult<Self> {
        let role = match role {
            "client" => Role::Client,
            "server" => Role::Server,
            other => return Err(usage(format!("no such role: {other}"))),
        };
        let protocol = match protocol {
            "kcp" => Protocol::Kcp { secret },
            "bond" => Protocol::Bond { secret: parse_secret(secret.as_deref())? },
            other => return Err(usage(format!("no such protocol: {other}"))),
        };
        if !(1..=65_525).contains(&tunnel_id) {
            return Err(usage("a tunnel-id is 1 to 65525"));
        }
        let (kind, name) = parse_scheduler(scheduler)?;
        let listen = listen.map(|(host, port)| address(&host, port)).transpose()?;
        let seed = random_seed()?;
        let config = EngineConfig { role, protocol, tunnel_id, scheduler: kind, mux, listen, seed };
        let engine = py.detach(|| ratbond_io::Engine::new(config)).map_err(refused)?;
        Ok(Self { engine, tunnel_id, scheduler: Mutex::new(name) })
    }

    #[getter]
    fn event_fd(&self) -> i32 {
        self.engine.events_ready().as_raw_fd()
    }

    #[getter]
    fn local_address(&self) -> Option<(String, u16)> {
        self.engine.local_address().map(|address| (address.ip().to_string(), address.port()))
    }

    fn events(&self) -> Vec<Event> {
        self.engine.events().into_iter().map(Event::from).collect()
    }

    #[pyo3(signature = (name, *, device, source, remote))]
    fn add_link(
        &self,
        py: Python<'_>,
        name: String,
        device: Option<String>,
        source: Option<&str>,
        remote: (String, u16),
    ) -> PyResult<u32> {
        let source = source.map(parse_ip).transpose()?;
        let remote = address(&remote.0, remote.1)?;
        py.detach(|| self.engine.add_wan(name, device, source, remote)).map(|wan| wan.0).map_err(refused)
    }

    fn remove_link(&self, link: u32, reason: String) -> PyResult<()> {
        self.engine.remove_wan(WanId(link), reason).map_err(refused)
    }

    fn attach_tun(&self, py: Python<'_>, session: u32, tun: &Tun) -> PyResult<()> {
        let device = tun.device()?;
        py.detach(|| self.engine.attach_tun(SessionId(session), device)).map_err(refused)
    }

    fn detach_tun(&self, py: Python<'_>, session: u32) -> PyResult<()> {
        py.detach(|| self.engine.detach_tun(SessionId(session))).map_err(refused)
    }

    fn set_scheduler(&self, scheduler: &str) -> PyResult<()> {
        let (kind, name) = parse_scheduler(scheduler)?;
        self.engine.set_scheduler(kind).map_err(refused)?;
        *self.scheduler.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = name;
        Ok(())
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let snapshot = py.detach(|| self.engine.snapshot()).map_err(refused)?;
        let scheduler = *self.scheduler.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        snapshot::to_python(py, &snapshot, &Facts { tunnel_id: self.tunnel_id, scheduler })
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.engine.close());
    }
}

fn parse_scheduler(name: &str) -> PyResult<(SchedulerKind, &'static str)> {
    match name {
        "consistent" => Ok((SchedulerKind::Consistent, "consistent")),
        "roundrobin" => Ok((SchedulerKind::RoundRobin, "roundrobin")),
        other => Err(usage(format!("no such scheduler: {other}"))),
    }
}

fn parse_ip(text: &str) -> PyResult<IpAddr> {
    text.parse().map_err(|_| usage(format!("{text:?} is no IP address")))
}

fn address(host: &str, port: u16) -> PyResult<SocketAddr> {
    Ok(SocketAddr::new(parse_ip(host)?, port))
}

/// 64 hex digits: a key that was generated, or stretched from a passphrase.
fn parse_secret(secret: Option<&str>) -> PyResult<Secret32> {
    let digits = secret.unwrap_or_default().as_bytes();
    let mut key = Secret32([0; 32]);
    if digits.len() != 2 * key.0.len() {
        return Err(usage("a sealed link needs a key of 64 hex digits"));
    }
    for (byte, pair) in key.0.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        let (Some(high), Some(low)) = (value(pair[0]), value(pair[1])) else {
            return Err(usage("a key has hex digits only"));
        };
        *byte = (high << 4 | low) as u8;
    }
    Ok(key)
}

/// The one place where the engine draws true randomness: everything below is seeded from it.
fn random_seed() -> PyResult<Secret32> {
    let mut seed = Secret32([0; 32]);
    getrandom::fill(&mut seed.0)
        .map_err(|error| usage(format!("the kernel gives no random numbers: {error}")))?;
    Ok(seed)
}
