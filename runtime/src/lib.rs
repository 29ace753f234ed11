//! Inference on this machine: the f32 reference executor.
