//! Models of every kind as files: indexed, packed, damaged.

mod blocks;
mod hostile;
mod index;
#[path = "../../../../compiler/import/tests/models/make.rs"]
mod make;
mod resume;
mod round_trip;
