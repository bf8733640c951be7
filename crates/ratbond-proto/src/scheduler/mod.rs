//! Which link a packet takes.
