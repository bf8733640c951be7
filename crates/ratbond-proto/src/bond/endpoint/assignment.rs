//! The inner addresses of a client as handshake fields (docs/wire.md, fields 6 and 7).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::addressing::{Assignment, Ends, Network};
use crate::bond::frame::tlv::{FieldWriter, Fields, field};

/// Adds ADDRESS4 and ADDRESS6.
pub(super) fn write(assignment: &Assignment, fields: &mut FieldWriter) {
    if let Some(ends) = assignment.v4 {
        let value = [&ends.client.octets()[..], &ends.server.octets(), &[ends.prefix_len]].concat();
        fields.put(field::ADDRESS4, &value);
    }
    if let Some(ends) = assignment.v6 {
        let value = [&ends.client.octets()[..], &ends.server.octets(), &[ends.prefix_len]].concat();
        fields.put(field::ADDRESS6, &value);
    }
}

/// What a server has assigned; a prefix that is none counts as nothing.
pub(super) fn read(fields: Fields<'_>) -> Assignment {
    let v4 = fields.array::<9>(field::ADDRESS4).map(|value| Ends {
        client: Ipv4Addr::new(value[0], value[1], value[2], value[3]),
        server: Ipv4Addr::new(value[4], value[5], value[6], value[7]),
        prefix_len: value[8],
    });
    let v6 = fields.array::<33>(field::ADDRESS6).map(|value| {
        let address = |at: usize| Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|i| value[at + i]));
        Ends { client: address(0), server: address(16), prefix_len: value[32] }
    });
    Assignment {
        v4: v4.filter(|ends| Network::new(ends.client.into(), ends.prefix_len).is_some()),
        v6: v6.filter(|ends| Network::new(ends.client.into(), ends.prefix_len).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment() -> Assignment {
        let ends = |client: &str, server: &str| (client.parse().unwrap(), server.parse().unwrap());
        let (client, server) = ends("10.10.0.2", "10.10.0.1");
        let v4 = Ends { client, server, prefix_len: 30 };
        let v6 =
            Ends { client: "fd00::2".parse().unwrap(), server: "fd00::1".parse().unwrap(), prefix_len: 126 };
        Assignment { v4: Some(v4), v6: Some(v6) }
    }

    #[test]
    fn what_is_written_is_read() {
        for wanted in [assignment(), Assignment { v4: None, ..assignment() }, Assignment::default()] {
            let mut fields = FieldWriter::default();
            write(&wanted, &mut fields);
            assert_eq!(read(Fields::parse(fields.as_slice()).unwrap()), wanted);
        }
    }

    #[test]
    fn a_prefix_or_a_length_that_cannot_be_counts_as_nothing() {
        let mut fields = FieldWriter::default();
        fields.put(field::ADDRESS4, &[10, 0, 0, 2, 10, 0, 0, 1, 33]).put(field::ADDRESS6, &[0; 32]);
        assert_eq!(read(Fields::parse(fields.as_slice()).unwrap()), Assignment::default());
    }
}
