//! hipBLASLt over cuBLASLt.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Mutex;

use cudarc::cublaslt::sys::{self as cublas, cublasLtMatmulAlgo_t, cublasStatus_t};

type Pointer = *mut c_void;

const SUCCESS: c_int = 0;
const NOT_INITIALIZED: c_int = 1;
const INVALID_VALUE: c_int = 3;

fn status(status: cublasStatus_t) -> c_int {
    match status {
        cublasStatus_t::CUBLAS_STATUS_SUCCESS => SUCCESS,
        cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED => NOT_INITIALIZED,
        cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => 2,
        cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE => INVALID_VALUE,
        cublasStatus_t::CUBLAS_STATUS_MAPPING_ERROR => 4,
        cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED => 5,
        cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED => 7,
        cublasStatus_t::CUBLAS_STATUS_ARCH_MISMATCH => 8,
        _ => 6,
    }
}

/// The status of a call of cuBLASLt, which is made only where cuBLASLt is.
macro_rules! forward {
    ($call:ident($($argument:expr),* $(,)?)) => {
        // SAFETY: the library is asked for before it is called; the caller's contract is cuBLASLt's.
        unsafe {
            match cublas::is_culib_present() {
                true => status(cublas::$call($($argument),*)),
                false => NOT_INITIALIZED,
            }
        }
    };
}

