//! The one exception of this module.

use pyo3::exceptions::PyException;

pyo3::create_exception!(
    ratbond._core,
    EngineError,
    PyException,
    "Something the engine or the kernel refused; the text is one line for the user."
);
