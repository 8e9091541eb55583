//! AMD: libamdhip64, hipRTC and hipBLASLt, loaded when first asked for.

mod blas;
mod library;
#[cfg(test)]
mod tests;

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Mutex, OnceLock};

use pipeline_schema::Hardware;

use super::driver::{Cause, Chip, CompileFault, Driver, Fault, Handle, LaunchShape, Product};
use blas::Products;
pub use library::OVERRIDE;
use library::{Compiler, Hip as Calls, Libraries, Pointer, Properties};

// Of `hip_runtime_api.h`: the same from ROCm 5 to 7.
const SUCCESS: c_int = 0;
const ERROR_OUT_OF_MEMORY: c_int = 2;
const ERROR_NO_DEVICE: c_int = 100;
const ERROR_INVALID_DEVICE: c_int = 101;
const ERROR_ECC_NOT_CORRECTABLE: c_int = 214;
const ERROR_ILLEGAL_ADDRESS: c_int = 700;
const ERROR_LAUNCH_TIME_OUT: c_int = 702;
const ERROR_CONTEXT_IS_DESTROYED: c_int = 709;
const ERROR_LAUNCH_FAILURE: c_int = 719;
const ERROR_STREAM_CAPTURE_INVALIDATED: c_int = 901;
const ATTRIBUTE_L2_CACHE_SIZE: c_int = 19;
const ATTRIBUTE_MULTIPROCESSOR_COUNT: c_int = 63;
const ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: c_int = 74;
const ATTRIBUTE_WARP_SIZE: c_int = 87;
const STREAM_NON_BLOCKING: u32 = 1;
const COPY_HOST_TO_DEVICE: c_int = 1;
const COPY_DEVICE_TO_HOST: c_int = 2;
const COPY_DEVICE_TO_DEVICE: c_int = 3;
const CAPTURE_RELAXED: c_int = 2;

/// `HIPRTC_ERROR_COMPILATION`.
const COMPILATION_FAILED: c_int = 6;

/// The oldest runtime whose numbers of attributes are these.
const OLDEST_RUNTIME: c_int = 50_000_000;

/// One AMD GPU.
#[derive(Debug)]
pub struct Hip {
    libraries: &'static Libraries,
    device: c_int,
    stream: Handle,
    products: Mutex<Products>,
    chip: Chip,
}

/// The libraries, opened once.
fn libraries() -> Result<&'static Libraries, String> {
    static OPENED: OnceLock<Result<Libraries, String>> = OnceLock::new();
    OPENED.get_or_init(|| Libraries::open(env::var_os(OVERRIDE))).as_ref().map_err(Clone::clone)
}

/// How many AMD GPUs there are.
///
/// # Errors
/// What is missing, in words.
pub fn count() -> Result<u32, String> {
    count_with(libraries()?)
}

fn count_with(libraries: &Libraries) -> Result<u32, String> {
    let hip = &libraries.hip;
    let mut count = 0;
    // SAFETY: initialises the runtime, and writes one number.
    let counted = unsafe {
        match (hip.hipInit)(0) {
            SUCCESS => (hip.hipGetDeviceCount)(&mut count),
            other => other,
        }
    };
    // ROCm 5 calls it an invalid device when there is none at all.
    if matches!(counted, ERROR_NO_DEVICE | ERROR_INVALID_DEVICE) || counted == SUCCESS && count == 0 {
        return Err("no AMD GPU".to_owned());
    }
    check(hip, "hipGetDeviceCount", counted).map_err(|fault| fault.message)?;
    let version = runtime_version(hip).map_err(|fault| fault.message)?;
    if version < OLDEST_RUNTIME {
        return Err(format!(
            "libamdhip64 is of HIP {}, expected {} or newer: update ROCm",
            version_text(version),
            version_text(OLDEST_RUNTIME)
        ));
    }
    libraries.compiler.as_ref()?;
    libraries.blas.as_ref()?;
    Ok(count as u32)
}

fn runtime_version(hip: &Calls) -> Result<c_int, Fault> {
    let mut version = 0;
    // SAFETY: writes one number.
    check(hip, "hipRuntimeGetVersion", unsafe { (hip.hipRuntimeGetVersion)(&mut version) })?;
    Ok(version)
}

fn version_text(version: c_int) -> String {
    format!("{}.{}", version / 10_000_000, version % 10_000_000 / 100_000)
}

/// A text of a library.
///
/// # Safety
/// Null, or a text that ends with a zero and lives for ever.
unsafe fn static_text(text: *const c_char) -> String {
    match text.is_null() {
        true => String::new(),
        // SAFETY: by contract.
        false => unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
    }
}

