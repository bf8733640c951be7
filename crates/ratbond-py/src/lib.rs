//! The typed border between ratbond's Rust engine and its Python package.
//!
//! Thin on purpose: it turns Python values into the engine's and back. `src/ratbond/_core.pyi` describes it.

mod client;
mod emulator;
mod engine;
mod error;
mod event;
mod link_settings;
mod preference;
mod simulator;
mod snapshot;
mod tun;

use pyo3::prelude::*;

/// No core dump, and no reading of this process's memory by other users, from now on.
#[pyfunction]
fn keep_memory_private() -> PyResult<()> {
    ratbond_io::keep_memory_private().map_err(error::refused)
}

/// The compiled module `ratbond._core`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("EngineError", module.py().get_type::<error::EngineError>())?;
    module.add_function(wrap_pyfunction!(client::public_key_of, module)?)?;
    module.add_function(wrap_pyfunction!(keep_memory_private, module)?)?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<event::Event>()?;
    module.add_class::<simulator::Simulator>()?;
    module.add_class::<tun::Tun>()?;
    module.add_class::<emulator::Emulator>()
}
