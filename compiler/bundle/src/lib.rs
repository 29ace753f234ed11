//! The compiled directory: manifest, memory map, load and atomic store.
