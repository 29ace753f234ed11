//! Functional model, AXI memory, Verilated device, lockstep.
