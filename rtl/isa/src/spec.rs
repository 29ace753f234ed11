//! The macro that turns the instruction table into types, codec and the run-time table.

/// Types that a field may have. Fields travel as `u64` bit patterns.
pub(crate) trait FieldType: Copy {
    const SIGNED: bool;
    fn to_bits(self, width: u32) -> u64;
    fn from_bits(bits: u64, width: u32) -> Self;
}

macro_rules! unsigned_field {
    ($($t:ty),*) => {$(
        impl FieldType for $t {
            const SIGNED: bool = false;
            fn to_bits(self, _width: u32) -> u64 { self as u64 }
            fn from_bits(bits: u64, _width: u32) -> Self { bits as $t }
        }
    )*};
}
unsigned_field!(u8, u16, u32, u64);

impl FieldType for i64 {
    const SIGNED: bool = true;
    fn to_bits(self, width: u32) -> u64 {
        (self as u64) & (u64::MAX >> (64 - width))
    }
    fn from_bits(bits: u64, width: u32) -> Self {
        ((bits << (64 - width)) as i64) >> (64 - width)
    }
}

/// Defines all instructions. One entry gives the variant, mnemonic, opcode, executing unit, and
/// the fields with type, lowest bit, width and meaning.
macro_rules! instructions {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident $mnemonic:literal = $opcode:literal on $unit:ident {
            $( $(#[doc = $fdoc:literal])* $field:ident : $ty:ident @ $lsb:literal + $width:literal ),* $(,)?
        }
    )*) => {
        /// Operation codes, bits 7:0 of every instruction.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Opcode { $( $(#[doc = $doc])* $name = $opcode, )* }

        $(
            $(#[doc = $doc])*
            #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
            pub struct $name { $( $(#[doc = $fdoc])* pub $field: $ty, )* }
        )*

        /// One instruction.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Insn { $( $(#[doc = $doc])* $name($name), )* }

        $( impl From<$name> for Insn { fn from(v: $name) -> Self { Insn::$name(v) } } )*

        /// Every instruction with its fields, in the order of the table.
        pub const INSNS: &[InsnSpec] = &[ $( InsnSpec {
            name: stringify!($name),
            mnemonic: $mnemonic,
            opcode: $opcode,
            unit: Unit::$unit,
            doc: concat!($($doc, "\n"),*),
            fields: &[ $( FieldSpec {
                name: stringify!($field),
                lsb: $lsb,
                width: $width,
                signed: <$ty as FieldType>::SIGNED,
                doc: concat!($($fdoc, "\n"),*),
            } ),* ],
        } ),* ];

        impl Insn {
            /// The operation code.
            pub fn opcode(&self) -> Opcode {
                match self { $( Insn::$name(_) => Opcode::$name, )* }
            }

            /// The field values as bit patterns, in the order of the table.
            pub fn field_bits(&self) -> Vec<u64> {
                match self { $( Insn::$name(v) => {
                    let _ = v;
                    vec![ $( FieldType::to_bits(v.$field, $width) ),* ]
                } )* }
            }

            /// Builds an instruction from its specification's index and field bit patterns.
            pub(crate) fn from_field_bits(opcode: u8, bits: &[u64]) -> Option<Insn> {
                match opcode { $( $opcode => {
                    let mut it = bits.iter().copied();
                    let _ = &mut it;
                    Some(Insn::$name($name { $( $field: FieldType::from_bits(it.next()?, $width) ),* }))
                } )* _ => None }
            }
        }
    };
}
pub(crate) use instructions;
