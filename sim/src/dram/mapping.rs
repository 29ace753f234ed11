//! From byte addresses to channel, bank, row and column.

use super::{Error, Timing};
use lampyris_isa::format::CHUNK_BYTES;

/// A part of a memory location.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// Channel.
    Channel,
    /// Bank group.
    Group,
    /// Bank within its group.
    Bank,
    /// Burst within the row.
    Column,
    /// Row.
    Row,
}

const FIELDS: [Field; 5] = [
    Field::Channel,
    Field::Group,
    Field::Bank,
    Field::Column,
    Field::Row,
];

/// Common orders of the address bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// row : bank : column : channel : group. Neighbouring bursts lie in different bank groups,
    /// so a stream runs at `tCCD_S`; a whole row of every group is used before the next bank.
    #[default]
    GroupInterleaved,
    /// row : bank : group : column : channel. A row is used before the next bank.
    RowBankColumn,
    /// bank : group : row : column : channel. A bank is used before the next: every change of
    /// row is one within a bank, which nothing hides.
    BankRowColumn,
}

/// Where a burst lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Channel.
    pub channel: u32,
    /// Bank, counted over all groups: group times banks in a group, plus bank.
    pub bank: u32,
    /// Row.
    pub row: u32,
    /// Burst within the row.
    pub column: u32,
}

/// An address mapping.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// From the lowest address bit above the burst up.
    slices: Vec<(Field, u32)>,
    burst_bits: u32,
    banks: u32,
}

fn bits_of(field: Field, timing: &Timing, channels: u32) -> u32 {
    match field {
        Field::Channel => channels.ilog2(),
        Field::Group => timing.groups.ilog2(),
        Field::Bank => timing.banks.ilog2(),
        Field::Column => (timing.row_bytes / timing.burst_bytes()).ilog2(),
        Field::Row => timing.rows.ilog2(),
    }
}

impl Mapping {
    /// A mapping of `channels` channels from slices of address bits, the lowest (just above the
    /// bytes of a burst) first. A field may be cut into several slices, its low bits first.
    ///
    /// # Errors
    /// A geometry that is not of powers of two, or slices that do not cover it exactly.
    pub fn new(timing: &Timing, channels: u32, slices: &[(Field, u32)]) -> Result<Mapping, Error> {
        let geometry = [
            ("channels", channels),
            ("groups", timing.groups),
            ("banks", timing.banks),
            ("rows", timing.rows),
            ("row_bytes", timing.row_bytes),
            ("burst bytes", timing.burst_bytes()),
        ];
        for (parameter, value) in geometry {
            if !value.is_power_of_two() {
                return Err(Error::Geometry { parameter, value });
            }
        }
        if timing.row_bytes < timing.burst_bytes() {
            return Err(Error::Geometry {
                parameter: "row_bytes",
                value: timing.row_bytes,
            });
        }
        for field in FIELDS {
            let has = slices.iter().filter(|(f, _)| *f == field);
            let has: u64 = has.map(|&(_, bits)| u64::from(bits)).sum();
            let needs = bits_of(field, timing, channels);
            if has != u64::from(needs) {
                return Err(Error::Mapping { field, needs, has });
            }
        }
        Ok(Mapping {
            slices: slices.iter().copied().filter(|&(_, b)| b > 0).collect(),
            burst_bits: timing.burst_bytes().ilog2(),
            banks: timing.banks,
        })
    }

    /// One of the common orders.
    ///
    /// # Errors
    /// A geometry that is not of powers of two.
    pub fn ordered(timing: &Timing, channels: u32, order: Order) -> Result<Mapping, Error> {
        use Field::{Bank, Channel, Column, Group, Row};
        let fields = match order {
            Order::GroupInterleaved => [Group, Channel, Column, Bank, Row],
            Order::RowBankColumn => [Channel, Column, Group, Bank, Row],
            Order::BankRowColumn => [Channel, Column, Row, Group, Bank],
        };
        // Zero has no logarithm; `new` refuses it with all else that is not a power of two.
        let bits = |field| match (channels, timing.groups, timing.banks, timing.rows) {
            (0, ..) | (_, 0, ..) | (_, _, 0, _) | (.., 0) => 0,
            _ if timing.burst_bytes() == 0 || timing.row_bytes < timing.burst_bytes() => 0,
            _ => bits_of(field, timing, channels),
        };
        Self::new(timing, channels, &fields.map(|f| (f, bits(f))))
    }

