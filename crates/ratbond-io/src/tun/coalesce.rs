//! Joins packets that follow one another in a flow into super-packets, so that many cost one system call and one walk through
//! the kernel (what GRO is to a network card). Nothing is held for longer than a batch, and nothing a peer says of a
//! packet counts: the offload header comes of the packets alone.
//!
//! Packets of one flow are written in the order that they came in. A flow's packet that cannot join, or one whose flow
//! cannot be seen, ends what was open.

use std::io::IoSlice;

use ratbond_proto::Packet;

use super::candidate::{FlowKey, Sight, continues, is_intact, look, pushes, says_cwr};
use super::headers::{Layout, Transport, Version, tcp_flag};
use super::vnet::{Segmentation, VnetHeader};

/// The kernel's `UDP_MAX_SEGMENTS` up to Linux 6.9; no TCP super-packet of packets of an Internet path has more either.
const MAX_SEGMENTS: usize = 64;
/// An IPv4 packet's total length.
const MAX_BYTES: usize = 65_535;
/// More flows in one batch are written early, since a flow is looked for one after the other.
const MAX_GROUPS: usize = 64;

/// What the kernel takes as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joins {
    /// TCP super-packets.
    pub tcp: bool,
    /// UDP super-packets.
    pub udp: bool,
}

/// What was handed over in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Packets in it.
    pub packets: u64,
    /// Their bytes, each with its headers.
    pub bytes: u64,
}

#[derive(Debug)]
struct Waiting {
    packet: Packet,
    /// The next of its group.
    next: Option<usize>,
}

/// Packets that are written as one.
#[derive(Debug)]
struct Group {
    first: usize,
    last: usize,
    count: usize,
    bytes: usize,
    flow: Option<FlowKey>,
    /// What others must be like; none for a packet that stays alone.
    shape: Option<Shape>,
}

#[derive(Debug)]
struct Shape {
    layout: Layout,
    segment_len: usize,
    payload_len: usize,
    /// Whether the first packet's checksums were found right; one that stays alone needs no such look.
    intact: bool,
    /// Whether no more may follow: the last one was shorter, or pushes.
    ended: bool,
    pushes: bool,
}

