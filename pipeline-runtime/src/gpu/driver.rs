//! What the backend asks of a vendor's driver, compiler and library of matrix products.

use std::ffi::c_void;
use std::fmt;

use pipeline_schema::{DType, Hardware};

/// A GPU: one context on one device, one stream on which everything runs in order.
///
/// Addresses are those of the device; handles belong to the driver that gave them. Calls only enqueue work, unless
/// they say that they wait.
///
/// # Safety
/// The unsafe methods take addresses: they must be of live allocations of this driver, at least as long as said, and
/// stay alive until the work is done. Handles must be of this driver and not be destroyed yet.
#[expect(clippy::missing_safety_doc, reason = "the contract is the same for all methods, and stands above")]
pub trait Driver: Send + Sync + fmt::Debug {
    /// Which hardware this drives.
    fn hardware(&self) -> Hardware;

    /// The device.
    fn chip(&self) -> &Chip;

    /// Bytes of device memory, free and in all.
    fn memory(&self) -> Result<(u64, u64), Fault>;
    /// Device memory, aligned to 256 bytes.
    fn allocate(&self, bytes: usize) -> Result<u64, Fault>;
    /// Gives an allocation back. Waits for what runs.
    unsafe fn free(&self, address: u64) -> Result<(), Fault>;
    /// Memory of the host that the device reads and writes at full speed.
    fn allocate_host(&self, bytes: usize) -> Result<*mut u8, Fault>;
    /// Gives memory of the host back.
    unsafe fn free_host(&self, address: *mut u8) -> Result<(), Fault>;

    /// Copies from the host. The bytes may be changed when the call is back, unless they are of
    /// [`allocate_host`](Self::allocate_host): then when the copy is done.
    unsafe fn copy_in(&self, to: u64, from: *const u8, bytes: usize) -> Result<(), Fault>;
    /// Copies to the host; the bytes are there when the work is done.
    unsafe fn copy_out(&self, to: *mut u8, from: u64, bytes: usize) -> Result<(), Fault>;
    /// Copies within the device.
    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Fault>;
    /// Sets every byte.
    unsafe fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<(), Fault>;

    /// Waits until all work is done.
    fn synchronize(&self) -> Result<(), Fault>;
    /// A new event.
    fn create_event(&self) -> Result<Handle, Fault>;
    /// The event happens when all work enqueued so far is done.
    unsafe fn record_event(&self, event: Handle) -> Result<(), Fault>;
    /// Waits for an event.
    unsafe fn wait_event(&self, event: Handle) -> Result<(), Fault>;
    /// Milliseconds between two events that have happened.
    unsafe fn elapsed(&self, start: Handle, end: Handle) -> Result<f32, Fault>;
    /// Destroys an event.
    unsafe fn destroy_event(&self, event: Handle);

    /// Machine code for this chip.
    fn compile(&self, name: &str, source: &str) -> Result<Vec<u8>, CompileFault>;
    /// Name and version of the compiler: part of the key under which machine code is cached.
    fn compiler(&self) -> String;
    /// Loads machine code.
    fn load_module(&self, code: &[u8]) -> Result<Handle, Fault>;
    /// Unloads it.
    unsafe fn unload_module(&self, module: Handle);
    /// A kernel of a module.
    unsafe fn function(&self, module: Handle, name: &str) -> Result<Handle, Fault>;
    /// Lets a kernel take this many bytes of shared memory at launch.
    unsafe fn allow_shared(&self, function: Handle, bytes: u32) -> Result<(), Fault>;
    /// Launches a kernel. Each argument points to a value of the kernel's parameter type. With `overlap` the kernel
    /// may start before the one before it has finished, where the hardware can: it waits for it by itself.
    unsafe fn launch(
        &self,
        function: Handle,
        shape: LaunchShape,
        arguments: &mut [*mut c_void],
    ) -> Result<(), Fault>;