    /// [`Order::GroupInterleaved`] within each of `channels` channels, in turn a chunk of 64 bytes
    /// in each.
    ///
    /// # Errors
    /// A geometry that is not of powers of two; bursts of more than a chunk.
    pub fn side_by_side(timing: &Timing, channels: u32) -> Result<Mapping, Error> {
        let within = Self::ordered(timing, 1, Order::GroupInterleaved)?;
        let Some(mut low) = (CHUNK_BYTES as u32).ilog2().checked_sub(within.burst_bits) else {
            return Err(Error::Geometry {
                parameter: "burst bytes, more than a chunk of 64,",
                value: timing.burst_bytes(),
            });
        };
        if !channels.is_power_of_two() {
            return Err(Error::Geometry {
                parameter: "channels",
                value: channels,
            });
        }
        let (mut below, mut above) = (Vec::new(), Vec::new());
        for (field, bits) in within.slices {
            let first = bits.min(low);
            low -= first;
            below.push((field, first));
            above.push((field, bits - first));
        }
        below.push((Field::Channel, channels.ilog2()));
        below.append(&mut above);
        Self::new(timing, channels, &below)
    }

    /// The place of the burst that holds `addr`. Addresses beyond the capacity wrap around.
    #[inline]
    pub fn place(&self, addr: u64) -> Place {
        let mut rest = addr >> self.burst_bits;
        let mut value = [0u32; 5];
        let mut filled = [0u32; 5];
        for &(field, bits) in &self.slices {
            let f = field as usize;
            value[f] |= ((rest & ((1 << bits) - 1)) as u32) << filled[f];
            filled[f] += bits;
            rest >>= bits;
        }
        let [channel, group, bank, column, row] = value;
        Place {
            channel,
            bank: group * self.banks + bank,
            row,
            column,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_burst_has_its_own_place() {
        let timing = Timing {
            rows: 8,
            ..Timing::DDR4_2400
        };
        for order in [
            Order::GroupInterleaved,
            Order::RowBankColumn,
            Order::BankRowColumn,
        ] {
            let mapping = Mapping::ordered(&timing, 2, order).unwrap();
            let bursts = 2 * timing.bytes() / 64;
            let places: HashSet<_> = (0..bursts)
                .map(|i| mapping.place(64 * i))
                .map(|p| (p.channel, p.bank, p.row, p.column))
                .collect();
            assert_eq!(places.len() as u64, bursts, "{order:?}");
            let inside = |&(c, b, r, k): &(u32, u32, u32, u32)| c < 2 && b < 16 && r < 8 && k < 128;
            assert!(places.iter().all(inside), "{order:?}");
        }
    }

    #[test]
    fn orders_put_neighbours_where_they_say() {
        let at = |order, addr| {
            Mapping::ordered(&Timing::DDR4_2400, 1, order)
                .unwrap()
                .place(addr)
        };
        // Next burst: another group, or the same row.
        assert_eq!(at(Order::GroupInterleaved, 64).bank, 4);
        assert_eq!(at(Order::RowBankColumn, 64).column, 1);
        // Next row's worth of bytes: next bank group, or the next row of the bank.
        assert_eq!(at(Order::RowBankColumn, 8192).bank, 4);
        assert_eq!(at(Order::BankRowColumn, 8192).row, 1);
    }

    #[test]
    fn slices_may_be_cut() {
        use Field::{Bank, Column, Group, Row};
        let slices = [(Column, 2), (Group, 2), (Column, 5), (Row, 16), (Bank, 2)];
        let mapping = Mapping::new(&Timing::DDR4_2400, 1, &slices).unwrap();
        let place = mapping.place((0b10011 << 4 | 0b01 << 2 | 0b11) << 6);
        assert_eq!((place.column, place.bank), (0b10011 << 2 | 0b11, 4));
    }

    #[test]
    fn wrong_slices_and_geometries_are_refused() {
        use Field::{Bank, Column, Row};
        let slices = [(Column, 7), (Bank, 3), (Row, 15)];
        assert!(Mapping::new(&Timing::DDR3_800, 1, &slices).is_ok());
        assert!(matches!(
            Mapping::new(&Timing::DDR3_800, 2, &slices),
            Err(Error::Mapping {
                field: Field::Channel,
                needs: 1,
                has: 0
            })
        ));
        for channels in [0, 3] {
            assert!(matches!(
                Mapping::ordered(&Timing::HBM2, channels, Order::default()),
                Err(Error::Geometry {
                    parameter: "channels",
                    ..
                })
            ));
        }
    }
}
