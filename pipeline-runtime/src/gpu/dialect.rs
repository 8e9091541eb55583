//! What kernels are written in does on the GPU what it says: exchanges between lanes, block sums, products of tiles.

use half::{bf16, f16};
use pipeline_schema::Hardware;

use super::{Buffer, Device, Launch, MATRIX, PRELUDE, Plain, Source, TENSOR, testing};

static DIALECT: Source = Source {
    name: "test-dialect",
    parts: &[
        PRELUDE,
        TENSOR,
        MATRIX,
        "KERNEL void lanes(const u32 *numbers, u32 *results) {
            SHARED float scratch[32];
            wait_for_producers();
            u32 number = numbers[thread()];
            u64 odd = lanes_where(number % 2);
            u32 all[8] = {from_lane(number, (lane() * 7 + 3) % WARP), across(number, 1), across(number, WARP / 2),
                          (u32)odd, (u32)(odd >> 32), (u32)warp_sum((float)number), (u32)max_lanes<8>((float)number),
                          (u32)block_sum((float)number, scratch)};
            for (u32 index = 0; index < 8; index++) results[index * threads() + thread()] = all[index];
            // Once more, in a loop that each warp leaves at another time.
            u32 passed = number;
            for (u32 turn = 0; turn <= warp(); turn++) passed = from_lane(passed, (lane() + 1) % WARP);
            results[8 * threads() + thread()] = passed;
        }
        template <typename T> DEVICE void products(const T *a, const T *b, float *results) {
            wait_for_producers();
            operand left, right;
            for (u32 piece = 0; piece < PIECES; piece++) {
                u32 place = operand_row(piece) * TILE_DEPTH + operand_depth(piece);
                left.piece[piece] = load16(a + place);
                right.piece[piece] = load16(b + place);
            }
            float sums[SUMS] = {};
            multiply<T>(sums, left, right);
            multiply<T>(sums, left, right);
            for (u32 index = 0; index < SUMS; index++) results[sum_row(index) * TILE + sum_column(index)] = sums[index];
        }
        KERNEL void products_bf16(const bf16 *a, const bf16 *b, float *results) { products(a, b, results); }
        KERNEL void products_f16(const f16 *a, const f16 *b, float *results) { products(a, b, results); }",
    ],
};

#[test]
fn gpu_lanes_exchange_numbers() {
    let Some(device) = testing::device(Hardware::Cuda) else { return };
    let warp = device.chip().warp as usize;
    for threads in [64, 192, 960, 1024] {
        let numbers: Vec<u32> = (0..threads as u32).map(|index| index * 37 % 101).collect();
        let results = device.zeros(9 * 4 * threads).unwrap();
        let launch = Launch::new(&device, &DIALECT, "lanes").threads(threads);
        // SAFETY: the arguments are the kernel's, of one block with as many threads as there are numbers.
        unsafe { launch.buffer(&device.upload(&numbers).unwrap()).buffer(&results).run() }.unwrap();
        let found: Vec<u32> = device.read(&results, 0, 9 * threads).unwrap();
        let in_warp = |thread: usize, lane: usize| numbers[thread / warp * warp + lane];
        let expected = |thread: usize| {
            let (lane, first) = (thread % warp, thread / warp * warp);
            let own = &numbers[first..first + warp];
            let odd: u64 = own.iter().enumerate().map(|(lane, number)| u64::from(number % 2) << lane).sum();
            let group = &numbers[thread / 8 * 8..thread / 8 * 8 + 8];
            [
                in_warp(thread, (lane * 7 + 3) % warp),
                in_warp(thread, lane ^ 1),
                in_warp(thread, lane ^ (warp / 2)),
                odd as u32,
                (odd >> 32) as u32,
                own.iter().sum(),
                *group.iter().max().unwrap(),
                numbers.iter().sum(),
                in_warp(thread, (lane + thread / warp + 1) % warp),
            ]
        };
        for thread in 0..threads {
            let found: Vec<u32> = (0..9).map(|index| found[index * threads + thread]).collect();
            assert_eq!(found, expected(thread), "thread {thread} of {threads}");
        }
    }
}

fn products<T: Plain>(device: &Device, kernel: &str, narrow: impl Fn(f32) -> T) {
    let numbers = |factor: usize| (0..16 * 32).map(move |index| (index * factor % 17) as f32 - 8.0);
    let (a, b): (Vec<f32>, Vec<f32>) = (numbers(7).collect(), numbers(5).collect());
    let upload = |numbers: &[f32]| -> Buffer {
        device.upload(&numbers.iter().map(|number| narrow(*number)).collect::<Vec<T>>()).unwrap()
    };
    let results = device.allocate(16 * 16 * 4).unwrap();
    device.fill(&results, 0xff).unwrap();
    let launch = Launch::new(device, &DIALECT, kernel).threads(device.chip().warp as usize);
    // SAFETY: the arguments are the kernel's: two tiles of 16 rows, 32 deep, and a result of 16 by 16.
    unsafe { launch.buffer(&upload(&a)).buffer(&upload(&b)).buffer(&results).run() }.unwrap();
    let found: Vec<f32> = device.read(&results, 0, 256).unwrap();
    let expected: Vec<f32> = (0..256)
        .map(|index| 2.0 * (0..32).map(|k| a[index / 16 * 32 + k] * b[index % 16 * 32 + k]).sum::<f32>())
        .collect();
    assert_eq!(found, expected, "{kernel}");
}

#[test]
fn gpu_tiles_are_multiplied() {
    let Some(device) = testing::device(Hardware::Cuda) else { return };
    products(&device, "products_bf16", bf16::from_f32);
    products(&device, "products_f16", f16::from_f32);
}
