//! Metadata values and typed access to them.

use crate::{Error, Result};
use std::collections::BTreeMap;

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident($ty:ty) = $id:literal),* $(,)?) => {
        /// A metadata value.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Value {
            $($(#[$doc])* $name($ty),)*
            /// An array.
            Array(Array),
        }

        /// A metadata array; all elements have one type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Array {
            $($(#[$doc])* $name(Vec<$ty>),)*
            /// An array of arrays.
            Array(Vec<Array>),
        }

        impl Value {
            /// GGUF's number of the value's type.
            pub fn type_id(&self) -> u32 {
                match self {
                    $(Self::$name(_) => $id,)*
                    Self::Array(_) => ARRAY_ID,
                }
            }

            /// Name of the value's type, for messages.
            pub fn type_name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($ty),)*
                    Self::Array(array) => array.type_name(),
                }
            }
        }

        impl Array {
            /// GGUF's number of the elements' type.
            pub fn element_type_id(&self) -> u32 {
                match self {
                    $(Self::$name(_) => $id,)*
                    Self::Array(_) => ARRAY_ID,
                }
            }

            /// Name of the array's type, for messages.
            pub fn type_name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => concat!("array of ", stringify!($ty)),)*
                    Self::Array(_) => "array of arrays",
                }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$name(items) => items.len(),)*
                    Self::Array(items) => items.len(),
                }
            }

            /// Whether there are no elements.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        $(impl From<$ty> for Value {
            fn from(value: $ty) -> Self {
                Self::$name(value)
            }
        }

        impl From<Vec<$ty>> for Value {
            fn from(items: Vec<$ty>) -> Self {
                Self::Array(Array::$name(items))
            }
        })*
    };
}

/// GGUF's number of the array type.
pub(super) const ARRAY_ID: u32 = 9;

values! {
    /// Unsigned byte.
    U8(u8) = 0,
    /// Signed byte.
    I8(i8) = 1,
    /// Unsigned 16-bit integer.
    U16(u16) = 2,
    /// Signed 16-bit integer.
    I16(i16) = 3,
    /// Unsigned 32-bit integer.
    U32(u32) = 4,
    /// Signed 32-bit integer.
    I32(i32) = 5,
    /// IEEE binary32.
    F32(f32) = 6,
    /// Boolean.
    Bool(bool) = 7,
    /// UTF-8 text.
    String(String) = 8,
    /// Unsigned 64-bit integer.
    U64(u64) = 10,
    /// Signed 64-bit integer.
    I64(i64) = 11,
    /// IEEE binary64.
    F64(f64) = 12,
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.into())
    }
}

impl Value {
    /// The value as an integer of any width, if it is one.
    fn integer(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(v) => v.into(),
            Self::I8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::U64(v) => v.into(),
            Self::I64(v) => v.into(),
            _ => return None,
        })
    }
}

impl Array {
    /// The elements as integers of any width, if they are such.
    fn integers(&self) -> Option<Vec<i128>> {
        fn wide<T: Copy + Into<i128>>(items: &[T]) -> Vec<i128> {
            items.iter().map(|&v| v.into()).collect()
        }
        Some(match self {
            Self::U8(v) => wide(v),
            Self::I8(v) => wide(v),
            Self::U16(v) => wide(v),
            Self::I16(v) => wide(v),
            Self::U32(v) => wide(v),
            Self::I32(v) => wide(v),
            Self::U64(v) => wide(v),
            Self::I64(v) => wide(v),
            _ => return None,
        })
    }
}

/// Conversion from a metadata value. Integers convert between widths when the value fits, and a
/// scalar does not convert to a list.
pub trait FromValue<'a>: Sized {
    /// What is expected, for messages: "an unsigned 32-bit integer".
    const EXPECTED: &'static str;

    /// The value, or `None` if it has another type or is out of range.
    fn from_value(value: &'a Value) -> Option<Self>;
}

macro_rules! from_integer {
    ($($ty:ty, $name:literal;)*) => {$(
        impl FromValue<'_> for $ty {
            const EXPECTED: &'static str = concat!("a ", $name);

            fn from_value(value: &Value) -> Option<Self> {
                value.integer()?.try_into().ok()
            }
        }

        impl FromValue<'_> for Vec<$ty> {
            const EXPECTED: &'static str = concat!("an array of elements that are each a ", $name);

            fn from_value(value: &Value) -> Option<Self> {
                let Value::Array(array) = value else { return None };
                array.integers()?.into_iter().map(|v| v.try_into().ok()).collect()
            }
        }
    )*};
}
from_integer! {
    u32, "non-negative integer below 2^32";
    i32, "32-bit signed integer";
    u64, "non-negative 64-bit integer";
    usize, "non-negative integer";
}

macro_rules! from_borrowed {
    ($($ty:ty, $expected:literal, $pattern:pat => $result:expr;)*) => {$(
        impl<'a> FromValue<'a> for $ty {
            const EXPECTED: &'static str = $expected;

            fn from_value(value: &'a Value) -> Option<Self> {
                match value {
                    $pattern => Some($result),
                    _ => None,
                }
            }
        }
    )*};
}
from_borrowed! {
    bool, "a boolean", Value::Bool(v) => *v;
    f32, "a 32-bit float", Value::F32(v) => *v;
    &'a str, "text", Value::String(v) => v;
    &'a [String], "an array of text", Value::Array(Array::String(v)) => v;
    &'a [f32], "an array of 32-bit floats", Value::Array(Array::F32(v)) => v;
    &'a [bool], "an array of booleans", Value::Array(Array::Bool(v)) => v;
    &'a Array, "an array", Value::Array(v) => v;
}

/// The key-value pairs at the head of a GGUF file.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    pub(super) file: String,
    pub(super) entries: BTreeMap<String, Value>,
}

impl Metadata {
    /// The value of `key`, if present.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// Keys and values, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of `key` as `T`.
    ///
    /// # Errors
    /// [`Error::Metadata`] naming the key if it is missing, or has another type, or does not fit.
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T> {
        self.optional(key)?.ok_or_else(|| Error::Metadata {
            file: self.file.clone(),
            key: key.into(),
            problem: format!("is missing; expected {}", T::EXPECTED),
            hint: "the file lacks something that this architecture needs; convert the model again",
        })
    }

    /// The value of `key` as `T`, or `None` if the key is absent.
    ///
    /// # Errors
    /// [`Error::Metadata`] naming the key if it is present with another type or does not fit.
    pub fn optional<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        T::from_value(value)
            .map(Some)
            .ok_or_else(|| Error::Metadata {
                file: self.file.clone(),
                key: key.into(),
                problem: match value {
                    Value::Array(array) => {
                        format!(
                            "is an {} of length {}; expected {}",
                            array.type_name(),
                            array.len(),
                            T::EXPECTED
                        )
                    }
                    Value::String(_) => format!("is text; expected {}", T::EXPECTED),
                    other => format!("is {other:?}; expected {}", T::EXPECTED),
                },
                hint: crate::error::RECONVERT,
            })
    }
}
