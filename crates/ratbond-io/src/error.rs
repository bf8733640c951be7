//! What the kernel or the configuration refuses, in one line that says what to do.

use std::io;

/// Why the engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The TUN device could not be made.
    #[error("cannot make the tun device {name}: {}", tun_hint(.source))]
    Tun {
        /// The device asked for.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The name does not fit the kernel's rules for interface names.
    #[error("{0:?} is no interface name: it needs 1 to 15 characters without '/' or white space")]
    InterfaceName(String),
    /// The server's address could not be taken.
    #[error("cannot listen on {address}: {}", listen_hint(.source))]
    Listen {
        /// The address asked for.
        address: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A link's socket could not be opened.
    #[error("cannot open a socket on {device}: {}", device_hint(.source))]
    Link {
        /// The link's device, or its address.
        device: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Any other refusal of the kernel.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The engine was closed, or its worker ended.
    #[error("the engine is closed")]
    Closed,
    /// A call that does not fit the engine's role or configuration.
    #[error("{0}")]
    Usage(&'static str),
}

impl EngineError {
    /// Wraps a kernel refusal; to be used in `map_err`.
    pub(crate) fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System { what, source: source.into() }
    }
}

fn tun_hint(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "not permitted; run as root or with CAP_NET_ADMIN".into(),
        Some(libc::EBUSY) => "it is in use; choose another name with --tun-name".into(),
        Some(libc::ENOENT | libc::ENODEV) => {
            "/dev/net/tun is missing; load the module with 'modprobe tun'".into()
        }
        Some(libc::EINVAL) => {
            "an interface of another kind has this name; choose another with --tun-name".into()
        }
        _ => error.to_string(),
    }
}

fn listen_hint(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "the port is taken; stop what uses it or choose another with --listen-addr".into()
        }
        Some(libc::EADDRNOTAVAIL) => "no interface has this address; check --listen-addr".into(),
        Some(libc::EACCES) => "not permitted; ports below 1024 need root".into(),
        _ => error.to_string(),
    }
}

fn device_hint(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "not permitted; run as root or with CAP_NET_RAW".into(),
        Some(libc::ENODEV) => "there is no such interface".into(),
        Some(libc::EADDRNOTAVAIL) => "the interface no longer has this address".into(),
        _ => error.to_string(),
    }
}
