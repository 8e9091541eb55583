//! hipRTC over NVRTC, whose numbers of results it shares.

use std::ffi::{CStr, CString, c_char, c_int};

use crate::WIDE;
use cudarc::nvrtc::sys::{self as nvrtc, nvrtcProgram};

const SUCCESS: c_int = 0;
const ERROR_INTERNAL_ERROR: c_int = 11;

/// The result of a call of NVRTC, which is made only where NVRTC is.
macro_rules! forward {
    ($call:ident($($argument:expr),* $(,)?)) => {
        // SAFETY: the library is asked for before it is called; the caller's contract is NVRTC's.
        unsafe {
            match nvrtc::is_culib_present() {
                true => nvrtc::$call($($argument),*) as c_int,
                false => ERROR_INTERNAL_ERROR,
            }
        }
    };
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hiprtcVersion(major: *mut c_int, minor: *mut c_int) -> c_int {
    forward!(nvrtcVersion(major, minor))
}

#[unsafe(no_mangle)]
extern "C" fn hiprtcGetErrorString(result: c_int) -> *const c_char {
    match result {
        SUCCESS => c"HIPRTC_SUCCESS".as_ptr(),
        1 => c"HIPRTC_ERROR_OUT_OF_MEMORY".as_ptr(),
        5 => c"HIPRTC_ERROR_INVALID_OPTION".as_ptr(),
        6 => c"HIPRTC_ERROR_COMPILATION".as_ptr(),
        ERROR_INTERNAL_ERROR => c"HIPRTC_ERROR_INTERNAL_ERROR (or libnvrtc.so was not found)".as_ptr(),
        _ => c"error of NVRTC".as_ptr(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hiprtcCreateProgram(
    program: *mut nvrtcProgram,
    source: *const c_char,
    name: *const c_char,
    headers: c_int,
    header_texts: *const *const c_char,
    header_names: *const *const c_char,
) -> c_int {
    forward!(nvrtcCreateProgram(program, source, name, headers, header_texts, header_names))
}

/// The options of clang become those of NVRTC that the runtime gives on NVIDIA.
#[unsafe(no_mangle)]
unsafe extern "C" fn hiprtcCompileProgram(
    program: nvrtcProgram,
    count: c_int,
    options: *const *const c_char,
) -> c_int {
    let mut forwarded: Vec<CString> = vec![c"-default-device".to_owned()];
    for index in 0..count as usize {
        // SAFETY: by hipRTC's contract.
        let option = unsafe { CStr::from_ptr(*options.add(index)) };
        let text = option.to_string_lossy();
        match text.strip_prefix("--gpu-architecture=").and_then(|chip| chip.strip_prefix(WIDE)) {
            Some(chip) => {
                let chip =
                    CString::new(format!("--gpu-architecture={chip}")).expect("made of a text without zeros");
                forwarded.extend([chip, c"-DWARP=64".to_owned()]);
            }
            None if option == c"-O3" => {}
            None => forwarded.push(option.to_owned()),
        }
    }
    let options: Vec<*const c_char> = forwarded.iter().map(|option| option.as_ptr()).collect();
    forward!(nvrtcCompileProgram(program, options.len() as c_int, options.as_ptr()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hiprtcGetProgramLogSize(program: nvrtcProgram, bytes: *mut usize) -> c_int {
    forward!(nvrtcGetProgramLogSize(program, bytes))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hiprtcGetProgramLog(program: nvrtcProgram, log: *mut c_char) -> c_int {
    forward!(nvrtcGetProgramLog(program, log))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hiprtcGetCodeSize(program: nvrtcProgram, bytes: *mut usize) -> c_int {
    forward!(nvrtcGetCUBINSize(program, bytes))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hiprtcGetCode(program: nvrtcProgram, code: *mut c_char) -> c_int {
    forward!(nvrtcGetCUBIN(program, code))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hiprtcDestroyProgram(program: *mut nvrtcProgram) -> c_int {
    forward!(nvrtcDestroyProgram(program))
}