fn data_type(number: c_int) -> Option<cublas::cudaDataType> {
    match number {
        0 => Some(cublas::cudaDataType::CUDA_R_32F),
        2 => Some(cublas::cudaDataType::CUDA_R_16F),
        14 => Some(cublas::cudaDataType::CUDA_R_16BF),
        _ => None,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtCreate(handle: *mut Pointer) -> c_int {
    forward!(cublasLtCreate(handle.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtDestroy(handle: Pointer) -> c_int {
    forward!(cublasLtDestroy(handle.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtGetVersion(_handle: Pointer, version: *mut c_int) -> c_int {
    // SAFETY: the library is asked for before it is called; by hipBLASLt's contract there is room for the number.
    unsafe {
        if !cublas::is_culib_present() {
            return NOT_INITIALIZED;
        }
        let own = cublas::cublasLtGetVersion() as c_int;
        *version = own / 10_000 * 100_000 + own % 10_000;
    }
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtMatmulDescCreate(
    description: *mut Pointer,
    compute: c_int,
    scale: c_int,
) -> c_int {
    let (2, Some(scale)) = (compute, data_type(scale)) else { return INVALID_VALUE };
    let compute = cublas::cublasComputeType_t::CUBLAS_COMPUTE_32F;
    forward!(cublasLtMatmulDescCreate(description.cast(), compute, scale))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtMatmulDescSetAttribute(
    description: Pointer,
    attribute: c_int,
    value: *const c_void,
    bytes: usize,
) -> c_int {
    use cublas::cublasLtMatmulDescAttributes_t as Attribute;
    let attribute = match attribute {
        0 => Attribute::CUBLASLT_MATMUL_DESC_TRANSA,
        1 => Attribute::CUBLASLT_MATMUL_DESC_TRANSB,
        _ => return INVALID_VALUE,
    };
    if bytes != size_of::<c_int>() {
        return INVALID_VALUE;
    }
    // SAFETY: by hipBLASLt's contract the value has as many bytes.
    let transposed: c_int = match unsafe { value.cast::<c_int>().read() } {
        111 => 0,
        112 => 1,
        _ => return INVALID_VALUE,
    };
    let value = ptr::from_ref(&transposed).cast();
    forward!(cublasLtMatmulDescSetAttribute(description.cast(), attribute, value, bytes))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtMatmulDescDestroy(description: Pointer) -> c_int {
    forward!(cublasLtMatmulDescDestroy(description.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtMatrixLayoutCreate(
    layout: *mut Pointer,
    dtype: c_int,
    rows: u64,
    columns: u64,
    leading: i64,
) -> c_int {
    let Some(dtype) = data_type(dtype) else { return INVALID_VALUE };
    forward!(cublasLtMatrixLayoutCreate(layout.cast(), dtype, rows, columns, leading))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtMatrixLayoutDestroy(layout: Pointer) -> c_int {
    forward!(cublasLtMatrixLayoutDestroy(layout.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtMatmulPreferenceCreate(preference: *mut Pointer) -> c_int {
    forward!(cublasLtMatmulPreferenceCreate(preference.cast()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtMatmulPreferenceSetAttribute(
    preference: Pointer,
    attribute: c_int,
    value: *const c_void,
    bytes: usize,
) -> c_int {
    use cublas::cublasLtMatmulPreferenceAttributes_t as Attribute;
    let attribute = match attribute {
        1 => Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
        _ => return INVALID_VALUE,
    };
    forward!(cublasLtMatmulPreferenceSetAttribute(preference.cast(), attribute, value, bytes))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtMatmulPreferenceDestroy(preference: Pointer) -> c_int {
    forward!(cublasLtMatmulPreferenceDestroy(preference.cast()))
}

/// `hipblasLtMatmulAlgo_t`. It is smaller than cuBLASLt's, which are kept in [`ALGORITHMS`]: this holds the place.
#[repr(C)]
struct Algorithm {
    place: u64,
    rest: u64,
    max_workspace_bytes: usize,
}

/// `hipblasLtMatmulHeuristicResult_t`.
#[repr(C)]
struct Heuristic {
    algorithm: Algorithm,
    workspace_bytes: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

static ALGORITHMS: Mutex<Vec<cublasLtMatmulAlgo_t>> = Mutex::new(Vec::new());

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtMatmulAlgoGetHeuristic(
    handle: Pointer,
    description: Pointer,
    a: Pointer,
    b: Pointer,
    c: Pointer,
    d: Pointer,
    preference: Pointer,
    wanted: c_int,
    results: *mut Heuristic,
    found: *mut c_int,
) -> c_int {
    if wanted < 1 {
        return INVALID_VALUE;
    }
    // SAFETY: plain numbers, for which zero is a value.
    let mut best: cublas::cublasLtMatmulHeuristicResult_t = unsafe { std::mem::zeroed() };
    let asked = forward!(cublasLtMatmulAlgoGetHeuristic(
        handle.cast(),
        description.cast(),
        a.cast(),
        b.cast(),
        c.cast(),
        d.cast(),
        preference.cast(),
        1,
        &mut best,
        found
    ));
    // SAFETY: by hipBLASLt's contract.
    if asked != SUCCESS || unsafe { *found } == 0 {
        return asked;
    }
    let mut algorithms = ALGORITHMS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    algorithms.push(best.algo);
    let place = algorithms.len() as u64 - 1;
    let result = Heuristic {
        algorithm: Algorithm { place, rest: 0, max_workspace_bytes: best.workspaceSize },
        workspace_bytes: best.workspaceSize,
        state: status(best.state),
        waves: best.wavesCount,
        reserved: [0; 4],
    };
    // SAFETY: by hipBLASLt's contract there is room for at least one.
    unsafe { results.write(result) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hipblasLtMatmul(
    handle: Pointer,
    description: Pointer,
    alpha: *const c_void,
    a: *const c_void,
    a_layout: Pointer,
    b: *const c_void,
    b_layout: Pointer,
    beta: *const c_void,
    c: *const c_void,
    c_layout: Pointer,
    d: Pointer,
    d_layout: Pointer,
    algorithm: *const Algorithm,
    workspace: Pointer,
    workspace_bytes: usize,
    stream: Pointer,
) -> c_int {
    let algorithms = ALGORITHMS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // SAFETY: by hipBLASLt's contract it is one of the heuristic's.
    let Some(algorithm) = algorithms.get(unsafe { (*algorithm).place } as usize) else {
        return INVALID_VALUE;
    };
    forward!(cublasLtMatmul(
        handle.cast(),
        description.cast(),
        alpha,
        a,
        a_layout.cast(),
        b,
        b_layout.cast(),
        beta,
        c,
        c_layout.cast(),
        d,
        d_layout.cast(),
        algorithm,
        workspace,
        workspace_bytes,
        stream.cast()
    ))
}
