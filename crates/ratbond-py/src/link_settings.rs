//! `LinkSettings`: what a link is like, for the lab's emulator and for simulations.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use ratbond_netem::{Bursts, ConfigError, Distribution, LinkConfig, QueueLimit, Reordering};

const NS_PER_MS: f64 = 1e6;

pub(crate) fn invalid(error: ConfigError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// `old` with the changes that `LinkSettings` names.
pub(crate) fn changed(old: &LinkConfig, changes: &Bound<'_, PyDict>) -> PyResult<LinkConfig> {
    let mut new = old.clone();
    for (key, value) in changes {
        change(&mut new, &key.extract::<String>()?, &value)?;
    }
    new.validate().map_err(invalid)?;
    Ok(new)
}

fn change(config: &mut LinkConfig, key: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    match key {
        "rate_bps" => config.rate_bps = value.extract()?,
        "overhead_bytes" => config.overhead_bytes = value.extract()?,
        "queue_bytes" => config.queue = QueueLimit::Bytes(value.extract()?),
        "queue_ms" => config.queue = QueueLimit::Nanos(nanos(key, value)?),
        "delay_ms" => config.delay_ns = nanos(key, value)?,
        "jitter_ms" => config.jitter.size_ns = nanos(key, value)?,
        "jitter_distribution" => config.jitter.distribution = distribution(&value.extract::<String>()?)?,
        "jitter_reorders" => config.jitter.reorders = value.extract()?,
        "loss" => config.loss = value.extract()?,
        "burst_loss" => config.bursts = bursts(value.extract()?, mean_burst_packets(config))?,
        "burst_packets" => config.bursts = bursts(mean_burst_loss(config), value.extract()?)?,
        "reorder" => {
            let probability = value.extract()?;
            config.reordering = Some(Reordering { probability, ..reordering(config) });
        }
        "reorder_ms" => {
            let held_back_ns = nanos(key, value)?;
            config.reordering = Some(Reordering { held_back_ns, ..reordering(config) });
        }
        "duplicate" => config.duplication = value.extract()?,
        "mtu_bytes" => config.mtu_bytes = value.extract()?,
        "blackhole" => config.blackhole = value.extract()?,
        unknown => return Err(PyValueError::new_err(format!("a link has no setting {unknown:?}"))),
    }
    Ok(())
}

fn nanos(key: &str, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let ms: f64 = value.extract()?;
    if ms.is_finite() && ms >= 0.0 {
        Ok((ms * NS_PER_MS).round() as u64) // saturates; the link refuses what is too long
    } else {
        Err(PyValueError::new_err(format!("{key} must be 0 or more, not {ms}")))
    }
}

fn distribution(name: &str) -> PyResult<Distribution> {
    match name {
        "uniform" => Ok(Distribution::Uniform),
        "normal" => Ok(Distribution::Normal),
        "exponential" => Ok(Distribution::Exponential),
        other => Err(PyValueError::new_err(format!(
            "jitter_distribution is \"uniform\", \"normal\" or \"exponential\", not {other:?}"
        ))),
    }
}

fn reordering(config: &LinkConfig) -> Reordering {
    config.reordering.unwrap_or(Reordering { probability: 0.0, held_back_ns: 10_000_000 })
}

fn bursts(loss: f64, packets: f64) -> PyResult<Option<Bursts>> {
    if !(0.0..=0.99).contains(&loss) {
        return Err(PyValueError::new_err(format!("burst_loss must be between 0 and 0.99, not {loss}")));
    }
    if !(1.0..=1e6).contains(&packets) {
        return Err(PyValueError::new_err(format!(
            "burst_packets must be between 1 and 1000000, not {packets}"
        )));
    }
    Ok(Some(Bursts::from_mean(loss, packets)))
}

fn mean_burst_loss(config: &LinkConfig) -> f64 {
    config.bursts.map_or(0.0, |bursts| bursts.enter / (bursts.enter + bursts.leave))
}

fn mean_burst_packets(config: &LinkConfig) -> f64 {
    config.bursts.map_or(5.0, |bursts| 1.0 / bursts.leave)
}
