//! The contract: instruction set, number formats, registers, hardware configuration.
