//! The typed border between ratbond's Rust engine and its Python package.
