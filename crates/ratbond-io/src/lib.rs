//! Every system call of ratbond's packet path: TUN, UDP, clock, worker threads, link emulator.

pub mod emulator;
