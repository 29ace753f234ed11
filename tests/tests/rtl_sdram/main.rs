//! The SDRAM controller with its chip and two AXI masters, and the chip's rules alone.

mod chip;
mod master;
mod mux;
mod rules;
mod streams;
mod system;
mod traffic;
