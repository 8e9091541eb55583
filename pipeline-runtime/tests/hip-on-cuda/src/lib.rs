//! The calls of HIP, hipRTC and hipBLASLt that the runtime makes, forwarded to CUDA, NVRTC and cuBLASLt: for tests,
//! so that the whole path for AMD runs on an NVIDIA GPU. Opened through the variable `PIPELINES_HIP_LIBRARY`.
//!
//! Numbers and structures are those of ROCm 6's headers. The kernels' source is compiled as it comes: its prelude
//! sees NVIDIA's compiler. Where there is no NVIDIA driver, there is no device, as HIP would say it.

/// What the name of a chip begins with whose kernels are compiled for warps of 64 lanes.
const WIDE: &str = "warp64-";

mod hip;
mod hipblaslt;
mod hiprtc;
