//! The loader and the driver against the library of `tests/hip-on-cuda`, and against ROCm's own where it is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use half::bf16;
use pipeline_schema::DType;

use super::*;
use crate::gpu::testing::{self, TEST_HARDWARE};
use crate::gpu::{Device, Graph, Launch, PRELUDE, ProductShape, Source};

/// The test library, which cargo lays beside the tests.
fn hip_on_cuda() -> PathBuf {
    let tests = env::current_exe().unwrap();
    let library = tests.with_file_name("libhip_on_cuda.so");
    assert!(library.is_file(), "{} is missing: it is built with this test", library.display());
    library
}

fn open(library: &Path) -> Result<&'static Libraries, String> {
    Libraries::open(Some(library.into())).map(|libraries| &*Box::leak(Box::new(libraries)))
}

#[test]
fn every_call_is_in_the_test_library() {
    let libraries = open(&hip_on_cuda()).unwrap();
    assert_eq!(libraries.compiler.as_ref().err(), None);
    assert_eq!(libraries.blas.as_ref().err(), None);
    assert_eq!(libraries.properties.architecture, 1160, "the layout of ROCm 6");
}

#[test]
fn without_a_gpu_hip_says_so() {
    let libraries = open(&hip_on_cuda()).unwrap();
    match (count_with(libraries), crate::gpu::cuda::count()) {
        (Ok(through), Ok(count)) => assert_eq!(through, count),
        (Err(message), Err(reason)) => {
            let plain = message == "no AMD GPU" || reason.contains("not found");
            assert!(plain, "{message} (CUDA: {reason})");
        }
        // HIP counts GPUs without the libraries that CUDA's compiler and products are in.
        (Ok(_), Err(reason)) => assert!(reason.contains("was not found"), "{reason}"),
        (Err(message), Ok(count)) => panic!("{count} GPUs, but: {message}"),
    }
}

#[test]
fn a_library_that_is_not_there_is_named() {
    let message = open(Path::new("/no/such/libamdhip64.so")).unwrap_err();
    assert!(
        message.starts_with("PIPELINES_HIP_LIBRARY=/no/such/libamdhip64.so cannot be opened"),
        "{message}"
    );
}

#[test]
fn a_library_without_the_calls_is_refused() {
    let message = open(Path::new("libc.so.6")).unwrap_err();
    assert_eq!(message, "libamdhip64.so has no `hipInit`: install ROCm 6 or 7");
}

#[test]
fn the_system_library_has_every_call() {
    let libraries = match Libraries::open(None) {
        Ok(libraries) => &*Box::leak(Box::new(libraries)),
        Err(reason) => return testing::skip("hiprtc", "HIP runtime", reason),
    };
    assert_eq!(libraries.compiler.as_ref().err(), None);
    let Err(message) = count_with(libraries) else { return };
    let blas = libraries.blas.as_ref().err();
    assert!(message == "no AMD GPU" || Some(&message) == blas, "{message}");
}

static KERNELS: Source = Source {
    name: "test-hip",
    parts: &[
        PRELUDE,
        "KERNEL void power_sums(const float *numbers, float *results, u32 length) {
            extern SHARED float scratch[];
            wait_for_producers();
            float sum = 0.0f;
            for (u32 index = thread(); index < length; index += threads()) sum += exponential(numbers[index]);
            scratch[63 << 8] = 0.0f;
            sum = block_sum(sum, scratch);
            if (thread() == 0) results[block()] = sum + block();
        }",
    ],
};

/// Bits of what kernels, products and a graph make.
fn numbers(device: &Device) -> Vec<u32> {
    let x: Vec<f32> = (0..640).map(|index| ((index * 37 % 101) as f32 - 50.0) / 64.0).collect();
    let narrow: Vec<bf16> = x.iter().map(|number| bf16::from_f32(*number)).collect();
    let (x, narrow) = (device.upload(&x).unwrap(), device.upload(&narrow).unwrap());
    let results = device.zeros(4 * (3 + 2 * 400)).unwrap();
    let _turn = device.turn();
    let (_, _, graph) = Graph::record(device, || {
        let sums = Launch::new(device, &KERNELS, "power_sums").grid(3, 1, 1).shared(64 << 10);
        // SAFETY: the arguments are the kernel's, and there is room for a number of each block.
        unsafe { sums.buffer(&x).buffer(&results).number(640).run() }?;
        for (input, operand, offset) in [(DType::F32, &x, 12), (DType::BF16, &narrow, 12 + 1600)] {
            let (output, accumulate) = (DType::F32, true);
            let shape =
                ProductShape { rows: 20, in_features: 32, out_features: 20, input, output, accumulate };
            let y = results.address() + offset;
            // SAFETY: both operands have (20, 32) numbers, and the results (20, 20) from the offset on.
            unsafe { device.matmul(operand.address(), operand.address(), y, shape) }?;
        }
        Ok(())
    })
    .unwrap();
    graph.launch().unwrap();
    graph.launch().unwrap();
    device.read(&results, 0, 803).unwrap()
}

#[test]
fn gpu_numbers_through_hip_are_those_of_cuda() {
    if env::var_os(TEST_HARDWARE).is_some() {
        return;
    }
    let Some(cuda) = testing::device(Hardware::Cuda) else { return };
    let libraries = open(&hip_on_cuda()).unwrap();
    let hip = Device::over(std::sync::Arc::new(Hip::open_with(libraries, 0).unwrap()), 0).unwrap();
    assert_eq!(hip.to_string(), "rocm:0");
    let (chip, expected) = (hip.chip(), cuda.chip());
    assert_eq!((&chip.name, &chip.target, chip.warp), (&expected.name, &expected.target, expected.warp));
    assert_eq!((chip.multiprocessors, chip.l2), (expected.multiprocessors, expected.l2));
    assert_eq!((chip.memory, chip.shared_per_block), (expected.memory, expected.shared_per_block));
    assert_eq!(numbers(&hip), numbers(&cuda));
}

/// Runs all tests of the GPU once more, through HIP.
fn run_tests_through_hip(variables: &[(&str, &str)]) {
    let tests = Command::new(env::current_exe().unwrap())
        .args(["gpu", "--test-threads=1"])
        .env(OVERRIDE, hip_on_cuda())
        .env(TEST_HARDWARE, "rocm")
        .env("PIPELINES_REQUIRE", "rocm")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = [tests.stdout, tests.stderr].concat();
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&text));
}

#[test]
fn gpu_tests_pass_through_hip() {
    if env::var_os(TEST_HARDWARE).is_none() && testing::device(Hardware::Cuda).is_some() {
        run_tests_through_hip(&[]);
    }
}

/// As CDNA has them; two warps of NVIDIA act as one.
#[test]
fn gpu_tests_pass_with_warps_of_64_lanes() {
    if env::var_os(TEST_HARDWARE).is_none() && testing::device(Hardware::Cuda).is_some() {
        run_tests_through_hip(&[("HIP_ON_CUDA_WARP", "64")]);
    }
}
