//! Hand-written kernels, a family a folder, each beside its scalar twin.
