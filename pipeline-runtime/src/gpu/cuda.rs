//! NVIDIA: libcuda, NVRTC and cuBLASLt, loaded when first asked for.

mod blas;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Mutex;

use cudarc::cublaslt::sys as cublas;
use cudarc::driver::sys as cuda;
use cudarc::nvrtc::sys as nvrtc;
use pipeline_schema::{DType, Hardware};

use self::blas::Products;
use super::driver::{Cause, Chip, CompileFault, Driver, Fault, Handle, LaunchShape, Product};

/// The oldest driver whose calls are all there: CUDA 12.0.
const OLDEST_DRIVER: c_int = 12000;

/// One NVIDIA GPU.
#[derive(Debug)]
pub struct Cuda {
    device: cuda::CUdevice,
    context: Handle,
    stream: Handle,
    products: Mutex<Products>,
    chip: Chip,
}

/// How many NVIDIA GPUs there are.
///
/// # Errors
/// What is missing, in words.
pub fn count() -> Result<u32, String> {
    // SAFETY: only opens the libraries.
    let (driver, compiler, products) =
        unsafe { (cuda::is_culib_present(), nvrtc::is_culib_present(), cublas::is_culib_present()) };
    if !driver {
        return Err("no NVIDIA driver: libcuda.so was not found".to_owned());
    }
    // SAFETY: initialises the driver; the library is there.
    check("cuInit", unsafe { cuda::cuInit(0) }).map_err(|fault| fault.message)?;
    let mut count = 0;
    // SAFETY: writes one number.
    check("cuDeviceGetCount", unsafe { cuda::cuDeviceGetCount(&mut count) })
        .map_err(|fault| fault.message)?;
    if count == 0 {
        return Err("no NVIDIA GPU".to_owned());
    }
    let version = driver_version().map_err(|fault| fault.message)?;
    if version < OLDEST_DRIVER {
        return Err(format!(
            "the NVIDIA driver is for CUDA {}, expected {} or newer: update the driver",
            version_text(version),
            version_text(OLDEST_DRIVER)
        ));
    }
    for (present, name) in [(compiler, "NVRTC (libnvrtc.so)"), (products, "cuBLASLt (libcublasLt.so)")] {
        if !present {
            return Err(format!(
                "{name} was not found: install the CUDA toolkit's libraries, or add their folder to \
                 LD_LIBRARY_PATH"
            ));
        }
    }
    Ok(count as u32)
}

fn driver_version() -> Result<c_int, Fault> {
    let mut version = 0;
    // SAFETY: writes one number.
    check("cuDriverGetVersion", unsafe { cuda::cuDriverGetVersion(&mut version) })?;
    Ok(version)
}

fn version_text(version: c_int) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn check(operation: &'static str, result: cuda::CUresult) -> Result<(), Fault> {
    use cuda::CUresult as Result;
    if result == Result::CUDA_SUCCESS {
        return Ok(());
    }
    let mut text: *const c_char = ptr::null();
    // SAFETY: gives a static text, or leaves the null.
    unsafe { cuda::cuGetErrorString(result, &mut text) };
    let message = match text.is_null() {
        true => format!("{result:?}"),
        // SAFETY: the driver's texts end with a zero and live for ever.
        false => unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
    };
    let cause = match result {
        Result::CUDA_ERROR_OUT_OF_MEMORY => Cause::OutOfMemory,
        Result::CUDA_ERROR_ILLEGAL_ADDRESS
        | Result::CUDA_ERROR_LAUNCH_FAILED
        | Result::CUDA_ERROR_LAUNCH_TIMEOUT
        | Result::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | Result::CUDA_ERROR_MISALIGNED_ADDRESS
        | Result::CUDA_ERROR_HARDWARE_STACK_ERROR
        | Result::CUDA_ERROR_ECC_UNCORRECTABLE
        | Result::CUDA_ERROR_CONTEXT_IS_DESTROYED
        | Result::CUDA_ERROR_DEVICE_UNAVAILABLE => Cause::Lost,
        Result::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED => Cause::Disturbed,
        _ => Cause::Other,
    };
    Err(Fault { operation, message, cause })
}