fn check(hip: &Calls, operation: &'static str, result: c_int) -> Result<(), Fault> {
    if result == SUCCESS {
        return Ok(());
    }
    // SAFETY: the runtime's texts are constants.
    let text = unsafe { static_text((hip.hipGetErrorString)(result)) };
    let message = if text.is_empty() { format!("error {result}") } else { text };
    let cause = match result {
        ERROR_OUT_OF_MEMORY => Cause::OutOfMemory,
        ERROR_ILLEGAL_ADDRESS
        | ERROR_LAUNCH_FAILURE
        | ERROR_LAUNCH_TIME_OUT
        | ERROR_ECC_NOT_CORRECTABLE
        | ERROR_CONTEXT_IS_DESTROYED => Cause::Lost,
        ERROR_STREAM_CAPTURE_INVALIDATED => Cause::Disturbed,
        _ => Cause::Other,
    };
    Err(Fault { operation, message, cause })
}

fn unusable(operation: &'static str) -> impl Fn(&String) -> Fault {
    move |message| Fault { operation, message: message.clone(), cause: Cause::Other }
}

impl Hip {
    /// The GPU with this number.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn open(ordinal: u32) -> Result<Hip, Fault> {
        Hip::open_with(libraries().map_err(|message| unusable("libamdhip64")(&message))?, ordinal)
    }

    fn open_with(libraries: &'static Libraries, ordinal: u32) -> Result<Hip, Fault> {
        let hip = &libraries.hip;
        let device = ordinal as c_int;
        // SAFETY: needs nothing.
        check(hip, "hipSetDevice", unsafe { (hip.hipSetDevice)(device) })?;
        let products = Products::new(libraries.blas.as_ref().map_err(unusable("hipBLASLt"))?)?;
        let chip = describe(libraries, device, products.version())?;
        let mut stream = ptr::null_mut();
        // SAFETY: writes one handle.
        let created = unsafe { (hip.hipStreamCreateWithFlags)(&mut stream, STREAM_NON_BLOCKING) };
        check(hip, "hipStreamCreate", created)?;
        Ok(Hip { libraries, device, stream: Handle(stream), products: Mutex::new(products), chip })
    }

    /// The calls, with the device made the calling thread's.
    fn enter(&self) -> Result<&'static Calls, Fault> {
        let hip = &self.libraries.hip;
        // SAFETY: needs nothing.
        check(hip, "hipSetDevice", unsafe { (hip.hipSetDevice)(self.device) })?;
        Ok(hip)
    }

    /// # Safety
    /// As the copies of [`Driver`]; `kind` says which of the two is the device's.
    unsafe fn copy_kind(
        &self,
        to: Pointer,
        from: *const c_void,
        bytes: usize,
        kind: c_int,
    ) -> Result<(), Fault> {
        let hip = self.enter()?;
        // SAFETY: by contract.
        let result = unsafe { (hip.hipMemcpyAsync)(to, from, bytes, kind, self.stream.0) };
        check(hip, "hipMemcpyAsync", result)
    }
}

