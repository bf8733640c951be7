//! `Tun`.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use crate::error::{refused, usage};

/// A TUN device. The kernel removes it once it is closed here and no engine uses it.
#[pyclass(frozen, module = "ratbond._core")]
pub(crate) struct Tun {
    name: String,
    ifindex: u32,
    tun: Mutex<Option<Arc<ratbond_io::Tun>>>,
}

impl Tun {
    pub(crate) fn device(&self) -> PyResult<Arc<ratbond_io::Tun>> {
        let tun = self.tun.lock().unwrap_or_else(PoisonError::into_inner);
        tun.clone().ok_or_else(|| usage(format!("the tun device {} is closed", self.name)))
    }
}

#[pymethods]
impl Tun {
    #[new]
    #[pyo3(signature = (name, *, offload = true))]
    fn new(name: &str, offload: bool) -> PyResult<Self> {
        let tun = ratbond_io::Tun::open(name, offload).map_err(refused)?;
        let (name, ifindex) = (tun.name().to_owned(), tun.ifindex());
        Ok(Self { name, ifindex, tun: Mutex::new(Some(Arc::new(tun))) })
    }

    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    #[getter]
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn close(&self) {
        self.tun.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
