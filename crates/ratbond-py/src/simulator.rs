//! `Simulator`: a bond over simulated links in virtual time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use ratbond_netem::LinkConfig;
use ratbond_proto::Role;
use ratbond_proto::session::SessionStats;
use ratbond_sim::tcp::Algorithm;
use ratbond_sim::trial::{LinkOutcome, LoadOutcome, Trial};

use crate::engine::parse_scheduler;
use crate::link_settings::{changed, invalid};
use crate::preference::Wanted;

const MAX_LINKS: usize = 32;

/// See `_core.pyi`.
#[pyclass(frozen, module = "ratbond._core")]
pub(crate) struct Simulator {
    trial: Mutex<Trial>,
    links: usize,
}

/// What a link is like up, and down, and what it is wanted for.
type LinkArgument<'py> = (Bound<'py, PyDict>, Bound<'py, PyDict>, Wanted);

#[pymethods]
impl Simulator {
    #[new]
    #[pyo3(signature = (links, *, scheduler = "adaptive", seed = 1))]
    fn new(py: Python<'_>, links: Vec<LinkArgument<'_>>, scheduler: &str, seed: u64) -> PyResult<Self> {
        if !(1..=MAX_LINKS).contains(&links.len()) {
            return Err(PyValueError::new_err(format!(
                "a simulated bond has 1 to {MAX_LINKS} links, not {}",
                links.len()
            )));
        }
        let (scheduler, _) = parse_scheduler(scheduler)?;
        let config = |settings: &Bound<'_, PyDict>| changed(&LinkConfig::default(), settings);
        let (mut configs, mut preferences) = (Vec::new(), Vec::new());
        for (up, down, wanted) in links {
            configs.push([config(&up)?, config(&down)?]);
            preferences.push(wanted.into_engine()?);
        }
        let trial = py.detach(|| Trial::new(scheduler, &configs, &preferences, seed));
        Ok(Self { trial: Mutex::new(trial), links: configs.len() })
    }

    /// Seconds that it has run.
    #[getter]
    fn now_s(&self) -> f64 {
        self.trial().now().as_secs_f64()
    }

    fn add_transfers(
        &self,
        direction: &str,
        count: usize,
        congestion: &str,
        start_s: f64,
        stop_s: f64,
    ) -> PyResult<()> {
        let when = (seconds("start_s", start_s)?, seconds("stop_s", stop_s)?);
        let from = sender(direction)?;
        let algorithm = match congestion {
            "cubic" => Algorithm::Cubic,
            "bbr" => Algorithm::Bbr,
            other => {
                return Err(PyValueError::new_err(format!(
                    "congestion is \"cubic\" or \"bbr\", not {other:?}"
                )));
            }
        };
        self.with_flows(count, |trial| trial.add_transfers(from, count, algorithm, when))
    }

    fn add_stream(
        &self,
        direction: &str,
        packets_per_s: f64,
        packet_bytes: usize,
        start_s: f64,
        stop_s: f64,
    ) -> PyResult<()> {
        if !(1e-3..=1e6).contains(&packets_per_s) {
            return Err(PyValueError::new_err(format!(
                "packets_per_s must be between 0.001 and 1000000, not {packets_per_s}"
            )));
        }
        if !(32..=1_400).contains(&packet_bytes) {
            return Err(PyValueError::new_err(format!(
                "packet_bytes must be between 32 and 1400, not {packet_bytes}"
            )));
        }
        let (start, stop) = (seconds("start_s", start_s)?, seconds("stop_s", stop_s)?);
        let (from, every) = (sender(direction)?, Duration::from_secs_f64(1.0 / packets_per_s));
        self.with_flows(1, |trial| trial.add_stream(from, every, packet_bytes, start, stop))
    }

    #[pyo3(signature = (link, direction, **changes))]
    fn set(&self, link: usize, direction: &str, changes: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let Some(changes) = changes else { return Ok(()) };
        let index = self.known(link)?;
        let mut trial = self.trial();
        let now_ns = trial.pair.now.as_nanos();
        let wan = &mut trial.pair.wans[index];
        let one_way = match sender(direction)? {
            Role::Client => &mut wan.up,
            Role::Server => &mut wan.down,
        };
        let config = changed(one_way.config(), changes)?;
        one_way.reconfigure(now_ns, config).map_err(invalid)
    }