fn describe(libraries: &Libraries, device: c_int, products: String) -> Result<Chip, Fault> {
    let hip = &libraries.hip;
    let attribute = |attribute| {
        let mut value = 0;
        // SAFETY: writes one number.
        let result = unsafe { (hip.hipDeviceGetAttribute)(&mut value, attribute, device) };
        check(hip, "hipDeviceGetAttribute", result).map(|()| value)
    };
    let mut name = [0u8; 256];
    let mut memory = 0;
    // SAFETY: writes at most as many bytes as there are, and one number.
    unsafe {
        check(hip, "hipDeviceGetName", (hip.hipDeviceGetName)(name.as_mut_ptr().cast(), 256, device))?;
        check(hip, "hipDeviceTotalMem", (hip.hipDeviceTotalMem)(&mut memory, device))?;
    }
    let target = target(libraries, device)?;
    let name = CStr::from_bytes_until_nul(&name).map(CStr::to_string_lossy).unwrap_or_default();
    // Some chips' names are known to a newer ROCm only.
    let name = if name.is_empty() { format!("AMD {target}") } else { name.into_owned() };
    let compiler = libraries.compiler.as_ref().map_err(unusable("hipRTC"))?;
    Ok(Chip {
        name,
        target,
        multiprocessors: attribute(ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32,
        warp: attribute(ATTRIBUTE_WARP_SIZE)? as u32,
        shared_per_block: attribute(ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK)? as u32,
        l2: attribute(ATTRIBUTE_L2_CACHE_SIZE)? as u64,
        memory: memory as u64,
        versions: vec![
            ("driver", format!("HIP {}", version_text(runtime_version(hip)?))),
            ("compiler", compiler_version(compiler)),
            ("matrix products", products),
        ],
    })
}

/// What the compiler calls the chip. The runtime's name for it has features too (`gfx942:sramecc+:xnack-`); machine
/// code for the name alone runs with either setting of them.
fn target(libraries: &Libraries, device: c_int) -> Result<String, Fault> {
    let Properties { call, architecture } = libraries.properties;
    // Of numbers, so that it is aligned as the structure must be.
    let mut properties = [0u64; Properties::BYTES / 8];
    // SAFETY: there is room for more than the structure.
    let result = unsafe { call(properties.as_mut_ptr().cast(), device) };
    check(&libraries.hip, "hipGetDeviceProperties", result)?;
    let bytes: Vec<u8> = properties.iter().flat_map(|word| word.to_ne_bytes()).skip(architecture).collect();
    let whole = CStr::from_bytes_until_nul(&bytes).unwrap_or_default().to_string_lossy();
    let target = whole.split(':').next().unwrap_or_default();
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    if target.is_empty() || !target.chars().all(plain) {
        return Err(Fault {
            operation: "hipGetDeviceProperties",
            message: format!("the chip has the name {whole:?}, expected one like \"gfx942\""),
            cause: Cause::Other,
        });
    }
    Ok(target.to_owned())
}

fn compiler_version(compiler: &Compiler) -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two numbers.
    unsafe { (compiler.hiprtcVersion)(&mut major, &mut minor) };
    format!("hipRTC {major}.{minor}")
}

impl Drop for Hip {
    fn drop(&mut self) {
        if let Ok(hip) = self.enter() {
            // SAFETY: nothing else holds the stream. The products are dropped next, with the device still entered.
            unsafe {
                (hip.hipStreamSynchronize)(self.stream.0);
                (hip.hipStreamDestroy)(self.stream.0);
            }
        }
    }
}

impl Driver for Hip {
    fn hardware(&self) -> Hardware {
        Hardware::Rocm
    }

    fn chip(&self) -> &Chip {
        &self.chip
    }

    fn memory(&self) -> Result<(u64, u64), Fault> {
        let hip = self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers.
        check(hip, "hipMemGetInfo", unsafe { (hip.hipMemGetInfo)(&mut free, &mut total) })?;
        Ok((free as u64, total as u64))
    }

    fn allocate(&self, bytes: usize) -> Result<u64, Fault> {
        let hip = self.enter()?;
        let mut address = ptr::null_mut();
        // SAFETY: writes one address.
        check(hip, "hipMalloc", unsafe { (hip.hipMalloc)(&mut address, bytes.max(1)) })?;
        Ok(address as u64)
    }

    unsafe fn free(&self, address: u64) -> Result<(), Fault> {
        let hip = self.enter()?;
        // SAFETY: by contract.
        check(hip, "hipFree", unsafe { (hip.hipFree)(address as Pointer) })
    }

    fn allocate_host(&self, bytes: usize) -> Result<*mut u8, Fault> {
        let hip = self.enter()?;
        let mut address = ptr::null_mut();
        // SAFETY: writes one address.
        check(hip, "hipHostMalloc", unsafe { (hip.hipHostMalloc)(&mut address, bytes.max(1), 0) })?;
        Ok(address.cast())
    }

    unsafe fn free_host(&self, address: *mut u8) -> Result<(), Fault> {
        let hip = self.enter()?;
        // SAFETY: by contract.
        check(hip, "hipHostFree", unsafe { (hip.hipHostFree)(address.cast()) })
    }

    // From memory that is not `allocate_host`'s the runtime is back when the copy is done.
    unsafe fn copy_in(&self, to: u64, from: *const u8, bytes: usize) -> Result<(), Fault> {
        // SAFETY: by contract.
        unsafe { self.copy_kind(to as Pointer, from.cast(), bytes, COPY_HOST_TO_DEVICE) }
    }

    unsafe fn copy_out(&self, to: *mut u8, from: u64, bytes: usize) -> Result<(), Fault> {
        // SAFETY: by contract.
        unsafe { self.copy_kind(to.cast(), from as Pointer, bytes, COPY_DEVICE_TO_HOST) }
    }

    unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Fault> {
        // SAFETY: by contract.
        unsafe { self.copy_kind(to as Pointer, from as Pointer, bytes, COPY_DEVICE_TO_DEVICE) }
    }

    unsafe fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<(), Fault> {
        let hip = self.enter()?;
        // SAFETY: by contract.
        let result = unsafe { (hip.hipMemsetAsync)(to as Pointer, byte.into(), bytes, self.stream.0) };
        check(hip, "hipMemsetAsync", result)
    }

