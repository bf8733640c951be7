//! One fuzzer for every entry point; `FUZZ_TARGET` names the one to run, as `kcp/segments`. scripts/fuzz.sh runs them all.

#![no_main]

use std::sync::LazyLock;

use ratbond_io::tun;
use ratbond_proto::{bond, kcp};

type Target = fn(&[u8]);

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let targets = || {
        let kcp = kcp::fuzz::ALL.iter().map(|target| ("kcp", target));
        let bond = bond::fuzz::ALL.iter().map(|target| ("bond", target));
        let tun = tun::fuzz::ALL.iter().map(|target| ("tun", target));
        kcp.chain(bond).chain(tun)
    };
    let found = targets().find(|(protocol, (name, _))| format!("{protocol}/{name}") == wanted);
    found.map(|(_, (_, target))| *target).unwrap_or_else(|| {
        // Not only for people: this is where the script learns the names.
        for (protocol, (name, _)) in targets() {
            println!("{protocol}/{name}");
        }
        std::process::exit(if wanted.is_empty() { 0 } else { 1 })
    })
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
