//! Kernels: their sources, and how they are launched.

use std::ffi::c_void;

use pipeline_schema::DType;

use super::driver::LaunchShape;
use super::{Buffer, Device, suffix};
use crate::error::Result;

/// The source of a family of kernels. Those of one number format, which their names end with, are compiled when the
/// first of them is launched, and so are those whose names have none.
#[derive(Debug)]
pub struct Source {
    /// The family.
    pub name: &'static str,
    /// Its parts, in order: the prelude first.
    pub parts: &'static [&'static str],
}

/// What every source starts with.
pub const PRELUDE: &str = include_str!("prelude.cuh");

/// NVIDIA's tensor cores and asynchronous copies, for the sources that use them: after the prelude.
pub const TENSOR: &str = include_str!("tensor.cuh");

/// Hopper's products of four warps: after [`TENSOR`].
pub const HOPPER: &str = include_str!("hopper.cuh");

/// Products of small tiles on the matrix units of any chip: after [`TENSOR`].
pub const MATRIX: &str = include_str!("matrix.cuh");

impl Source {
    /// The whole text: the kernels of all number formats.
    pub fn text(&self) -> String {
        self.parts.concat()
    }

    /// The text for the kernels of one number format, or for those of none.
    pub fn text_of(&self, format: Option<DType>) -> String {
        let bit = match format {
            None => 0,
            Some(DType::F32) => 1,
            Some(DType::BF16) => 2,
            Some(DType::F16) => 4,
        };
        format!("#define FORMATS {bit}\n#line 1\n{}", self.text())
    }
}

/// A launch that is being put together. Arguments are given in the order of the kernel's parameters.
#[must_use = "a launch does nothing until it is run"]
#[derive(Debug)]
pub struct Launch<'a> {
    device: &'a Device,
    source: &'static Source,
    kernel: &'a str,
    shape: LaunchShape,
    arguments: Vec<u64>,
}

impl<'a> Launch<'a> {
    /// One block of 256 threads, without arguments.
    pub fn new(device: &'a Device, source: &'static Source, kernel: &'a str) -> Launch<'a> {
        let shape = LaunchShape { grid: [1; 3], threads: 256, shared: 0, overlap: true };
        Launch { device, source, kernel, shape, arguments: Vec::with_capacity(16) }
    }

    /// Blocks in x, y and z.
    pub fn grid(mut self, x: usize, y: usize, z: usize) -> Self {
        self.shape.grid = [x, y, z].map(|blocks| u32::try_from(blocks).unwrap_or(u32::MAX));
        self
    }

    /// Threads a block.
    pub fn threads(mut self, threads: usize) -> Self {
        self.shape.threads = u32::try_from(threads).unwrap_or(u32::MAX);
        self
    }

    /// Bytes of shared memory beside what the kernel declares.
    pub fn shared(mut self, bytes: usize) -> Self {
        self.shape.shared = u32::try_from(bytes).unwrap_or(u32::MAX);
        self
    }

    /// Where a buffer begins.
    pub fn buffer(self, buffer: &Buffer) -> Self {
        self.address(buffer.address())
    }

    /// An address; 0 is the null pointer.
    pub fn address(mut self, address: u64) -> Self {
        self.arguments.push(address);
        self
    }

    /// A whole number, `u32` in the kernel.
    ///
    /// # Panics
    /// The number does not fit: sizes are checked where a model is loaded.
    pub fn number(mut self, number: usize) -> Self {
        self.arguments.push(u32::try_from(number).expect("sizes on a device fit 32 bits").into());
        self
    }

    /// A `float`.
    pub fn float(mut self, number: f32) -> Self {
        self.arguments.push(number.to_bits().into());
        self
    }

    /// Launches the kernel.
    ///
    /// # Safety
    /// The arguments are those of the kernel, and its contract holds for them.
    ///
    /// # Errors
    /// The kernel does not compile, or the driver refuses.
    pub unsafe fn run(mut self) -> Result<()> {
        if self.shape.grid.contains(&0) {
            return Ok(());
        }
        let function = self.device.function(self.source, self.kernel, self.shape.shared)?;
        // On the little-endian machines that have GPUs, a smaller number is at the start of a larger one.
        let mut arguments: Vec<*mut c_void> =
            self.arguments.iter_mut().map(|argument| std::ptr::from_mut(argument).cast()).collect();
        // SAFETY: by contract.
        let launched = unsafe { self.device.driver().launch(function, self.shape, &mut arguments) };
        launched.map_err(|fault| self.device.error_in(self.kernel, fault))
    }
}

/// The number format that the name of a kernel ends with.
pub fn format_of(kernel: &str) -> Option<DType> {
    let (_, end) = kernel.rsplit_once('_')?;
    DType::ALL.into_iter().find(|&dtype| suffix(dtype) == end)
}
