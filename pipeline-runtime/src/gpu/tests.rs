//! The backend on the GPU that is there; skipped, aloud, where there is none.

use std::sync::atomic::{AtomicBool, Ordering};

use half::{bf16, f16};
use pipeline_schema::{DType, Hardware};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::testing;
use super::*;
use crate::kernels::check::Check;

static NUMBERS: Source = Source {
    name: "test-numbers",
    parts: &[
        PRELUDE,
        "KERNEL void add_number(float *numbers, u32 length, float number) {
            wait_for_producers();
            u32 index = block() * threads() + thread();
            if (index < length) numbers[index] += number;
        }
        KERNEL void sums(const float *numbers, float *results, u32 length) {
            SHARED float scratch[32];
            wait_for_producers();
            float sum = 0.0f;
            for (u32 index = thread(); index < length; index += threads()) sum += numbers[index];
            sum = block_sum(sum, scratch);
            if (thread() == 0) results[0] = sum;
        }",
    ],
};

static BROKEN: Source =
    Source { name: "test-broken", parts: &[PRELUDE, "KERNEL void broken() { no such thing; }"] };

fn add(device: &Device, buffer: &Buffer, number: f32) -> Result<()> {
    let length = buffer.bytes() / 4;
    let launch = Launch::new(device, &NUMBERS, "add_number").grid(length.div_ceil(256), 1, 1);
    // SAFETY: the arguments are the kernel's, and the buffer has `length` numbers.
    unsafe { launch.buffer(buffer).number(length).float(number).run() }
}

#[test]
fn gpu_memory_is_written_copied_and_read() {
    let Some(device) = testing::device(Hardware::Cuda) else { return };
    let numbers: Vec<f32> = (0..1000).map(|index| index as f32 * 0.5 - 100.0).collect();
    let buffer = device.upload(&numbers).unwrap();
    let copy = device.zeros(buffer.bytes() + 8).unwrap();
    device.copy(&copy, 8, &buffer, 0, buffer.bytes()).unwrap();
    assert_eq!(device.read::<f32>(&copy, 0, 2).unwrap(), [0.0, 0.0]);
    assert_eq!(device.read::<f32>(&copy, 8, 1000).unwrap(), numbers);
}

#[test]
fn gpu_memory_that_is_given_back_is_used_again() {
    let Some(device) = testing::device(Hardware::Cuda) else { return };
    let first = device.allocate(3 << 20).unwrap();
    let address = first.address();
    drop(first);
    assert_eq!(device.allocate(3 << 20).unwrap().address(), address);
}

#[test]
fn too_much_gpu_memory_is_an_error_and_the_device_lives_on() {
    let Some(device) = testing::device(Hardware::Cuda) else { return };
    let error = device.allocate(1 << 50).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    assert!(error.to_string().contains("are free"), "{error}");
    let buffer = device.upload(&[1.0f32; 8]).unwrap();
    assert_eq!(device.read::<f32>(&buffer, 0, 8).unwrap(), [1.0; 8]);
}

#[test]
fn gpu_kernels_are_compiled_and_launched() {
    let Some(device) = testing::device(Hardware::Cuda) else { return };
    let numbers: Vec<f32> = (0..1003).map(|index| index as f32).collect();
    let buffer = device.upload(&numbers).unwrap();
    assert_eq!(device.loading_kernels(), Duration::ZERO);
    add(&device, &buffer, 0.5).unwrap();
    let loading = device.loading_kernels();
    assert!(loading > Duration::ZERO);
    let sum = device.zeros(4).unwrap();
    // SAFETY: the arguments are the kernel's.
    unsafe { Launch::new(&device, &NUMBERS, "sums").buffer(&buffer).buffer(&sum).number(1003).run() }
        .unwrap();
    assert_eq!(device.read::<f32>(&sum, 0, 1).unwrap(), [1002.0 * 1003.0 / 2.0 + 0.5 * 1003.0]);
    assert_eq!(device.loading_kernels(), loading, "the second kernel is of the same source");
}

#[test]
fn a_gpu_kernel_that_does_not_compile_says_where() {
    let Some(device) = testing::device(Hardware::Cuda) else { return };
    // SAFETY: it never runs.
    let error = unsafe { Launch::new(&device, &BROKEN, "broken").run() }.unwrap_err();
    let Error::KernelSource { kernel: "test-broken", log, .. } = error else { panic!("{error}") };
    let line = PRELUDE.lines().count() + 1;
    assert!(log.contains(&format!("test-broken({line})")) && log.contains("error"), "{log}");
}

