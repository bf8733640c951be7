//! The typed border between ratbond's Rust engine and its Python package.

mod emulator;
mod error;

use pyo3::prelude::*;

/// The compiled module `ratbond._core`; `src/ratbond/_core.pyi` is its description.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("EngineError", module.py().get_type::<error::EngineError>())?;
    module.add_class::<emulator::Emulator>()
}