    /// See [`Device::tensor_map`](super::Device::tensor_map).
    fn tensor_map(
        &self,
        _matrix: u64,
        _rows: u64,
        _columns: u64,
        _dtype: DType,
    ) -> Result<Option<[u64; 16]>, Fault> {
        Ok(None)
    }

    /// From here on work is recorded instead of run.
    fn begin_capture(&self) -> Result<(), Fault>;
    /// What was recorded since, ready to be replayed; and how many launches and copies it has.
    fn end_capture(&self) -> Result<(Handle, usize), Fault>;
    /// Replays it.
    unsafe fn launch_graph(&self, graph: Handle) -> Result<(), Fault>;
    /// Destroys it.
    unsafe fn destroy_graph(&self, graph: Handle);

    /// A dense matrix product.
    unsafe fn matmul(&self, product: &Product) -> Result<(), Fault>;
}

/// Something of a driver: an event, a module, a kernel, a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub *mut c_void);

// SAFETY: the drivers' handles are used from any thread; the context is made current before each call.
unsafe impl Send for Handle {}
// SAFETY: as above; the drivers lock what they share.
unsafe impl Sync for Handle {}

/// What a device is.
#[derive(Clone, Debug)]
pub struct Chip {
    /// The vendor's name for it.
    pub name: String,
    /// What the compiler calls it: `sm_90a`, `gfx942`.
    pub target: String,
    /// Multiprocessors (compute units).
    pub multiprocessors: u32,
    /// Lanes that run together.
    pub warp: u32,
    /// Bytes of shared memory that a block can have.
    pub shared_per_block: u32,
    /// Bytes of the second cache.
    pub l2: u64,
    /// Bytes of device memory.
    pub memory: u64,
    /// Versions of driver and libraries, for people to read.
    pub versions: Vec<(&'static str, String)>,
}

/// How many blocks and threads a kernel runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchShape {
    /// Blocks in each dimension.
    pub grid: [u32; 3],
    /// Threads a block.
    pub threads: u32,
    /// Bytes of shared memory beside what the kernel declares.
    pub shared: u32,
    /// See [`Driver::launch`].
    pub overlap: bool,
}

/// `y = x W^T`, or `y += x W^T`: row-major, `x (rows, in)`, `W (out, in)`, `y (rows, out)`.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Address of `x`.
    pub x: u64,
    /// Address of `W`.
    pub weight: u64,
    /// Address of `y`.
    pub y: u64,
    /// The sizes and number formats.
    pub shape: ProductShape,
    /// Address of memory for intermediate results.
    pub workspace: u64,
    /// Its size in bytes.
    pub workspace_bytes: usize,
}

/// Sizes and number formats of a [`Product`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProductShape {
    /// Rows of `x` and `y`.
    pub rows: usize,
    /// Columns of `x` and `W`.
    pub in_features: usize,
    /// Rows of `W`, columns of `y`.
    pub out_features: usize,
    /// Number format of `x` and `W`; `f32` is computed in `f32`, without shortcuts.
    pub input: DType,
    /// Number format of `y`.
    pub output: DType,
    /// Adds to `y` instead of replacing it.
    pub accumulate: bool,
}

/// Why a driver refused.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What was tried.
    pub operation: &'static str,
    /// What the driver said.
    pub message: String,
    /// What follows from it.
    pub cause: Cause,
}

/// What follows from a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is not enough device memory: less work at once may fit.
    OutOfMemory,
    /// The device does not answer any more, or its context is spoilt: load again.
    Lost,
    /// What another thread did meanwhile has spoilt what was being recorded: it can be recorded again.
    Disturbed,
    /// Anything else.
    Other,
}

/// Why a kernel did not compile.
#[derive(Debug)]
pub enum CompileFault {
    /// The compiler cannot be used.
    Compiler(Fault),
    /// The source is wrong: what the compiler says.
    Source(String),
}
