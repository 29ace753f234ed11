//! Graph to instruction stream: compress, lower, schedule, bundle.
