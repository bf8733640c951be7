//! `Emulator`: the lab's links.

use std::sync::{Mutex, MutexGuard};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use ratbond_io::emulator::{self as io, Direction, DirectionStats, EmulatorError, WanLink};
use ratbond_netem::LinkConfig;

use crate::error::EngineError;
use crate::link_settings::{changed, invalid};

/// WAN links between pairs of interfaces, in a thread of its own.
#[pyclass(frozen, module = "ratbond._core")]
pub struct Emulator {
    running: Mutex<Option<io::Emulator>>,
}

/// The two interfaces of a link, what it is like up, and down.
type LinkArgument<'py> = (String, String, Bound<'py, PyDict>, Bound<'py, PyDict>);

#[pymethods]
impl Emulator {
    #[new]
    #[pyo3(signature = (links, *, seed = 0))]
    fn new(links: Vec<LinkArgument<'_>>, seed: u64) -> PyResult<Self> {
        let links = links
            .into_iter()
            .map(|(client_port, server_port, up, down)| {
                let up = changed(&LinkConfig::default(), &up)?;
                let down = changed(&LinkConfig::default(), &down)?;
                Ok(WanLink { client_port, server_port, up, down })
            })
            .collect::<PyResult<Vec<_>>>()?;
        let emulator = io::Emulator::start(&links, seed).map_err(refusal)?;
        Ok(Self { running: Mutex::new(Some(emulator)) })
    }

    #[pyo3(signature = (link, direction, **changes))]
    fn set(
        &self,
        py: Python<'_>,
        link: usize,
        direction: &str,
        changes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let direction = match direction {
            "up" => Direction::Up,
            "down" => Direction::Down,
            other => {
                return Err(PyValueError::new_err(format!("direction is \"up\" or \"down\", not {other:?}")));
            }
        };
        let Some(changes) = changes else { return Ok(()) };
        let old = self.with(|emulator| emulator.config(link, direction).cloned())?;
        let new = changed(&old, changes)?;
        py.detach(|| self.with(|emulator| emulator.set(link, direction, new)))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.with(|emulator| emulator.stats()))?;
        let links = PyList::empty(py);
        for [up, down] in &stats.links {
            let both = PyDict::new(py);
            both.set_item("up", counters(py, up)?)?;
            both.set_item("down", counters(py, down)?)?;
            links.append(both)?;
        }
        let all = PyDict::new(py);
        all.set_item("links", links)?;
        all.set_item("cpu_s", stats.cpu_time.as_secs_f64())?;
        all.set_item("realtime", stats.realtime)?;
        Ok(all)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let running = self.lock()?.take();
        match running {
            Some(mut emulator) => py.detach(|| emulator.close()).map_err(refusal),
            None => Ok(()),
        }
    }
}

impl Emulator {
    fn with<T>(&self, use_it: impl FnOnce(&mut io::Emulator) -> Result<T, EmulatorError>) -> PyResult<T> {
        let mut running = self.lock()?;
        let emulator = running.as_mut().ok_or_else(|| refusal(EmulatorError::Stopped))?;
        use_it(emulator).map_err(refusal)
    }

    fn lock(&self) -> PyResult<MutexGuard<'_, Option<io::Emulator>>> {
        self.running.lock().map_err(|_poisoned| refusal(EmulatorError::Stopped))
    }
}

fn refusal(error: EmulatorError) -> PyErr {
    match error {
        EmulatorError::Config(error) => invalid(error),
        EmulatorError::UnknownLink { .. } => PyValueError::new_err(error.to_string()),
        other => EngineError::new_err(other.to_string()),
    }
}

/// `DirectionStats`.
fn counters<'py>(py: Python<'py>, stats: &DirectionStats) -> PyResult<Bound<'py, PyDict>> {
    let DirectionStats { link, port } = stats;
    let values = [
        ("sent_packets", link.sent_packets),
        ("sent_bytes", link.sent_bytes),
        ("delivered_packets", link.delivered_packets),
        ("delivered_bytes", link.delivered_bytes),
        ("oversize_packets", link.oversize_packets + port.oversize_frames),
        ("queue_dropped_packets", link.queue_dropped_packets),
        ("lost_packets", link.lost_packets),
        ("blackholed_packets", link.blackholed_packets),
        ("duplicated_packets", link.duplicated_packets),
        ("reordered_packets", link.reordered_packets),
        ("queued_packets", link.queued_packets),
        ("queued_bytes", link.queued_bytes),
        ("in_flight_packets", link.in_flight_packets),
        ("unsent_packets", port.unsent_frames),
        ("emulator_dropped_packets", port.ring_dropped_frames + port.overload_dropped_frames),
    ];
    let all = PyDict::new(py);
    for (name, value) in values {
        all.set_item(name, value)?;
    }
    Ok(all)
}
