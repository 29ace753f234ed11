//! SFU, its arithmetic and the memories beside it, against the arithmetic definition.

mod arithmetic;
mod cases;
mod instructions;
mod memories;
mod model;
mod unit;
mod values;
