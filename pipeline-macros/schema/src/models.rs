//! Per model type, its configuration and the tensors it must have.
