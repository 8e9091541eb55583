//! The GPU backend: one for both vendors, over a [`Driver`] each.
//!
//! Nothing of a GPU is needed to build: drivers, compilers and BLAS libraries are loaded when a device is opened.
//! Everything on a device runs in one order (one stream), so memory can be used again as soon as the work that used
//! it is enqueued.

pub mod cache;
pub mod cuda;
#[cfg(test)]
mod dialect;
pub mod driver;
#[cfg(test)]
pub(crate) mod faults;
mod fetch;
mod graph;
pub mod hip;
mod launch;
mod memory;
pub mod testing;
#[cfg(test)]
mod tests;
mod timer;

use std::collections::HashMap;
use std::fmt;
use std::mem::size_of_val;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pipeline_schema::{DType, Hardware};

use crate::error::{Error, Result};
use driver::{Cause, CompileFault, Fault};
pub use driver::{Chip, Driver, Handle, Product, ProductShape};
pub use fetch::{Fetch, Fetched};
pub use graph::Graph;
pub use launch::{HOPPER, Launch, MATRIX, PRELUDE, Source, TENSOR, format_of};
pub use memory::{Buffer, Pool};
pub use timer::{Event, Timer};

/// Memory for intermediate results of matrix products, as NVIDIA advises for Hopper.
const WORKSPACE: usize = 32 << 20;

/// A GPU that is open. Cheap to clone; the device is given back with the last clone.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    // Fields are dropped in this order: memory and modules before the driver they belong to.
    workspace: Buffer,
    kernels: Mutex<Kernels>,
    pool: Mutex<Arc<Pool>>,
    turn: Mutex<()>,
    ordinal: u32,
    driver: Arc<dyn Driver>,
}

#[derive(Default)]
struct Kernels {
    modules: HashMap<(&'static str, Option<DType>), Handle>,
    functions: HashMap<(&'static str, String), Function>,
    /// How long it took to load the modules.
    loading: Duration,
}

#[derive(Clone, Copy)]
struct Function {
    handle: Handle,
    shared: u32,
}

impl fmt::Debug for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.hardware(), self.0.ordinal)
    }
}

impl Device {
    /// Opens a GPU.
    ///
    /// # Errors
    /// [`Error::NoHardware`] when it is not there, saying what was looked for; [`Error::Gpu`] when it is and refuses.
    pub fn open(hardware: Hardware, ordinal: u32) -> Result<Device> {
        let missing =
            |reason: String| Error::NoHardware { looked_for: vec![format!("`{hardware}`: {reason}")] };
        let refused = |fault: Fault| missing(format!("{}: {}", fault.operation, fault.message));
        let within = |count: u32| match ordinal < count {
            true => Ok(()),
            false => Err(missing(format!("there is no GPU {ordinal}; the last is {}", count - 1))),
        };
        let driver: Arc<dyn Driver> = match hardware {
            Hardware::Cuda => {
                let count = cuda::count().map_err(missing)?;
                within(count)?;
                Arc::new(cuda::Cuda::open(ordinal).map_err(refused)?)
            }
            Hardware::Rocm => {
                let count = hip::count().map_err(missing)?;
                within(count)?;
                Arc::new(hip::Hip::open(ordinal).map_err(refused)?)
            }
            Hardware::Cpu => return Err(missing("not a GPU".to_owned())),
        };
        Device::over(driver, ordinal).map_err(refused)
    }

    fn over(driver: Arc<dyn Driver>, ordinal: u32) -> std::result::Result<Device, Fault> {
        let pool = Arc::new(Pool::new(driver.clone()));
        let workspace = pool.take(WORKSPACE)?;
        let (kernels, pool) = (Mutex::default(), Mutex::new(pool));
        Ok(Device(Arc::new(Inner { workspace, kernels, pool, turn: Mutex::new(()), ordinal, driver })))
    }

