//! `bond/1`: the sealed link protocol. See docs/wire.md.
