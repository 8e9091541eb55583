//! The HIP runtime over libcuda.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::ptr;
use std::sync::{Mutex, OnceLock};

use cudarc::driver::sys::{
    self as cuda, CUdevice_attribute_enum as Attribute, CUfunction_attribute_enum as FunctionAttribute,
    CUresult,
};

type Pointer = *mut c_void;

const SUCCESS: c_int = 0;
const ERROR_INVALID_VALUE: c_int = 1;
const ERROR_INVALID_MEMCPY_DIRECTION: c_int = 21;
const ERROR_NO_DEVICE: c_int = 100;
const ERROR_LAUNCH_FAILURE: c_int = 719;

/// Whether a warp has 64 lanes, as on CDNA: kernels are then compiled for two of NVIDIA's warps acting as one, and a
/// block has the shared memory of CDNA.
fn wide() -> bool {
    std::env::var_os("HIP_ON_CUDA_WARP").is_some_and(|lanes| lanes == "64")
}

/// Shared memory of a block on CDNA.
const SHARED_OF_CDNA: c_int = 64 << 10;

/// Shared memory at the end of a launch's, through which the lanes of such a warp exchange.
const SHARED_FOR_LANES: c_uint = 4 << 10;

/// HIP took CUDA's numbers, and has one for what CUDA tells apart.
fn hip(result: CUresult) -> c_int {
    match result {
        CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
        | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR => ERROR_LAUNCH_FAILURE,
        other => other as c_int,
    }
}

/// The result of a call of CUDA, which is made only where CUDA is.
macro_rules! forward {
    ($call:ident($($argument:expr),* $(,)?)) => {
        match initialised() {
            // SAFETY: the caller's contract is CUDA's.
            SUCCESS => hip(unsafe { cuda::$call($($argument),*) }),
            other => other,
        }
    };
}

