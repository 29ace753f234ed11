//! Model files on storage: GGUF, safetensors, block formats.