impl Cuda {
    /// The GPU with this number.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn open(ordinal: u32) -> Result<Cuda, Fault> {
        let mut device = 0;
        let mut context = ptr::null_mut();
        let mut stream = ptr::null_mut();
        // SAFETY: each call writes one handle; the primary context is given back on drop.
        unsafe {
            check("cuDeviceGet", cuda::cuDeviceGet(&mut device, ordinal as c_int))?;
            check("cuDevicePrimaryCtxRetain", cuda::cuDevicePrimaryCtxRetain(&mut context, device))?;
            check("cuCtxSetCurrent", cuda::cuCtxSetCurrent(context))?;
            let flags = cuda::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
            check("cuStreamCreate", cuda::cuStreamCreate(&mut stream, flags))?;
        }
        Ok(Cuda {
            device,
            context: Handle(context.cast()),
            stream: Handle(stream.cast()),
            products: Mutex::new(Products::new()?),
            chip: describe(device)?,
        })
    }

    /// Calls go to the context that is current in the calling thread.
    fn enter(&self) -> Result<(), Fault> {
        // SAFETY: the context lives as long as `self`.
        check("cuCtxSetCurrent", unsafe { cuda::cuCtxSetCurrent(self.context.0.cast()) })
    }

    fn stream(&self) -> cuda::CUstream {
        self.stream.0.cast()
    }
}

fn describe(device: cuda::CUdevice) -> Result<Chip, Fault> {
    use cuda::CUdevice_attribute_enum as Attribute;
    let attribute = |attribute| {
        let mut value = 0;
        // SAFETY: writes one number.
        let result = unsafe { cuda::cuDeviceGetAttribute(&mut value, attribute, device) };
        check("cuDeviceGetAttribute", result).map(|()| value)
    };
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    // Instructions of one generation alone, as Hopper's `wgmma`, need the letter.
    let generation = if major >= 9 { "a" } else { "" };
    let mut name = [0u8; 256];
    let mut memory = 0;
    // SAFETY: writes at most as many bytes as there are, and one number.
    unsafe {
        check("cuDeviceGetName", cuda::cuDeviceGetName(name.as_mut_ptr().cast(), 256, device))?;
        check("cuDeviceTotalMem", cuda::cuDeviceTotalMem_v2(&mut memory, device))?;
    }
    let name = CStr::from_bytes_until_nul(&name).map(CStr::to_string_lossy).unwrap_or_default().into_owned();
    // SAFETY: gives a number.
    let products = unsafe { cublas::cublasLtGetVersion() };
    Ok(Chip {
        name,
        target: format!("sm_{major}{minor}{generation}"),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32,
        warp: attribute(Attribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE)? as u32,
        shared_per_block: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as u32,
        l2: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)? as u64,
        memory: memory as u64,
        versions: vec![
            ("driver", format!("CUDA {}", version_text(driver_version()?))),
            ("compiler", compiler_version()),
            ("matrix products", format!("cuBLASLt {}.{}", products / 10000, products % 10000 / 100)),
        ],
    })
}

fn compiler_version() -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two numbers.
    unsafe { nvrtc::nvrtcVersion(&mut major, &mut minor) };
    format!("NVRTC {major}.{minor}")
}

impl Drop for Cuda {
    fn drop(&mut self) {
        if self.enter().is_ok() {
            // SAFETY: nothing else holds the stream or this reference to the context.
            unsafe {
                cuda::cuStreamSynchronize(self.stream());
                self.products.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).destroy();
                cuda::cuStreamDestroy_v2(self.stream());
                cuda::cuDevicePrimaryCtxRelease_v2(self.device);
            }
        }
    }
}

impl Driver for Cuda {
    fn hardware(&self) -> Hardware {
        Hardware::Cuda
    }

    fn chip(&self) -> &Chip {
        &self.chip
    }