    fn synchronize(&self) -> Result<(), Fault> {
        let hip = self.enter()?;
        // SAFETY: the stream lives as long as `self`.
        check(hip, "hipStreamSynchronize", unsafe { (hip.hipStreamSynchronize)(self.stream.0) })
    }

    fn create_event(&self) -> Result<Handle, Fault> {
        let hip = self.enter()?;
        let mut event = ptr::null_mut();
        // SAFETY: writes one handle.
        check(hip, "hipEventCreate", unsafe { (hip.hipEventCreate)(&mut event) })?;
        Ok(Handle(event))
    }

    unsafe fn record_event(&self, event: Handle) -> Result<(), Fault> {
        let hip = self.enter()?;
        // SAFETY: by contract.
        check(hip, "hipEventRecord", unsafe { (hip.hipEventRecord)(event.0, self.stream.0) })
    }

    unsafe fn wait_event(&self, event: Handle) -> Result<(), Fault> {
        let hip = self.enter()?;
        // SAFETY: by contract.
        check(hip, "hipEventSynchronize", unsafe { (hip.hipEventSynchronize)(event.0) })
    }

    unsafe fn elapsed(&self, start: Handle, end: Handle) -> Result<f32, Fault> {
        let hip = self.enter()?;
        let mut milliseconds = 0.0;
        // SAFETY: by contract; writes one number.
        let result = unsafe { (hip.hipEventElapsedTime)(&mut milliseconds, start.0, end.0) };
        check(hip, "hipEventElapsedTime", result)?;
        Ok(milliseconds)
    }

    unsafe fn destroy_event(&self, event: Handle) {
        if let Ok(hip) = self.enter() {
            // SAFETY: by contract.
            unsafe { (hip.hipEventDestroy)(event.0) };
        }
    }

    fn compile(&self, name: &str, source: &str) -> Result<Vec<u8>, CompileFault> {
        compile_with(self.libraries, name, source, &self.chip.target)
    }

    fn compiler(&self) -> String {
        self.libraries.compiler.as_ref().map(compiler_version).unwrap_or_default()
    }

    fn load_module(&self, code: &[u8]) -> Result<Handle, Fault> {
        let hip = self.enter()?;
        let mut module = ptr::null_mut();
        // SAFETY: machine code says its own length; it comes from the compiler, or from a cache that checks it.
        let result = unsafe { (hip.hipModuleLoadData)(&mut module, code.as_ptr().cast()) };
        check(hip, "hipModuleLoadData", result)?;
        Ok(Handle(module))
    }

    unsafe fn unload_module(&self, module: Handle) {
        if let Ok(hip) = self.enter() {
            // SAFETY: by contract.
            unsafe { (hip.hipModuleUnload)(module.0) };
        }
    }

    unsafe fn function(&self, module: Handle, name: &str) -> Result<Handle, Fault> {
        let hip = self.enter()?;
        let name = CString::new(name).expect("kernels have no zero in their names");
        let mut function = ptr::null_mut();
        // SAFETY: by contract; writes one handle.
        let result = unsafe { (hip.hipModuleGetFunction)(&mut function, module.0, name.as_ptr()) };
        check(hip, "hipModuleGetFunction", result)?;
        Ok(Handle(function))
    }

    // AMD's kernels need not ask; `hipFuncSetAttribute` does not even know the kernels of modules.
    unsafe fn allow_shared(&self, _function: Handle, bytes: u32) -> Result<(), Fault> {
        let limit = self.chip.shared_per_block;
        if bytes <= limit {
            return Ok(());
        }
        let message = format!("{bytes} bytes of shared memory were asked for, a block can have {limit}");
        Err(Fault { operation: "shared memory", message, cause: Cause::Other })
    }