#[test]
fn gpu_work_is_recorded_once_and_replayed() {
    let Some(device) = testing::device(Hardware::Cuda) else { return };
    let _turn = device.turn();
    let buffer = device.upload(&[1.0f32; 300]).unwrap();
    let (_, _, graph) = Graph::record(&device, || {
        add(&device, &buffer, 1.0)?;
        let own = device.allocate(1200)?;
        device.copy(&own, 0, &buffer, 0, 1200)?;
        add(&device, &own, 1.0)?;
        device.copy(&buffer, 0, &own, 0, 1200)
    })
    .unwrap();
    assert_eq!(graph.nodes(), 4);
    assert_eq!(device.read::<f32>(&buffer, 0, 1).unwrap(), [3.0], "the first run ran");
    // What others allocate in between is not the graph's.
    let other = device.upload(&[7.0f32; 300]).unwrap();
    for _ in 0..10 {
        graph.launch().unwrap();
    }
    assert_eq!(device.read::<f32>(&buffer, 0, 300).unwrap(), [23.0; 300]);
    assert_eq!(device.read::<f32>(&other, 0, 300).unwrap(), [7.0; 300]);
}

#[test]
fn gpu_work_is_recorded_while_others_use_the_device() {
    let Some(device) = testing::device(Hardware::Cuda) else { return };
    let recording = AtomicBool::new(true);
    std::thread::scope(|scope| {
        // As another model that is loaded, run and dropped.
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    if !recording.load(Ordering::Relaxed) {
                        break;
                    }
                    let other = testing::device(Hardware::Cuda).unwrap();
                    let numbers = other.upload(&vec![0.5f32; 1 << 20]).unwrap();
                    add(&other, &numbers, 0.5).unwrap();
                    assert!(other.allocate(1 << 50).is_err());
                    assert_eq!(other.read::<f32>(&numbers, numbers.bytes() - 4, 1).unwrap(), [1.0]);
                }
            });
        }
        let _turn = device.turn();
        let buffer = device.upload(&[0.0f32; 300]).unwrap();
        for turn in 0..100 {
            let (.., graph) =
                Graph::record(&device, || (0..20).try_for_each(|_| add(&device, &buffer, 1.0))).unwrap();
            graph.launch().unwrap();
            assert_eq!(device.read::<f32>(&buffer, 0, 300).unwrap(), [40.0 * (turn + 1) as f32; 300]);
        }
        recording.store(false, Ordering::Relaxed);
    });
}

#[test]
fn an_error_while_recording_leaves_the_device_usable() {
    let Some(device) = testing::device(Hardware::Cuda) else { return };
    let _turn = device.turn();
    let mut runs = 0;
    let failed = Graph::record(&device, || {
        runs += 1;
        if runs == 2 { Err(Error::input("refused")) } else { Ok(()) }
    });
    assert!(failed.is_err());
    let buffer = device.upload(&[1.0f32; 4]).unwrap();
    add(&device, &buffer, 1.0).unwrap();
    assert_eq!(device.read::<f32>(&buffer, 0, 4).unwrap(), [2.0; 4]);
}

#[test]
fn gpu_products_agree_with_double_precision() {
    let Some(device) = testing::device(Hardware::Cuda) else { return };
    let mut generator = ChaCha8Rng::seed_from_u64(3);
    let (rows, in_features, out_features) = (19, 72, 40);
    let x: Vec<f32> = (0..rows * in_features).map(|_| generator.random_range(-1.0..1.0)).collect();
    let weight: Vec<f32> =
        (0..out_features * in_features).map(|_| generator.random_range(-1.0..1.0)).collect();
    for input in [DType::F32, DType::BF16, DType::F16] {
        let round = |number: f32| match input {
            DType::F32 => number,
            DType::BF16 => bf16::from_f32(number).to_f32(),
            DType::F16 => f16::from_f32(number).to_f32(),
        };
        let upload = |numbers: &[f32]| {
            match input {
                DType::F32 => device.upload(numbers),
                DType::BF16 => device.upload(&numbers.iter().map(|n| bf16::from_f32(*n)).collect::<Vec<_>>()),
                DType::F16 => device.upload(&numbers.iter().map(|n| f16::from_f32(*n)).collect::<Vec<_>>()),
            }
            .unwrap()
        };
        let (device_x, device_weight) = (upload(&x), upload(&weight));
        for accumulate in [false, true] {
            let y = device.upload(&vec![0.25f32; rows * out_features]).unwrap();
            let shape =
                ProductShape { rows, in_features, out_features, input, output: DType::F32, accumulate };
            // SAFETY: the buffers have these sizes.
            unsafe { device.matmul(device_x.address(), device_weight.address(), y.address(), shape) }
                .unwrap();
            let found: Vec<f32> = device.read(&y, 0, rows * out_features).unwrap();
            let expected: Vec<f32> = (0..rows * out_features)
                .map(|index| {
                    let (row, column) = (index / out_features, index % out_features);
                    let products = (0..in_features).map(|k| {
                        let (x, w) = (x[row * in_features + k], weight[column * in_features + k]);
                        f64::from(round(x)) * f64::from(round(w))
                    });
                    let start = if accumulate { 0.25 } else { 0.0 };
                    (start + products.sum::<f64>()) as f32
                })
                .collect();
            let check = Check::compare("matmul", format!("{input}"), &found, &expected, 2e-6);
            assert!(check.passes(), "{check:?}");
        }
    }
}
