//! LD, ST and the read arbiter against plain models, on an AXI memory with random delays.

mod arbiter;
mod axi;
mod ld;
mod port;
mod st;