    // A kernel always waits for the one before it here: `overlap` allows, and asks for nothing.
    unsafe fn launch(
        &self,
        function: Handle,
        shape: LaunchShape,
        arguments: &mut [*mut c_void],
    ) -> Result<(), Fault> {
        let hip = self.enter()?;
        let [x, y, z] = shape.grid;
        // SAFETY: by contract.
        let result = unsafe {
            (hip.hipModuleLaunchKernel)(
                function.0,
                x,
                y,
                z,
                shape.threads,
                1,
                1,
                shape.shared,
                self.stream.0,
                arguments.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        check(hip, "hipModuleLaunchKernel", result)
    }

    fn begin_capture(&self) -> Result<(), Fault> {
        let hip = self.enter()?;
        // SAFETY: the stream lives as long as `self`.
        let result = unsafe { (hip.hipStreamBeginCapture)(self.stream.0, CAPTURE_RELAXED) };
        check(hip, "hipStreamBeginCapture", result)
    }

    fn end_capture(&self) -> Result<(Handle, usize), Fault> {
        let hip = self.enter()?;
        let mut graph = ptr::null_mut();
        // SAFETY: writes one handle.
        check(hip, "hipStreamEndCapture", unsafe { (hip.hipStreamEndCapture)(self.stream.0, &mut graph) })?;
        let mut nodes = 0;
        let mut ready = ptr::null_mut();
        // SAFETY: the graph was just made; what is instantiated does not need it any more.
        let (counted, instantiated) = unsafe {
            let counted = (hip.hipGraphGetNodes)(graph, ptr::null_mut(), &mut nodes);
            let instantiated = (hip.hipGraphInstantiateWithFlags)(&mut ready, graph, 0);
            (hip.hipGraphDestroy)(graph);
            (counted, instantiated)
        };
        check(hip, "hipGraphInstantiate", instantiated)?;
        check(hip, "hipGraphGetNodes", counted)?;
        Ok((Handle(ready), nodes))
    }

    unsafe fn launch_graph(&self, graph: Handle) -> Result<(), Fault> {
        let hip = self.enter()?;
        // SAFETY: by contract.
        check(hip, "hipGraphLaunch", unsafe { (hip.hipGraphLaunch)(graph.0, self.stream.0) })
    }

    unsafe fn destroy_graph(&self, graph: Handle) {
        if let Ok(hip) = self.enter() {
            // SAFETY: by contract.
            unsafe { (hip.hipGraphExecDestroy)(graph.0) };
        }
    }

    unsafe fn matmul(&self, product: &Product) -> Result<(), Fault> {
        self.enter()?;
        let mut products = self.products.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // SAFETY: by contract.
        unsafe { products.multiply(product, self.stream.0) }
    }
}

/// Machine code for a chip, which need not be in this machine. hipRTC ends the process when it does not know the
/// chip.
///
/// # Errors
/// The compiler's own words.
pub fn compile(name: &str, source: &str, target: &str) -> Result<Vec<u8>, CompileFault> {
    let libraries =
        libraries().map_err(|message| CompileFault::Compiler(unusable("libamdhip64")(&message)))?;
    compile_with(libraries, name, source, target)
}

fn compile_with(
    libraries: &Libraries,
    name: &str,
    source: &str,
    target: &str,
) -> Result<Vec<u8>, CompileFault> {
    let compiler =
        libraries.compiler.as_ref().map_err(|message| CompileFault::Compiler(unusable("hipRTC")(message)))?;
    let ok = |result: c_int| match result {
        SUCCESS => Ok(()),
        other => {
            // SAFETY: the compiler's texts are constants.
            let message = unsafe { static_text((compiler.hiprtcGetErrorString)(other)) };
            Err(CompileFault::Compiler(Fault { operation: "hipRTC", message, cause: Cause::Other }))
        }
    };
    let text = |text: &str| CString::new(text).map_err(|_| CompileFault::Source("a zero byte".to_owned()));
    let (source, name) = (text(source)?, text(name)?);
    let options = [text("-std=c++17")?, text("-O3")?, text(&format!("--gpu-architecture={target}"))?];
    let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();

    let mut program = ptr::null_mut();
    // SAFETY: texts end with a zero and live until the program is destroyed; buffers have the length asked for.
    unsafe {
        let (no_headers, no_names) = (ptr::null(), ptr::null());
        let (source, name) = (source.as_ptr(), name.as_ptr());
        ok((compiler.hiprtcCreateProgram)(&mut program, source, name, 0, no_headers, no_names))?;
        let compiled = (compiler.hiprtcCompileProgram)(program, options.len() as c_int, options.as_ptr());
        let result = if compiled == COMPILATION_FAILED {
            let mut length = 0;
            (compiler.hiprtcGetProgramLogSize)(program, &mut length);
            let mut log = vec![0u8; length];
            (compiler.hiprtcGetProgramLog)(program, log.as_mut_ptr().cast());
            Err(CompileFault::Source(String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned()))
        } else {
            ok(compiled).and_then(|()| {
                let mut length = 0;
                ok((compiler.hiprtcGetCodeSize)(program, &mut length))?;
                let mut code = vec![0u8; length];
                ok((compiler.hiprtcGetCode)(program, code.as_mut_ptr().cast()))?;
                Ok(code)
            })
        };
        (compiler.hiprtcDestroyProgram)(&mut program);
        result
    }
}