impl Shape {
    fn of(packet: &[u8], layout: Layout) -> Self {
        let segment_len = packet.len() - layout.payload_at;
        let pushes = pushes(packet, &layout);
        Self { layout, segment_len, payload_len: segment_len, intact: false, ended: pushes, pushes }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Coalescer {
    joins: Joins,
    queue: Vec<Waiting>,
    groups: Vec<Group>,
    /// Groups before this one take no more: a packet whose flow cannot be seen came after them.
    closed: usize,
}

impl Coalescer {
    /// One that joins what `joins` says.
    #[must_use]
    pub const fn new(joins: Joins) -> Self {
        Self { joins, queue: Vec::new(), groups: Vec::new(), closed: 0 }
    }

    /// Whether it is to be flushed before it gets more.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.groups.len() >= MAX_GROUPS
    }

    /// Takes the next packet.
    pub fn push(&mut self, packet: Packet) {
        match look(packet.as_slice()) {
            Sight::Other => self.begin(packet, None, None),
            Sight::Hidden => {
                self.begin(packet, None, None);
                self.closed = self.groups.len();
            }
            Sight::Joinable(flow, layout) if self.takes(layout.transport) => {
                match self.group_for(&flow, packet.as_slice(), &layout) {
                    Some(group) => self.join(group, packet),
                    None => {
                        let shape = Shape::of(packet.as_slice(), layout);
                        self.begin(packet, Some(flow), Some(shape));
                    }
                }
            }
            Sight::Joinable(flow, _) | Sight::Alone(flow) => self.begin(packet, Some(flow), None),
        }
    }

    /// Hands everything over, in order: `write` gets each packet or super-packet in pieces, the first of them its offload
    /// header; then `recycle` each packet's memory.
    pub fn flush(&mut self, mut write: impl FnMut(&[IoSlice<'_>], Written), mut recycle: impl FnMut(Packet)) {
        for group in self.groups.drain(..) {
            let merged = group.shape.as_ref().filter(|_| group.count > 1);
            let header = merged.map_or_else(VnetHeader::default, |shape| {
                merge(self.queue[group.first].packet.as_mut_slice(), shape)
            });
            let headers_len = merged.map_or(0, |shape| shape.layout.payload_at);
            let header = header.to_bytes();
            let mut pieces = [IoSlice::new(&[]); MAX_SEGMENTS + 1];
            pieces[0] = IoSlice::new(&header);
            let mut at = Some(group.first);
            for piece in &mut pieces[1..] {
                let Some(index) = at else { break };
                let waiting = &self.queue[index];
                let from = if index == group.first { 0 } else { headers_len };
                *piece = IoSlice::new(&waiting.packet.as_slice()[from..]);
                at = waiting.next;
            }
            let written = Written { packets: group.count as u64, bytes: group.bytes as u64 };
            write(&pieces[..=group.count], written);
        }
        self.closed = 0;
        self.queue.drain(..).for_each(|waiting| recycle(waiting.packet));
    }

    const fn takes(&self, transport: Transport) -> bool {
        match transport {
            Transport::Tcp => self.joins.tcp,
            Transport::Udp => self.joins.udp,
        }
    }

    /// The group that the packet joins: the flow's latest, if the packet continues it.
    fn group_for(&mut self, flow: &FlowKey, packet: &[u8], layout: &Layout) -> Option<usize> {
        let latest =
            self.groups[self.closed..].iter().rposition(|group| group.flow.as_ref() == Some(flow))?;
        let group = &mut self.groups[self.closed + latest];
        let head = self.queue[group.first].packet.as_slice();
        let shape = group.shape.as_mut().filter(|shape| !shape.ended && shape.layout == *layout)?;
        let payload_len = packet.len() - layout.payload_at;
        let fits = payload_len <= shape.segment_len
            && group.count < MAX_SEGMENTS
            && layout.payload_at + shape.payload_len + payload_len <= MAX_BYTES;
        if !fits || !continues(head, layout, (group.count, shape.payload_len), packet) {
            return None;
        }
        shape.intact = shape.intact || is_intact(head, layout);
        shape.ended = !shape.intact;
        (shape.intact && is_intact(packet, layout)).then_some(self.closed + latest)
    }

    fn join(&mut self, group: usize, packet: Packet) {
        let (group, index) = (&mut self.groups[group], self.queue.len());
        if let Some(shape) = &mut group.shape {
            let payload_len = packet.len() - shape.layout.payload_at;
            shape.payload_len += payload_len;
            shape.pushes = pushes(packet.as_slice(), &shape.layout);
            shape.ended = shape.pushes || payload_len < shape.segment_len;
        }
        self.queue[group.last].next = Some(index);
        group.last = index;
        group.count += 1;
        group.bytes += packet.len();
        self.queue.push(Waiting { packet, next: None });
    }

    fn begin(&mut self, packet: Packet, flow: Option<FlowKey>, shape: Option<Shape>) {
        let index = self.queue.len();
        self.groups.push(Group { first: index, last: index, count: 1, bytes: packet.len(), flow, shape });
        self.queue.push(Waiting { packet, next: None });
    }
}

/// Makes the first packet's headers those of the super-packet, whose checksum the kernel completes.
fn merge(head: &mut [u8], shape: &Shape) -> VnetHeader {
    let layout = &shape.layout;
    // At most MAX_BYTES, and so is everything in it.
    let len = (layout.payload_at + shape.payload_len) as u16;
    layout.set_lengths(head, len);
    if shape.pushes {
        head[layout.tcp_flags_at()] |= tcp_flag::PSH;
    }
    let partial = layout.pseudo_header(head, len - layout.transport_at as u16).partial();
    head[layout.checksum_at()..][..2].copy_from_slice(&partial);
    let segmentation = match (layout.transport, layout.version) {
        (Transport::Tcp, Version::V4) => Segmentation::TcpV4,
        (Transport::Tcp, Version::V6) => Segmentation::TcpV6,
        (Transport::Udp, _) => Segmentation::Udp,
    };
    let mut header = VnetHeader::of_super_packet(segmentation, says_cwr(head, layout));
    header.header_len = layout.payload_at as u16;
    header.segment_len = shape.segment_len as u16;
    header.checksum_start = layout.transport_at as u16;
    header.checksum_offset = layout.checksum_offset() as u16;
    header
}