    /// The driver.
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.0.driver
    }

    /// Which hardware it is.
    pub fn hardware(&self) -> Hardware {
        self.0.driver.hardware()
    }

    /// What it is.
    pub fn chip(&self) -> &Chip {
        self.0.driver.chip()
    }

    /// Whether both are the same open device.
    pub fn is(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Holds others back while a call enqueues work that belongs together.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Bytes free on the device, and in all.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn memory(&self) -> Result<(u64, u64)> {
        self.0.driver.memory().map_err(|fault| self.error(fault))
    }

    /// Memory whose content is not set.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn allocate(&self, bytes: usize) -> Result<Buffer> {
        self.pool().take(bytes).map_err(|fault| self.error(fault))
    }

    /// Memory that holds a copy of `numbers`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or the driver refuses.
    pub fn upload<T: Plain>(&self, numbers: &[T]) -> Result<Buffer> {
        let buffer = self.allocate(size_of_val(numbers))?;
        self.write(&buffer, 0, numbers)?;
        Ok(buffer)
    }

    /// Memory whose bytes are all zero.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or the driver refuses.
    pub fn zeros(&self, bytes: usize) -> Result<Buffer> {
        let buffer = self.allocate(bytes)?;
        self.fill(&buffer, 0)?;
        Ok(buffer)
    }

    /// Sets every byte of a buffer.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn fill(&self, buffer: &Buffer, byte: u8) -> Result<()> {
        // SAFETY: the buffer is as long as it says.
        unsafe { self.0.driver.fill(buffer.address(), byte, buffer.bytes()) }
            .map_err(|fault| self.error(fault))
    }

    /// Copies numbers into a buffer, from byte `offset` on.
    ///
    /// # Panics
    /// They do not fit.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn write<T: Plain>(&self, buffer: &Buffer, offset: usize, numbers: &[T]) -> Result<()> {
        let bytes = size_of_val(numbers);
        assert!(
            offset.checked_add(bytes).is_some_and(|end| end <= buffer.bytes()),
            "a write stays in its buffer"
        );
        // SAFETY: in range; numbers without padding can be read as bytes.
        unsafe { self.0.driver.copy_in(buffer.address() + offset as u64, numbers.as_ptr().cast(), bytes) }
            .map_err(|fault| self.error(fault))
    }

    /// Copies bytes from one buffer to another.
    ///
    /// # Panics
    /// They do not fit.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn copy(
        &self,
        to: &Buffer,
        to_offset: usize,
        from: &Buffer,
        from_offset: usize,
        bytes: usize,
    ) -> Result<()> {
        let within = |buffer: &Buffer, offset: usize| {
            offset.checked_add(bytes).is_some_and(|end| end <= buffer.bytes())
        };
        assert!(within(to, to_offset) && within(from, from_offset), "a copy stays in its buffers");
        let (to, from) = (to.address() + to_offset as u64, from.address() + from_offset as u64);
        // SAFETY: both are in range.
        unsafe { self.0.driver.copy(to, from, bytes) }.map_err(|fault| self.error(fault))
    }

    /// Reads `length` numbers from byte `offset` of a buffer. Waits for all work.
    ///
    /// # Panics
    /// The buffer is shorter.
    ///
    /// # Errors
    /// The driver refuses, or work before failed.
    pub fn read<T: Plain>(&self, buffer: &Buffer, offset: usize, length: usize) -> Result<Vec<T>> {
        let bytes = length * size_of::<T>();
        assert!(
            offset.checked_add(bytes).is_some_and(|end| end <= buffer.bytes()),
            "a read stays in its buffer"
        );
        let mut numbers = vec![T::default(); length];
        // SAFETY: in range; every pattern of bits is a number; the vector lives until the wait is over.
        let copied = unsafe {
            self.0.driver.copy_out(numbers.as_mut_ptr().cast(), buffer.address() + offset as u64, bytes)
        };
        // Waits even after a refusal: nothing may write into a vector that is gone.
        let waited = self.0.driver.synchronize();
        copied.and(waited).map_err(|fault| self.error(fault))?;
        Ok(numbers)
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// Work failed.
    pub fn synchronize(&self) -> Result<()> {
        self.0.driver.synchronize().map_err(|fault| self.error(fault))
    }

    /// Begins to measure what is enqueued from here on.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn start_timer(&self) -> Result<Timer> {
        Timer::start(self)
    }

    /// `y = x W^T` or `y += x W^T` of addresses on this device.
    ///
    /// # Safety
    /// The addresses are of live memory with the sizes of `shape`.
    ///
    /// # Errors
    /// The library refuses.
    pub unsafe fn matmul(&self, x: u64, weight: u64, y: u64, shape: ProductShape) -> Result<()> {
        if shape.rows == 0 {
            return Ok(());
        }
        let (workspace, workspace_bytes) = (self.0.workspace.address(), self.0.workspace.bytes());
        let product = Product { x, weight, y, shape, workspace, workspace_bytes };
        // SAFETY: by contract.
        unsafe { self.0.driver.matmul(&product) }.map_err(|fault| self.error(fault))
    }

    /// What the tensor copy engine must know to copy boxes of 64 by 64 numbers of a matrix (rows, columns) to shared
    /// memory, swizzled by 128 bytes; `None` where the chip has no such engine, or it cannot copy such rows.
    ///
    /// # Panics
    /// The buffer is smaller than the matrix.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn tensor_map(
        &self,
        matrix: &Buffer,
        rows: usize,
        columns: usize,
        dtype: DType,
    ) -> Result<Option<[u64; 16]>> {
        let bytes = rows.checked_mul(columns).and_then(|length| length.checked_mul(dtype.size()));
        assert!(bytes.is_some_and(|bytes| bytes <= matrix.bytes()), "a tensor map stays in its buffer");
        let map = self.0.driver.tensor_map(matrix.address(), rows as u64, columns as u64, dtype);
        map.map_err(|fault| self.error(fault))
    }

    fn pool(&self) -> Arc<Pool> {
        self.0.pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Runs `work` with another pool for what it allocates.
    fn with_pool<R>(&self, pool: Arc<Pool>, work: impl FnOnce() -> R) -> R {
        struct Restore<'a>(&'a Mutex<Arc<Pool>>, Arc<Pool>);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = self.1.clone();
            }
        }
        let before = std::mem::replace(&mut *self.0.pool.lock().unwrap_or_else(|e| e.into_inner()), pool);
        let _restore = Restore(&self.0.pool, before);
        work()
    }

    /// A kernel, compiled and loaded when it is first asked for.
    fn function(&self, source: &'static Source, kernel: &str, shared: u32) -> Result<Handle> {
        let mut kernels = self.0.kernels.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let key = (source.name, kernel.to_owned());
        let known = kernels.functions.get(&key).copied();
        if let Some(function) = known
            && shared <= function.shared
        {
            return Ok(function.handle);
        }
        let handle = match known {
            Some(function) => function.handle,
            None => {
                let format = format_of(kernel);
                let module = match kernels.modules.get(&(source.name, format)) {
                    Some(module) => *module,
                    None => {
                        let start = Instant::now();
                        let module = self.load(source, format)?;
                        kernels.loading += start.elapsed();
                        kernels.modules.insert((source.name, format), module);
                        module
                    }
                };
                // SAFETY: modules are unloaded with the device.
                unsafe { self.0.driver.function(module, kernel) }
                    .map_err(|fault| self.error_in(kernel, fault))?
            }
        };
        // Whether it fits without asking depends on what the kernel declares itself.
        if shared > 0 {
            // SAFETY: the kernel was just found.
            unsafe { self.0.driver.allow_shared(handle, shared) }
                .map_err(|fault| self.error_in(kernel, fault))?;
        }
        kernels.functions.insert(key, Function { handle, shared });
        Ok(handle)
    }

    /// How long kernels were compiled, or read from the cache, and loaded so far. That is done when they are first used.
    pub fn loading_kernels(&self) -> Duration {
        self.0.kernels.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).loading
    }

    /// Machine code of a source's kernels of a format for this chip, from the cache or the compiler.
    fn compile(&self, source: &Source, format: Option<DType>) -> Result<Vec<u8>> {
        let text = source.text_of(format);
        let driver = &self.0.driver;
        let target = &self.chip().target;
        let file = cache::file_name(source.name, &text, target, &driver.compiler());
        let path = cache::directory().map(|directory| directory.join(file));
        if let Some(code) = path.as_deref().and_then(cache::read) {
            return Ok(code);
        }
        let code = driver.compile(source.name, &text).map_err(|fault| match fault {
            CompileFault::Compiler(fault) => self.error_in(source.name, fault),
            CompileFault::Source(log) => {
                Error::KernelSource { kernel: source.name, target: target.clone(), log }
            }
        })?;
        if let Some(path) = path {
            cache::write(&path, &code);
        }
        Ok(code)
    }

    fn load(&self, source: &Source, format: Option<DType>) -> Result<Handle> {
        let code = self.compile(source, format)?;
        self.0.driver.load_module(&code).map_err(|fault| self.error_in(source.name, fault))
    }

    fn error(&self, fault: Fault) -> Error {
        let device = self.to_string();
        match fault.cause {
            Cause::OutOfMemory => Error::OutOfMemory { device, message: fault.message },
            Cause::Lost => {
                Error::DeviceLost { device, message: format!("{}: {}", fault.operation, fault.message) }
            }
            Cause::Disturbed | Cause::Other => {
                Error::Gpu { device, operation: fault.operation.to_owned(), message: fault.message }
            }
        }
    }

    fn error_in(&self, kernel: &str, fault: Fault) -> Error {
        match self.error(fault) {
            Error::Gpu { device, operation, message } => {
                Error::Gpu { device, operation: format!("{kernel}: {operation}"), message }
            }
            other => other,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.driver.synchronize();
        let kernels = self.kernels.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        for (_, module) in kernels.modules.drain() {
            // SAFETY: nothing runs any more, and no kernel of it can be asked for again.
            unsafe { self.driver.unload_module(module) };
        }
    }
}

/// Numbers without padding, of which every pattern of bits is one.
///
/// # Safety
/// The type is as said.
pub unsafe trait Plain: Copy + Default {}

// SAFETY: plain numbers.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}
// SAFETY: sixteen bits of any pattern.
unsafe impl Plain for half::bf16 {}
// SAFETY: as above.
unsafe impl Plain for half::f16 {}

/// How kernels call a number format: the end of their names.
pub fn suffix(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::BF16 => "bf16",
        DType::F16 => "f16",
    }
}