    fn memory(&self) -> Result<(u64, u64), Fault> {
        self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers.
        check("cuMemGetInfo", unsafe { cuda::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok((free as u64, total as u64))
    }

    fn allocate(&self, bytes: usize) -> Result<u64, Fault> {
        self.enter()?;
        let mut address = 0;
        // SAFETY: writes one address.
        check("cuMemAlloc", unsafe { cuda::cuMemAlloc_v2(&mut address, bytes.max(1)) })?;
        Ok(address)
    }

    unsafe fn free(&self, address: u64) -> Result<(), Fault> {
        self.enter()?;
        // SAFETY: by contract.
        check("cuMemFree", unsafe { cuda::cuMemFree_v2(address) })
    }

    fn allocate_host(&self, bytes: usize) -> Result<*mut u8, Fault> {
        self.enter()?;
        let mut address = ptr::null_mut();
        // SAFETY: writes one address.
        check("cuMemHostAlloc", unsafe { cuda::cuMemHostAlloc(&mut address, bytes.max(1), 0) })?;
        Ok(address.cast())
    }

    unsafe fn free_host(&self, address: *mut u8) -> Result<(), Fault> {
        self.enter()?;
        // SAFETY: by contract.
        check("cuMemFreeHost", unsafe { cuda::cuMemFreeHost(address.cast()) })
    }

    unsafe fn copy_in(&self, to: u64, from: *const u8, bytes: usize) -> Result<(), Fault> {
        self.enter()?;
        // SAFETY: by contract.
        let result = unsafe { cuda::cuMemcpyHtoDAsync_v2(to, from.cast(), bytes, self.stream()) };
        check("cuMemcpyHtoDAsync", result)
    }

    unsafe fn copy_out(&self, to: *mut u8, from: u64, bytes: usize) -> Result<(), Fault> {
        self.enter()?;
        // SAFETY: by contract.
        let result = unsafe { cuda::cuMemcpyDtoHAsync_v2(to.cast(), from, bytes, self.stream()) };
        check("cuMemcpyDtoHAsync", result)
    }

    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Fault> {
        self.enter()?;
        // SAFETY: by contract.
        let result = unsafe { cuda::cuMemcpyDtoDAsync_v2(to, from, bytes, self.stream()) };
        check("cuMemcpyDtoDAsync", result)
    }

    unsafe fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<(), Fault> {
        self.enter()?;
        // SAFETY: by contract.
        check("cuMemsetD8Async", unsafe { cuda::cuMemsetD8Async(to, byte, bytes, self.stream()) })
    }

    fn synchronize(&self) -> Result<(), Fault> {
        self.enter()?;
        // SAFETY: the stream lives as long as `self`.
        check("cuStreamSynchronize", unsafe { cuda::cuStreamSynchronize(self.stream()) })
    }

    fn create_event(&self) -> Result<Handle, Fault> {
        self.enter()?;
        let mut event = ptr::null_mut();
        // SAFETY: writes one handle.
        check("cuEventCreate", unsafe { cuda::cuEventCreate(&mut event, 0) })?;
        Ok(Handle(event.cast()))
    }

    unsafe fn record_event(&self, event: Handle) -> Result<(), Fault> {
        self.enter()?;
        // SAFETY: by contract.
        check("cuEventRecord", unsafe { cuda::cuEventRecord(event.0.cast(), self.stream()) })
    }

    unsafe fn wait_event(&self, event: Handle) -> Result<(), Fault> {
        self.enter()?;
        // SAFETY: by contract.
        check("cuEventSynchronize", unsafe { cuda::cuEventSynchronize(event.0.cast()) })
    }

    unsafe fn elapsed(&self, start: Handle, end: Handle) -> Result<f32, Fault> {
        self.enter()?;
        let mut milliseconds = 0.0;
        // SAFETY: by contract; writes one number.
        let result = unsafe { cuda::cuEventElapsedTime_v2(&mut milliseconds, start.0.cast(), end.0.cast()) };
        check("cuEventElapsedTime", result)?;
        Ok(milliseconds)
    }

    unsafe fn destroy_event(&self, event: Handle) {
        if self.enter().is_ok() {
            // SAFETY: by contract.
            unsafe { cuda::cuEventDestroy_v2(event.0.cast()) };
        }
    }

    fn compile(&self, name: &str, source: &str) -> Result<Vec<u8>, CompileFault> {
        compile(name, source, &self.chip.target)
    }

    fn compiler(&self) -> String {
        compiler_version()
    }

    fn load_module(&self, code: &[u8]) -> Result<Handle, Fault> {
        self.enter()?;
        let mut module = ptr::null_mut();
        // SAFETY: machine code says its own length; it comes from the compiler, or from a cache that checks it.
        let result = unsafe { cuda::cuModuleLoadData(&mut module, code.as_ptr().cast()) };
        check("cuModuleLoadData", result)?;
        Ok(Handle(module.cast()))
    }

    unsafe fn unload_module(&self, module: Handle) {
        if self.enter().is_ok() {
            // SAFETY: by contract.
            unsafe { cuda::cuModuleUnload(module.0.cast()) };
        }
    }

    unsafe fn function(&self, module: Handle, name: &str) -> Result<Handle, Fault> {
        self.enter()?;
        let name = CString::new(name).expect("kernels have no zero in their names");
        let mut function = ptr::null_mut();
        // SAFETY: by contract; writes one handle.
        let result = unsafe { cuda::cuModuleGetFunction(&mut function, module.0.cast(), name.as_ptr()) };
        check("cuModuleGetFunction", result)?;
        Ok(Handle(function.cast()))
    }

    unsafe fn allow_shared(&self, function: Handle, bytes: u32) -> Result<(), Fault> {
        self.enter()?;
        let attribute = cuda::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: by contract.
        let result = unsafe { cuda::cuFuncSetAttribute(function.0.cast(), attribute, bytes as c_int) };
        check("cuFuncSetAttribute", result)
    }

    unsafe fn launch(
        &self,
        function: Handle,
        shape: LaunchShape,
        arguments: &mut [*mut c_void],
    ) -> Result<(), Fault> {
        self.enter()?;
        let mut overlap = cuda::CUlaunchAttribute_st {
            id: cuda::CUlaunchAttributeID_enum::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: cuda::CUlaunchAttributeValue_union {
                programmaticStreamSerializationAllowed: c_int::from(shape.overlap),
            },
        };
        let config = cuda::CUlaunchConfig_st {
            gridDimX: shape.grid[0],
            gridDimY: shape.grid[1],
            gridDimZ: shape.grid[2],
            blockDimX: shape.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shape.shared,
            hStream: self.stream(),
            attrs: &mut overlap,
            numAttrs: u32::from(shape.overlap),
        };
        // SAFETY: by contract.
        let result = unsafe {
            cuda::cuLaunchKernelEx(&config, function.0.cast(), arguments.as_mut_ptr(), ptr::null_mut())
        };
        check("cuLaunchKernelEx", result)
    }

    fn tensor_map(
        &self,
        matrix: u64,
        rows: u64,
        columns: u64,
        dtype: DType,
    ) -> Result<Option<[u64; 16]>, Fault> {
        let data_type = match dtype {
            DType::BF16 => cuda::CUtensorMapDataType_enum::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            DType::F16 => cuda::CUtensorMapDataType_enum::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
            DType::F32 => return Ok(None),
        };
        // Only Hopper has both this engine and the matrix instructions that read what it swizzled.
        let aligned = matrix.is_multiple_of(16) && columns.is_multiple_of(8);
        if self.chip.target != "sm_90a" || !aligned || rows == 0 || columns == 0 {
            return Ok(None);
        }
        self.enter()?;
        /// The driver wants maps aligned like this.
        #[repr(align(64))]
        struct Map(cuda::CUtensorMap);
        let mut map = Map(cuda::CUtensorMap { opaque: [0; 16] });
        // SAFETY: sizes, strides and steps of two dimensions; the driver only writes the map.
        let result = unsafe {
            cuda::cuTensorMapEncodeTiled(
                &mut map.0,
                data_type,
                2,
                matrix as *mut c_void,
                [columns, rows].as_ptr(),
                [columns * 2].as_ptr(),
                [64, 64].as_ptr(),
                [1, 1].as_ptr(),
                cuda::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE,
                cuda::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_128B,
                cuda::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                cuda::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        check("cuTensorMapEncodeTiled", result)?;
        Ok(Some(map.0.opaque))
    }

    fn begin_capture(&self) -> Result<(), Fault> {
        self.enter()?;
        let mode = cuda::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream lives as long as `self`.
        check("cuStreamBeginCapture", unsafe { cuda::cuStreamBeginCapture_v2(self.stream(), mode) })
    }

    fn end_capture(&self) -> Result<(Handle, usize), Fault> {
        self.enter()?;
        let mut graph = ptr::null_mut();
        // SAFETY: writes one handle.
        check("cuStreamEndCapture", unsafe { cuda::cuStreamEndCapture(self.stream(), &mut graph) })?;
        let mut nodes = 0;
        let mut ready = ptr::null_mut();
        // SAFETY: the graph was just made; what is instantiated does not need it any more.
        let (counted, instantiated) = unsafe {
            let counted = cuda::cuGraphGetNodes(graph, ptr::null_mut(), &mut nodes);
            let instantiated = cuda::cuGraphInstantiateWithFlags(&mut ready, graph, 0);
            cuda::cuGraphDestroy(graph);
            (counted, instantiated)
        };
        check("cuGraphInstantiate", instantiated)?;
        check("cuGraphGetNodes", counted)?;
        Ok((Handle(ready.cast()), nodes))
    }

    unsafe fn launch_graph(&self, graph: Handle) -> Result<(), Fault> {
        self.enter()?;
        // SAFETY: by contract.
        check("cuGraphLaunch", unsafe { cuda::cuGraphLaunch(graph.0.cast(), self.stream()) })
    }

    unsafe fn destroy_graph(&self, graph: Handle) {
        if self.enter().is_ok() {
            // SAFETY: by contract.
            unsafe { cuda::cuGraphExecDestroy(graph.0.cast()) };
        }
    }

    unsafe fn matmul(&self, product: &Product) -> Result<(), Fault> {
        self.enter()?;
        let mut products = self.products.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // SAFETY: by contract.
        unsafe { products.multiply(product, self.stream()) }
    }
}

/// Machine code for a chip, which need not be in this machine.
///
/// # Errors
/// The compiler's own words.
pub fn compile(name: &str, source: &str, target: &str) -> Result<Vec<u8>, CompileFault> {
    let refused = |result: nvrtc::nvrtcResult| {
        let message = format!("{result:?}");
        CompileFault::Compiler(Fault { operation: "NVRTC", message, cause: Cause::Other })
    };
    let ok = |result| match result {
        nvrtc::nvrtcResult::NVRTC_SUCCESS => Ok(()),
        other => Err(refused(other)),
    };
    // SAFETY: only opens the library.
    if !unsafe { nvrtc::is_culib_present() } {
        let message = "libnvrtc.so was not found".to_owned();
        return Err(CompileFault::Compiler(Fault { operation: "NVRTC", message, cause: Cause::Other }));
    }
    let text = |text: &str| CString::new(text).map_err(|_| CompileFault::Source("a zero byte".to_owned()));
    let (source, name) = (text(source)?, text(name)?);
    let options =
        ["--std=c++17".to_owned(), "-default-device".to_owned(), format!("--gpu-architecture={target}")];
    let options = options.iter().map(|option| text(option)).collect::<Result<Vec<_>, _>>()?;
    let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();

    let mut program = ptr::null_mut();
    // SAFETY: texts end with a zero and live until the program is destroyed; buffers have the length asked for.
    unsafe {
        let (no_headers, no_names) = (ptr::null(), ptr::null());
        ok(nvrtc::nvrtcCreateProgram(&mut program, source.as_ptr(), name.as_ptr(), 0, no_headers, no_names))?;
        let compiled = nvrtc::nvrtcCompileProgram(program, options.len() as c_int, options.as_ptr());
        let result = if compiled == nvrtc::nvrtcResult::NVRTC_ERROR_COMPILATION {
            let mut length = 0;
            nvrtc::nvrtcGetProgramLogSize(program, &mut length);
            let mut log = vec![0u8; length];
            nvrtc::nvrtcGetProgramLog(program, log.as_mut_ptr().cast());
            Err(CompileFault::Source(String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned()))
        } else {
            ok(compiled).and_then(|()| {
                let mut length = 0;
                ok(nvrtc::nvrtcGetCUBINSize(program, &mut length))?;
                let mut code = vec![0u8; length];
                ok(nvrtc::nvrtcGetCUBIN(program, code.as_mut_ptr().cast()))?;
                Ok(code)
            })
        };
        nvrtc::nvrtcDestroyProgram(&mut program);
        result
    }
}
