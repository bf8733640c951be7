//! Keeps a process that holds secrets from leaving them anywhere.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::error::EngineError;

/// From now on this process leaves no core dump, and only the superuser may read its memory, its environment, or trace
/// it. To be called before a secret is read.
///
/// The limit alone would not do: a core that is piped to a program (core(5)) ignores it. The flag alone would not do
/// either: execve(2) sets it anew, and the limit is inherited.
///
/// # Errors
/// When the kernel refuses, as some sandboxes do.
pub fn keep_memory_private() -> Result<(), EngineError> {
    let refused = EngineError::system("cannot turn core dumps off");
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable))
        .map_err(refused)
}
