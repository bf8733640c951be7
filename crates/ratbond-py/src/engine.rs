//! `Engine`.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyList;
use ratbond_io::{EngineConfig, Protocol};
use ratbond_proto::Role;
use ratbond_proto::bond::handshake::{Credentials, ServerKeys, shared_psk};
use ratbond_proto::bond::keys::Cipher;
use ratbond_proto::bond::secret::Secret32;
use ratbond_proto::endpoint::SessionId;
use ratbond_proto::link::WanId;
use ratbond_proto::scheduler::SchedulerKind;

use crate::client::{NamedClient, parse_key};
use crate::error::{refused, usage};
use crate::event::Event;
use crate::preference::Wanted;
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
    #[pyo3(signature = (*, role, protocol, tunnel_id, scheduler, mux = 1, secret = None, private_key = None,
                        server_key = None, psk = None, cipher = "auto", workers = 1, listen = None, offload = true, trace = false))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of a Python constructor")]
    fn new(
        py: Python<'_>,
        role: &str,
        protocol: &str,
        tunnel_id: u16,
        scheduler: &str,
        mux: usize,
        secret: Option<String>,
        private_key: Option<&str>,
        server_key: Option<&str>,
        psk: Option<&str>,
        cipher: &str,
        workers: u8,
        listen: Option<(String, u16)>,
        offload: bool,
        trace: bool,
    ) -> PyResult<Self> {
        let role = match role {
            "client" => Role::Client,
            "server" => Role::Server,
            other => return Err(usage(format!("no such role: {other}"))),
        };
        let protocol = match protocol {
            "kcp" => Protocol::Kcp { secret },
            "bond" => bond(role, secret.as_deref(), (private_key, server_key, psk))?,
            other => return Err(usage(format!("no such protocol: {other}"))),
        };
        if !(1..=65_525).contains(&tunnel_id) {
            return Err(usage("a tunnel-id is 1 to 65525"));
        }
        let (kind, name) = parse_scheduler(scheduler)?;
        let listen = listen.map(|(host, port)| address(&host, port)).transpose()?;
        let seed = random_seed()?;
        let cipher = parse_cipher(cipher)?;
        let config = EngineConfig {
            role,
            protocol,
            cipher,
            tunnel_id,
            scheduler: kind,
            mux,
            workers,
            listen,
            offload,
            trace,
            seed,
        };
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

    fn rename_link(&self, link: u32, name: String) -> PyResult<()> {
        self.engine.rename_wan(WanId(link), name).map_err(refused)
    }

    fn prefer(&self, link: u32, preference: Wanted) -> PyResult<()> {
        self.engine.prefer(WanId(link), preference.into_engine()?).map_err(refused)
    }

    fn attach_tun(&self, py: Python<'_>, session: u32, tun: &Tun) -> PyResult<()> {
        let device = tun.device()?;
        py.detach(|| self.engine.attach_tun(SessionId(session), device)).map_err(refused)
    }

    fn detach_tun(&self, py: Python<'_>, session: u32) -> PyResult<()> {
        py.detach(|| self.engine.detach_tun(SessionId(session))).map_err(refused)
    }

    fn set_clients(&self, py: Python<'_>, clients: Vec<NamedClient>) -> PyResult<()> {
        let clients = clients.into_iter().map(NamedClient::into_engine).collect::<PyResult<_>>()?;
        py.detach(|| self.engine.set_clients(clients)).map_err(refused)
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

/// Sealed links: with keys of its own, or with the secret that both ends share.
fn bond(
    role: Role,
    secret: Option<&str>,
    (private_key, server_key, psk): (Option<&str>, Option<&str>, Option<&str>),
) -> PyResult<Protocol> {
    let own = private_key.map(parse_key).transpose()?;
    Ok(match (role, own, secret) {
        (Role::Client, Some(own), None) => Protocol::BondClient(Credentials::Named {
            own,
            server: parse_key(server_key.unwrap_or_default())?.0,
            psk: parse_key(psk.unwrap_or_default())?,
        }),
        (Role::Server, Some(own), None) => Protocol::BondServer(ServerKeys::Named { own }),
        (_, None, Some(secret)) => {
            let psk = shared_psk(&parse_key(secret)?);
            match role {
                Role::Client => Protocol::BondClient(Credentials::Shared { psk }),
                Role::Server => Protocol::BondServer(ServerKeys::Shared { psk }),
            }
        }
        _ => return Err(usage("a sealed link needs a secret, or a private key")),
    })
}

pub(crate) fn parse_scheduler(name: &str) -> PyResult<(SchedulerKind, &'static str)> {
    match name {
        "adaptive" => Ok((SchedulerKind::Adaptive, "adaptive")),
        "consistent" => Ok((SchedulerKind::Consistent, "consistent")),
        "redundant" => Ok((SchedulerKind::Redundant, "redundant")),
        "roundrobin" => Ok((SchedulerKind::RoundRobin, "roundrobin")),
        other => Err(usage(format!("no such scheduler: {other}"))),
    }
}

fn parse_cipher(name: &str) -> PyResult<Option<Cipher>> {
    match name {
        "auto" => Ok(None),
        "aes-256-gcm" => Ok(Some(Cipher::Aes256Gcm)),
        "chacha20-poly1305" => Ok(Some(Cipher::ChaCha20Poly1305)),
        other => Err(usage(format!("no such cipher: {other}"))),
    }
}

fn parse_ip(text: &str) -> PyResult<IpAddr> {
    text.parse().map_err(|_| usage(format!("{text:?} is no IP address")))
}

fn address(host: &str, port: u16) -> PyResult<SocketAddr> {
    Ok(SocketAddr::new(parse_ip(host)?, port))
}

/// The one place where the engine draws true randomness: everything below is seeded from it.
fn random_seed() -> PyResult<Secret32> {
    let mut seed = Secret32([0; 32]);
    getrandom::fill(&mut seed.0)
        .map_err(|error| usage(format!("the kernel gives no random numbers: {error}")))?;
    Ok(seed)
}
