//! The typed border between ratbond's Rust engine and its Python package.
//!
//! Thin on purpose: it turns Python values into the engine's and back. `src/ratbond/_core.pyi` describes it.

mod client;
mod emulator;
mod engine;
mod error;
mod event;
mod snapshot;
mod tun;

use pyo3::prelude::*;

/// The compiled module `ratbond._core`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("EngineError", module.py().get_type::<error::EngineError>())?;
    module.add_function(wrap_pyfunction!(client::public_key_of, module)?)?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<event::Event>()?;
    module.add_class::<tun::Tun>()?;
    module.add_class::<emulator::Emulator>()
}
