//! The one exception of this module.

use pyo3::exceptions::PyException;

pyo3::create_exception!(
    ratbond._core,
    EngineError,
    PyException,
    "Something the engine or the kernel refused; the text is one line for the user."
);

/// The engine's refusals as Python sees them.
pub(crate) fn refused(error: ratbond_io::EngineError) -> pyo3::PyErr {
    EngineError::new_err(error.to_string())
}

/// A call that makes no sense.
pub(crate) fn usage(words: impl Into<String>) -> pyo3::PyErr {
    EngineError::new_err(words.into())
}
