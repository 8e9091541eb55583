//! libamdhip64, hipRTC and hipBLASLt: found, opened and asked for their calls when first wanted.

use std::env;
use std::ffi::{OsStr, OsString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::path::PathBuf;

use libloading::Library;

/// A library to take HIP, hipRTC and hipBLASLt from, where it has them, instead of those of the system.
pub const OVERRIDE: &str = "PIPELINES_HIP_LIBRARY";

/// The libraries' names with the major versions that these calls are written for, newest first. hipBLASLt counts its
/// own: 1 came with ROCm 7, 0 with ROCm 6.
const RUNTIME: (&str, &[u32]) = ("libamdhip64", &[7, 6, 5]);
const COMPILER: (&str, &[u32]) = ("libhiprtc", &[7, 6, 5]);
const BLAS: (&str, &[u32]) = ("libhipblaslt", &[1, 0]);

/// Any handle of the libraries: a stream, an event, a module, a description.
pub(super) type Pointer = *mut c_void;

/// A struct of the calls of one library, with `load` that looks all of them up.
macro_rules! calls {
    ($(#[$doc:meta])* $name:ident { $(fn $call:ident($($argument:ty),* $(,)?) $(-> $result:ty)?;)* }) => {
        $(#[$doc])*
        #[allow(non_snake_case, reason = "the library's own names")]
        #[derive(Debug)]
        pub(super) struct $name {
            $(pub(super) $call: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl $name {
            /// # Errors
            /// The name of the first call that the library does not have.
            ///
            /// # Safety
            /// The library is what it is taken for, and is never closed.
            unsafe fn load(library: &Library) -> Result<$name, &'static str> {
                // SAFETY: the types are those of the library's headers; by contract it stays open.
                Ok($name { $($call: *unsafe { library.get(stringify!($call)) }.map_err(|_| stringify!($call))?,)* })
            }
        }
    };
}

calls! {
    /// The HIP runtime. Results are `hipError_t`.
    Hip {
        fn hipInit(c_uint) -> c_int;
        fn hipGetErrorString(c_int) -> *const c_char;
        fn hipRuntimeGetVersion(*mut c_int) -> c_int;
        fn hipGetDeviceCount(*mut c_int) -> c_int;
        fn hipSetDevice(c_int) -> c_int;
        fn hipDeviceGetAttribute(*mut c_int, c_int, c_int) -> c_int;
        fn hipDeviceGetName(*mut c_char, c_int, c_int) -> c_int;
        fn hipDeviceTotalMem(*mut usize, c_int) -> c_int;
        fn hipMemGetInfo(*mut usize, *mut usize) -> c_int;
        fn hipMalloc(*mut Pointer, usize) -> c_int;
        fn hipFree(Pointer) -> c_int;
        fn hipHostMalloc(*mut Pointer, usize, c_uint) -> c_int;
        fn hipHostFree(Pointer) -> c_int;
        fn hipMemcpyAsync(Pointer, *const c_void, usize, c_int, Pointer) -> c_int;
        fn hipMemsetAsync(Pointer, c_int, usize, Pointer) -> c_int;
        fn hipStreamCreateWithFlags(*mut Pointer, c_uint) -> c_int;
        fn hipStreamSynchronize(Pointer) -> c_int;
        fn hipStreamDestroy(Pointer) -> c_int;
        fn hipEventCreate(*mut Pointer) -> c_int;
        fn hipEventRecord(Pointer, Pointer) -> c_int;
        fn hipEventSynchronize(Pointer) -> c_int;
        fn hipEventElapsedTime(*mut f32, Pointer, Pointer) -> c_int;
        fn hipEventDestroy(Pointer) -> c_int;
        fn hipModuleLoadData(*mut Pointer, *const c_void) -> c_int;
        fn hipModuleUnload(Pointer) -> c_int;
        fn hipModuleGetFunction(*mut Pointer, Pointer, *const c_char) -> c_int;
        fn hipModuleLaunchKernel(
            Pointer, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Pointer, *mut Pointer, *mut Pointer,
        ) -> c_int;
        fn hipStreamBeginCapture(Pointer, c_int) -> c_int;
        fn hipStreamEndCapture(Pointer, *mut Pointer) -> c_int;
        fn hipGraphGetNodes(Pointer, *mut Pointer, *mut usize) -> c_int;
        fn hipGraphInstantiateWithFlags(*mut Pointer, Pointer, c_ulonglong) -> c_int;
        fn hipGraphDestroy(Pointer) -> c_int;
        fn hipGraphLaunch(Pointer, Pointer) -> c_int;
        fn hipGraphExecDestroy(Pointer) -> c_int;
    }
}

calls! {
    /// hipRTC, the compiler at run time. Results are `hiprtcResult`.
    Compiler {
        fn hiprtcVersion(*mut c_int, *mut c_int) -> c_int;
        fn hiprtcGetErrorString(c_int) -> *const c_char;
        fn hiprtcCreateProgram(
            *mut Pointer, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char,
        ) -> c_int;
        fn hiprtcCompileProgram(Pointer, c_int, *const *const c_char) -> c_int;
        fn hiprtcGetProgramLogSize(Pointer, *mut usize) -> c_int;
        fn hiprtcGetProgramLog(Pointer, *mut c_char) -> c_int;
        fn hiprtcGetCodeSize(Pointer, *mut usize) -> c_int;
        fn hiprtcGetCode(Pointer, *mut c_char) -> c_int;
        fn hiprtcDestroyProgram(*mut Pointer) -> c_int;
    }
}

calls! {
    /// hipBLASLt. Results are `hipblasStatus_t`.
    Blas {
        fn hipblasLtCreate(*mut Pointer) -> c_int;
        fn hipblasLtDestroy(Pointer) -> c_int;
        fn hipblasLtGetVersion(Pointer, *mut c_int) -> c_int;
        fn hipblasLtMatmulDescCreate(*mut Pointer, c_int, c_int) -> c_int;
        fn hipblasLtMatmulDescSetAttribute(Pointer, c_int, *const c_void, usize) -> c_int;
        fn hipblasLtMatmulDescDestroy(Pointer) -> c_int;
        fn hipblasLtMatrixLayoutCreate(*mut Pointer, c_int, u64, u64, i64) -> c_int;
        fn hipblasLtMatrixLayoutDestroy(Pointer) -> c_int;
        fn hipblasLtMatmulPreferenceCreate(*mut Pointer) -> c_int;
        fn hipblasLtMatmulPreferenceSetAttribute(Pointer, c_int, *const c_void, usize) -> c_int;
        fn hipblasLtMatmulPreferenceDestroy(Pointer) -> c_int;
        fn hipblasLtMatmulAlgoGetHeuristic(
            Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, c_int, *mut Heuristic, *mut c_int,
        ) -> c_int;
        fn hipblasLtMatmul(
            Pointer, Pointer, *const c_void, *const c_void, Pointer, *const c_void, Pointer, *const c_void,
            *const c_void, Pointer, Pointer, Pointer, *const Algorithm, Pointer, usize, Pointer,
        ) -> c_int;
    }
}

/// `hipblasLtMatmulAlgo_t`: hipBLASLt's own, opaque.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Algorithm {
    data: [u8; 16],
    max_workspace_bytes: usize,
}

/// `hipblasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Heuristic {
    pub(super) algorithm: Algorithm,
    pub(super) workspace_bytes: usize,
    pub(super) state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

impl Heuristic {
    pub(super) const EMPTY: Heuristic = Heuristic {
        algorithm: Algorithm { data: [0; 16], max_workspace_bytes: 0 },
        workspace_bytes: 0,
        state: 0,
        waves: 0.0,
        reserved: [0; 4],
    };
}

/// Which layout of `hipDeviceProp_t` a library fills. ROCm 6 changed it, under a new name of the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Properties {
    pub(super) call: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    /// Where `gcnArchName` begins, the one field that is not to be had otherwise.
    pub(super) architecture: usize,
}

impl Properties {
    /// More than either layout has.
    pub(super) const BYTES: usize = 4096;

    unsafe fn load(library: &Library) -> Result<Properties, &'static str> {
        for (name, architecture) in [("hipGetDevicePropertiesR0600", 1160), ("hipGetDeviceProperties", 396)] {
            // SAFETY: the type is that of the library's header.
            if let Ok(call) = unsafe { library.get(name) } {
                return Ok(Properties { call: *call, architecture });
            }
        }
        Err("hipGetDeviceProperties")
    }
}

/// The HIP runtime, and the two others or why they cannot be used.
#[derive(Debug)]
pub(super) struct Libraries {
    pub(super) hip: Hip,
    pub(super) properties: Properties,
    pub(super) compiler: Result<Compiler, String>,
    pub(super) blas: Result<Blas, String>,
}

impl Libraries {
    /// Opens them. They stay open: ROCm's libraries do not survive being closed.
    ///
    /// # Errors
    /// There is no HIP runtime, or it lacks a call.
    pub(super) fn open(instead: Option<OsString>) -> Result<Libraries, String> {
        let instead = instead.filter(|path| !path.is_empty()).map(PathBuf::from);
        let hip = match &instead {
            Some(path) => open(path.as_os_str())
                .map_err(|error| format!("{OVERRIDE}={} cannot be opened: {error}", path.display()))?,
            None => find(RUNTIME).ok_or(
                "no ROCm: libamdhip64.so was not found; install it, or add its folder to LD_LIBRARY_PATH",
            )?,
        };
        let lacks = |name: &str| {
            let name = name.to_owned();
            move |call: &str| format!("{name}.so has no `{call}`: install ROCm 6 or 7")
        };
        // SAFETY: the library is never closed, and is what its name or the user says.
        let (calls, properties) = unsafe {
            let lacks = lacks(RUNTIME.0);
            (Hip::load(hip).map_err(&lacks)?, Properties::load(hip).map_err(&lacks)?)
        };
        // Before ROCm 7 hipRTC is in the runtime's library too; a library that is named may have all three.
        // SAFETY: asked for a name only.
        let within = |call: &str| unsafe { hip.get::<Pointer>(call) }.is_ok().then_some(hip);
        let choose = |library: (&str, &[u32]), call: &str| {
            let own = within(call);
            own.filter(|_| instead.is_some()).or_else(|| find(library)).or(own).ok_or_else(|| {
                format!("{}.so was not found: install it, or add its folder to LD_LIBRARY_PATH", library.0)
            })
        };
        let compiler = choose(COMPILER, "hiprtcCompileProgram");
        let blas = choose(BLAS, "hipblasLtMatmul");
        // SAFETY: as above.
        let compiler = compiler.and_then(|found| unsafe { Compiler::load(found) }.map_err(lacks(COMPILER.0)));
        // SAFETY: as above.
        let blas = blas.and_then(|found| unsafe { Blas::load(found) }.map_err(lacks(BLAS.0)));
        Ok(Libraries { hip: calls, properties, compiler, blas })
    }
}

fn open(path: &OsStr) -> Result<&'static Library, libloading::Error> {
    // SAFETY: the initialisers of ROCm's libraries have no conditions.
    unsafe { Library::new(path) }.map(|library| &*Box::leak(Box::new(library)))
}

/// The library where the system's loader finds it, else in ROCm's folder.
fn find((name, majors): (&str, &[u32])) -> Option<&'static Library> {
    let rocm = env::var_os("ROCM_PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| "/opt/rocm".into());
    let folder = PathBuf::from(rocm).join("lib");
    let versioned = majors.iter().map(|major| format!("{name}.so.{major}"));
    let names: Vec<String> = [format!("{name}.so")].into_iter().chain(versioned).collect();
    let inside = names.iter().map(|name| folder.join(name));
    names.iter().map(PathBuf::from).chain(inside).find_map(|path| open(path.as_os_str()).ok())
}
