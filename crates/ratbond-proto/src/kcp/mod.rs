//! KCP as kcp-go and stock ratbond speak it. See docs/wire.md.
