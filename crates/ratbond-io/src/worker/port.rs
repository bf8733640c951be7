//! A session's tun as the worker reads and writes it.

use std::io;
use std::sync::Arc;

use ratbond_proto::Packet;

use crate::command::TunReport;
use crate::tun::{Coalescer, Malformed, Read, ReadBuffer, Tun};

/// Packets read from a tun before other sources get their turn.
const READ_BUDGET: u64 = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct TunPort {
    pub tun: Arc<Tun>,
    pub report: TunReport,
    coalescer: Coalescer,
    /// Whether packets wait to be written.
    pub holds: bool,
}

impl TunPort {
    pub(super) fn new(tun: Arc<Tun>) -> Self {
        let report = TunReport { name: tun.name().to_owned(), ..TunReport::default() };
        let coalescer = Coalescer::new(tun.joins());
        Self { tun, report, coalescer, holds: false }
    }

    /// Reads what waits, within the budget, or up to something that makes no sense: that is dropped, and why is told.
    ///
    /// # Errors
    /// The device is gone.
    pub(super) fn read(
        &mut self,
        buffer: &mut ReadBuffer,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<Option<Malformed>> {
        let report = &mut self.report;
        let end = report.rx_packets + READ_BUDGET;
        while report.rx_packets < end {
            let read = self.tun.read(buffer, |packet| {
                report.rx_packets += 1;
                report.rx_bytes += packet.len() as u64;
                each(packet);
            })?;
            match read {
                Read::Nothing => break,
                Read::Packets => {}
                Read::Malformed(why) => return Ok(Some(why)),
            }
        }
        Ok(None)
    }

    /// Takes a packet to be written; [`TunPort::flush`] writes it.
    pub(super) fn push(&mut self, packet: Packet, recycle: impl FnMut(Packet)) {
        self.coalescer.push(packet);
        if self.coalescer.is_full() {
            self.flush(recycle);
        }
        self.holds = true;
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self, recycle: impl FnMut(Packet)) {
        self.holds = false;
        let Self { tun, report, coalescer, .. } = self;
        coalescer.flush(
            |pieces, written| match tun.write(pieces) {
                Ok(()) => {
                    report.tx_packets += written.packets;
                    report.tx_bytes += written.bytes;
                }
                // The kernel refuses packets while the device is down, and malformed ones always.
                Err(_) => report.tx_drops += written.packets,
            },
            recycle,
        );
    }
}