    fn prefer(&self, link: usize, preference: Wanted) -> PyResult<()> {
        let index = self.known(link)?;
        self.trial().prefer(index, preference.into_engine()?);
        Ok(())
    }

    fn pull(&self, link: usize) -> PyResult<()> {
        let index = self.known(link)?;
        self.trial().pair.pull(index);
        Ok(())
    }

    fn restore(&self, link: usize) -> PyResult<()> {
        let index = self.known(link)?;
        self.trial().pair.restore(index);
        Ok(())
    }

    fn advance(&self, py: Python<'_>, until_s: f64) -> PyResult<()> {
        let until = seconds("until_s", until_s)?;
        py.detach(|| self.trial().advance(until));
        Ok(())
    }

    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let trial = self.trial();
        let dict = PyDict::new(py);
        let loads = trial.loads().map(|load| load_result(py, &load)).collect::<PyResult<Vec<_>>>()?;
        let links = trial.links().map(|link| link_result(py, &link)).collect::<PyResult<Vec<_>>>()?;
        dict.set_item("loads", PyList::new(py, loads)?)?;
        dict.set_item("links", PyList::new(py, links)?)?;
        let ends = [&trial.pair.client, &trial.pair.server];
        let stats: Vec<SessionStats> =
            ends.iter().flat_map(|end| end.endpoint.reports()).map(|session| session.stats).collect();
        let total = |of: fn(&SessionStats) -> u64| stats.iter().map(of).sum::<u64>();
        dict.set_item("repaired_packets", total(|stats| stats.repaired_packets + stats.requeued_packets))?;
        dict.set_item("copied_packets", total(|stats| stats.copied_packets))?;
        let drops = |stats: &SessionStats| stats.queues.aqm_drops + stats.queues.overflow_drops;
        dict.set_item("queue_dropped_packets", total(drops))?;
        Ok(dict)
    }
}

impl Simulator {
    fn trial(&self) -> MutexGuard<'_, Trial> {
        self.trial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, link: usize) -> PyResult<usize> {
        if link < self.links {
            return Ok(link);
        }
        Err(PyValueError::new_err(format!("there is no link {link}; the last of them is {}", self.links - 1)))
    }

    fn with_flows(&self, count: usize, add: impl FnOnce(&mut Trial)) -> PyResult<()> {
        let mut trial = self.trial();
        if !trial.has_room_for(count) {
            return Err(PyValueError::new_err("a simulation has at most 30000 flows"));
        }
        add(&mut trial);
        Ok(())
    }
}

/// Who sends in a direction.
fn sender(direction: &str) -> PyResult<Role> {
    match direction {
        "up" => Ok(Role::Client),
        "down" => Ok(Role::Server),
        other => Err(PyValueError::new_err(format!("direction is \"up\" or \"down\", not {other:?}"))),
    }
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    // A year is far beyond what anybody waits for; it keeps sums of times finite.
    if (0.0..=3.2e7).contains(&value) {
        return Ok(Duration::from_secs_f64(value));
    }
    Err(PyValueError::new_err(format!("{name} must be between 0 and a year of seconds, not {value}")))
}

fn load_result<'py>(py: Python<'py>, load: &LoadOutcome<'_>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("delivered_bytes", load.seconds)?;
    dict.set_item("resent_segments", load.resent)?;
    let datagrams = load
        .datagrams
        .iter()
        .map(|(sent, delay)| (sent.as_secs_f64(), delay.map(|delay| delay.as_secs_f64() * 1e3)))
        .collect::<Vec<_>>();
    dict.set_item("datagrams", datagrams)?;
    dict.set_item("duplicates", load.duplicates)?;
    Ok(dict)
}

fn link_result<'py>(py: Python<'py>, link: &LinkOutcome<'_>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("up_bytes", link.up)?;
    dict.set_item("down_bytes", link.down)?;
    Ok(dict)
}