fn initialised() -> c_int {
    static RESULT: OnceLock<c_int> = OnceLock::new();
    // SAFETY: the library is asked for before it is called.
    *RESULT.get_or_init(|| match unsafe { cuda::is_culib_present() } {
        // SAFETY: needs nothing.
        true => hip(unsafe { cuda::cuInit(0) }),
        false => ERROR_NO_DEVICE,
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipInit(_flags: c_uint) -> c_int {
    initialised()
}

#[unsafe(no_mangle)]
extern "C" fn hipGetErrorString(error: c_int) -> *const c_char {
    match error {
        SUCCESS => c"no error".as_ptr(),
        ERROR_INVALID_VALUE => c"invalid argument".as_ptr(),
        2 => c"out of memory".as_ptr(),
        ERROR_NO_DEVICE => c"no ROCm-capable device is detected".as_ptr(),
        101 => c"invalid device ordinal".as_ptr(),
        500 => c"named symbol not found".as_ptr(),
        700 => c"an illegal memory access was encountered".as_ptr(),
        ERROR_LAUNCH_FAILURE => c"unspecified launch failure".as_ptr(),
        _ => c"error of CUDA".as_ptr(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipRuntimeGetVersion(version: *mut c_int) -> c_int {
    // SAFETY: by HIP's contract.
    unsafe { *version = 60_000_000 };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipGetDeviceCount(count: *mut c_int) -> c_int {
    let result = forward!(cuDeviceGetCount(count));
    // SAFETY: by HIP's contract.
    if result == SUCCESS && unsafe { *count } == 0 { ERROR_NO_DEVICE } else { result }
}

/// HIP has no contexts: a thread's device is current, with the one context that CUDA keeps for all.
#[unsafe(no_mangle)]
extern "C" fn hipSetDevice(device: c_int) -> c_int {
    static CONTEXTS: Mutex<Vec<(c_int, usize)>> = Mutex::new(Vec::new());
    let mut contexts = CONTEXTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let context = match contexts.iter().find(|(known, _)| *known == device) {
        Some((_, context)) => *context as cuda::CUcontext,
        None => {
            let mut context = ptr::null_mut();
            let retained = forward!(cuDevicePrimaryCtxRetain(&mut context, device));
            if retained != SUCCESS {
                return retained;
            }
            contexts.push((device, context as usize));
            context
        }
    };
    forward!(cuCtxSetCurrent(context))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) -> c_int {
    let attribute = match attribute {
        19 => Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE,
        63 => Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
        74 => Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
        87 => Attribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE,
        _ => return ERROR_INVALID_VALUE,
    };
    let result = forward!(cuDeviceGetAttribute(value, attribute, device));
    if result == SUCCESS && wide() {
        // SAFETY: by HIP's contract; the number was just written.
        let value = unsafe { &mut *value };
        match attribute {
            Attribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE => *value = 64,
            Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN => *value = SHARED_OF_CDNA,
            _ => {}
        }
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipDeviceGetName(name: *mut c_char, length: c_int, device: c_int) -> c_int {
    forward!(cuDeviceGetName(name, length, device))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipDeviceTotalMem(bytes: *mut usize, device: c_int) -> c_int {
    forward!(cuDeviceTotalMem_v2(bytes, device))
}

/// `hipDeviceProp_tR0600`, of which the names are filled in.
#[repr(C)]
struct Properties {
    name: [c_char; 256],
    between: [u8; 904],
    architecture: [u8; 256],
    rest: [u8; 56],
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipGetDevicePropertiesR0600(properties: *mut Properties, device: c_int) -> c_int {
    let (mut major, mut minor) = (0, 0);
    let attributes = [
        (&mut major, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
        (&mut minor, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
    ];
    for (value, attribute) in attributes {
        let result = forward!(cuDeviceGetAttribute(value, attribute, device));
        if result != SUCCESS {
            return result;
        }
    }
    // With features behind the name, as AMD's chips have.
    let name = match wide() {
        true => format!("{}sm_{major}{minor}", crate::WIDE),
        false => format!("sm_{major}{minor}{}", if major >= 9 { "a" } else { "" }),
    };
    let name = format!("{name}:sramecc+:xnack-");
    // SAFETY: by HIP's contract there is room for the whole structure, and all of it may be zero.
    let properties = unsafe {
        ptr::write_bytes(properties, 0, 1);
        &mut *properties
    };
    properties.architecture[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the name has room for as many bytes.
    unsafe { hipDeviceGetName(properties.name.as_mut_ptr(), 256, device) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipMemGetInfo(free: *mut usize, total: *mut usize) -> c_int {
    forward!(cuMemGetInfo_v2(free, total))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipMalloc(address: *mut Pointer, bytes: usize) -> c_int {
    forward!(cuMemAlloc_v2(address.cast(), bytes))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipFree(address: Pointer) -> c_int {
    forward!(cuMemFree_v2(address as u64))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipHostMalloc(address: *mut Pointer, bytes: usize, _flags: c_uint) -> c_int {
    forward!(cuMemHostAlloc(address, bytes, 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipHostFree(address: Pointer) -> c_int {
    forward!(cuMemFreeHost(address))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipMemcpyAsync(
    to: Pointer,
    from: *const c_void,
    bytes: usize,
    kind: c_int,
    stream: Pointer,
) -> c_int {
    let stream = stream.cast();
    match kind {
        1 => forward!(cuMemcpyHtoDAsync_v2(to as u64, from, bytes, stream)),
        2 => forward!(cuMemcpyDtoHAsync_v2(to, from as u64, bytes, stream)),
        3 => forward!(cuMemcpyDtoDAsync_v2(to as u64, from as u64, bytes, stream)),
        _ => ERROR_INVALID_MEMCPY_DIRECTION,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipMemsetAsync(to: Pointer, value: c_int, bytes: usize, stream: Pointer) -> c_int {
    forward!(cuMemsetD8Async(to as u64, value as u8, bytes, stream.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipStreamCreateWithFlags(stream: *mut Pointer, flags: c_uint) -> c_int {
    forward!(cuStreamCreate(stream.cast(), flags))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipStreamSynchronize(stream: Pointer) -> c_int {
    forward!(cuStreamSynchronize(stream.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipStreamDestroy(stream: Pointer) -> c_int {
    forward!(cuStreamDestroy_v2(stream.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipEventCreate(event: *mut Pointer) -> c_int {
    forward!(cuEventCreate(event.cast(), 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipEventRecord(event: Pointer, stream: Pointer) -> c_int {
    forward!(cuEventRecord(event.cast(), stream.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipEventSynchronize(event: Pointer) -> c_int {
    forward!(cuEventSynchronize(event.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipEventElapsedTime(milliseconds: *mut f32, start: Pointer, end: Pointer) -> c_int {
    forward!(cuEventElapsedTime_v2(milliseconds, start.cast(), end.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipEventDestroy(event: Pointer) -> c_int {
    forward!(cuEventDestroy_v2(event.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipModuleLoadData(module: *mut Pointer, code: *const c_void) -> c_int {
    forward!(cuModuleLoadData(module.cast(), code))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipModuleUnload(module: Pointer) -> c_int {
    forward!(cuModuleUnload(module.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipModuleGetFunction(
    function: *mut Pointer,
    module: Pointer,
    name: *const c_char,
) -> c_int {
    // SAFETY: by HIP's contract.
    if unsafe { CStr::from_ptr(name) }.is_empty() {
        return ERROR_INVALID_VALUE;
    }
    forward!(cuModuleGetFunction(function.cast(), module.cast(), name))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipModuleLaunchKernel(
    function: Pointer,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    stream: Pointer,
    arguments: *mut Pointer,
    extra: *mut Pointer,
) -> c_int {
    let shared = if wide() { shared.next_multiple_of(16) + SHARED_FOR_LANES } else { shared };
    // AMD gives all that there is; CUDA wants to be asked for more than 48 KiB, what the kernel declares included.
    if shared > 0 {
        let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let allowed = forward!(cuFuncSetAttribute(function.cast(), attribute, shared as c_int));
        if allowed != SUCCESS {
            return allowed;
        }
    }
    forward!(cuLaunchKernel(
        function.cast(),
        grid_x,
        grid_y,
        grid_z,
        block_x,
        block_y,
        block_z,
        shared,
        stream.cast(),
        arguments,
        extra
    ))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipStreamBeginCapture(stream: Pointer, mode: c_int) -> c_int {
    use cuda::CUstreamCaptureMode_enum as Mode;
    let mode = match mode {
        0 => Mode::CU_STREAM_CAPTURE_MODE_GLOBAL,
        1 => Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
        2 => Mode::CU_STREAM_CAPTURE_MODE_RELAXED,
        _ => return ERROR_INVALID_VALUE,
    };
    forward!(cuStreamBeginCapture_v2(stream.cast(), mode))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipStreamEndCapture(stream: Pointer, graph: *mut Pointer) -> c_int {
    forward!(cuStreamEndCapture(stream.cast(), graph.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipGraphGetNodes(graph: Pointer, nodes: *mut Pointer, count: *mut usize) -> c_int {
    forward!(cuGraphGetNodes(graph.cast(), nodes.cast(), count))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipGraphInstantiateWithFlags(
    ready: *mut Pointer,
    graph: Pointer,
    flags: c_ulonglong,
) -> c_int {
    forward!(cuGraphInstantiateWithFlags(ready.cast(), graph.cast(), flags))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipGraphDestroy(graph: Pointer) -> c_int {
    forward!(cuGraphDestroy(graph.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipGraphLaunch(ready: Pointer, stream: Pointer) -> c_int {
    forward!(cuGraphLaunch(ready.cast(), stream.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipGraphExecDestroy(ready: Pointer) -> c_int {
    forward!(cuGraphExecDestroy(ready.cast()))
}
