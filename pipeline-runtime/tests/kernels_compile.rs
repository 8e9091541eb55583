//! Every source of kernels compiles to machine code for NVIDIA's and AMD's chips. None of the compilers needs a GPU;
//! one that is not installed is skipped, aloud, unless `PIPELINES_REQUIRE` names it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use pipeline_runtime::DType;
use pipeline_runtime::gpu::driver::CompileFault;
use pipeline_runtime::gpu::{self, MATRIX, PRELUDE, Source, TENSOR, cuda, hip, testing};
use pipeline_runtime::kernels;

/// What the dialect offers, each used once: a function that no kernel uses yet must compile too.
static DIALECT: Source =
    Source { name: "dialect", parts: &[PRELUDE, TENSOR, MATRIX, include_str!("kernels_compile/dialect.cu")] };

/// A compiler: text in, machine code or what is wrong with it out.
type Compile = fn(name: &str, text: &str, target: &str) -> Result<Vec<u8>, CompileFault>;

/// Compiles all sources for all targets; `word` is the compiler's in `PIPELINES_REQUIRE`.
fn compile_all(word: &str, targets: &[&str], compile: Compile) {
    if let Err(CompileFault::Compiler(fault)) = compile("prelude", PRELUDE, targets[0]) {
        return testing::skip(word, word, format!("{}: {}", fault.operation, fault.message));
    }
    for target in targets {
        for source in [&DIALECT].iter().chain(kernels::sources()) {
            match compile(source.name, &source.text(), target) {
                Ok(code) => assert!(is_machine_code(&code), "{} for {target}", source.name),
                Err(CompileFault::Source(log)) => panic!("{} for {target}:\n{log}", source.name),
                Err(CompileFault::Compiler(fault)) => panic!("{} for {target}: {fault:?}", source.name),
            }
        }
        let broken = format!("{PRELUDE}KERNEL void broken() {{ no such thing; }}");
        let line = PRELUDE.lines().count() + 1;
        let Err(CompileFault::Source(log)) = compile("broken", &broken, target) else {
            panic!("what is no kernel compiles for {target}");
        };
        assert!(log.contains(&line.to_string()) && log.contains("error"), "line {line} is wrong: {log}");
    }
}

/// An ELF file, or AMD's bundle of them.
fn is_machine_code(code: &[u8]) -> bool {
    code.starts_with(b"\x7fELF") || code.starts_with(b"__CLANG_OFFLOAD_BUNDLE__")
}

/// NVIDIA's compiler at run time, for the oldest chips whose instructions are used.
#[test]
fn nvrtc_compiles_every_kernel_for_ampere() {
    compile_all("nvrtc", &["sm_80"], cuda::compile);
}

/// And for the chips with the most ways of their own.
#[test]
fn nvrtc_compiles_every_kernel_for_hopper() {
    compile_all("nvrtc", &["sm_90a"], cuda::compile);
}

/// The test build in which two of NVIDIA's warps act as one of 64 lanes.
#[test]
fn nvrtc_compiles_every_kernel_for_warps_of_64() {
    compile_all("nvrtc", &["sm_90"], |name, text, target| {
        cuda::compile(name, &format!("#define WARP 64\n#line 1\n{text}"), target)
    });
}

/// The runtime compiles a source for the number format that a kernel's name ends with: the kernel must be there.
#[test]
fn every_kernel_is_compiled_with_its_format() {
    let compile = |source: &Source, text: String| match cuda::compile(source.name, &text, "sm_90a") {
        Ok(code) => Some(kernels(&code)),
        Err(CompileFault::Source(log)) => panic!("{}:\n{log}", source.name),
        Err(CompileFault::Compiler(fault)) => {
            testing::skip("nvrtc", "nvrtc", format!("{}: {}", fault.operation, fault.message));
            None
        }
    };
    for source in kernels::sources() {
        let Some(all) = compile(source, source.text()) else { return };
        assert!(!all.is_empty(), "{}", source.name);
        for format in [None, Some(DType::F32), Some(DType::BF16), Some(DType::F16)] {
            let expected: BTreeSet<_> =
                all.iter().filter(|kernel| gpu::format_of(kernel) == format).cloned().collect();
            let Some(compiled) = compile(source, source.text_of(format)) else { return };
            let there: BTreeSet<_> =
                compiled.into_iter().filter(|kernel| gpu::format_of(kernel) == format).collect();
            assert_eq!(there, expected, "{} for {format:?}", source.name);
        }
    }
}

/// The names of the kernels in machine code of NVIDIA's: each has a section `.text.NAME`.
fn kernels(code: &[u8]) -> BTreeSet<String> {
    const SECTION: &[u8] = b".text.";
    let starts = (0..code.len()).filter(|&start| code[start..].starts_with(SECTION));
    let names = starts.map(|start| &code[start + SECTION.len()..]);
    let ended = names.filter_map(|name| name.split(|&byte| byte == 0).next());
    ended.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// AMD's compiler at run time: a CDNA chip with waves of 64, an RDNA chip with waves of 32. Both are known to every
/// version of it; it ends the process on a chip that is not.
#[test]
fn hiprtc_compiles_every_kernel() {
    compile_all("hiprtc", &["gfx90a", "gfx1030"], hip::compile);
}

/// Upstream's clang, for the chips that are too new for the hipRTC of Debian.
#[test]
fn clang_compiles_every_kernel() {
    compile_all("clang", &["gfx942", "gfx1100", "gfx1201"], clang);
}

fn clang(name: &str, text: &str, target: &str) -> Result<Vec<u8>, CompileFault> {
    let folder = tempfile::tempdir().unwrap();
    let (source, code) = (folder.path().join(format!("{name}.hip")), folder.path().join("code"));
    fs::write(&source, text).unwrap();
    let output = Command::new("clang-19")
        .args(["-x", "hip", "-std=c++17", "-O3", "-c", "-nogpuinc", "-nogpulib"])
        .args(["--offload-device-only", "--no-gpu-bundle-output", &format!("--offload-arch={target}")])
        .arg(&source)
        .arg("-o")
        .arg(&code)
        .output()
        .map_err(|error| {
            let (operation, message) = ("clang-19", error.to_string());
            CompileFault::Compiler(gpu::driver::Fault {
                operation,
                message,
                cause: gpu::driver::Cause::Other,
            })
        })?;
    match output.status.success() {
        true => Ok(fs::read(&code).unwrap()),
        false => Err(CompileFault::Source(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}

/// A file of kernels that is in no source would be compiled by no test.
#[test]
fn every_file_of_kernels_is_in_a_source() {
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels");
    for family in
        fs::read_dir(kernels).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        for file in fs::read_dir(family).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "cu" || extension == "cuh") {
                let text = fs::read_to_string(&file).unwrap();
                let listed = kernels::sources().iter().any(|source| source.parts.contains(&text.as_str()));
                assert!(listed, "{} is in no source of `kernels::sources()`", file.display());
            }
        }
    }
}
