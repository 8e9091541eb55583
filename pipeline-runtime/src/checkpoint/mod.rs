//! Safetensors files, shards, configuration files.
