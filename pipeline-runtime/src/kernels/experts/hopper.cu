// The products of kernels/experts/gpu.cu for many tokens on Hopper's own units: weights come through the tensor copy
// engine, gathered rows through asynchronous copies, sums stay in the registers of two warpgroups. Empty for any
// other chip.

#if GROUP_PRODUCTS

// Places of a tile, and its depth at a step: 128 bytes of each row, so that a row is one line of the swizzle.
#define TILE_ROWS 128
#define STEP 64
// Weight rows of a tile.
#define COLUMNS 256
#define STAGES 4
#define PRODUCERS 128
#define THREADS 384

// Tiles of places that run together through all weights, so that weights are read from memory once for them.
#define TOGETHER 16

struct __attribute__((aligned(16))) row_tile {
    u32 expert, first, end, unused;
};

DEVICE float fast_silu(float value) {
    float below = 1.0f + fast_exp2(-LOG2E * value), inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(below));
    return value * inverse;
}

// Four lanes hold a word of each of four groups; afterwards each holds the four words of the group of its number.
DEVICE words4 transpose(u32 a, u32 b, u32 c, u32 d) {
    bool odd = lane() & 1, upper = lane() & 2;
    u32 x = across(odd ? a : b, 1), y = across(odd ? c : d, 1);
    u32 a1 = odd ? x : a, b1 = odd ? b : x, c1 = odd ? y : c, d1 = odd ? d : y;
    u32 z = across(upper ? a1 : c1, 2), w = across(upper ? b1 : d1, 2);
    return upper ? words4{z, w, c1, d1} : words4{a1, b1, z, w};
}

// The tile of places and of weights behind a number in the order of work.
struct assignment {
    u32 rows, columns;
};
DEVICE assignment assign(u32 number, u32 row_tiles, u32 column_tiles) {
    u32 group = number / (TOGETHER * column_tiles), rest = number % (TOGETHER * column_tiles);
    u32 members = smaller(TOGETHER, row_tiles - group * TOGETHER);
    return assignment{group * TOGETHER + rest % members, rest / members};
}

// A block of three warpgroups: one brings operands, two multiply 64 places each by COLUMNS weight rows. UP as in the
// portable kernel: half of the weight rows of a tile are gate rows, half the up rows of the same places.
template <typename T, bool UP>
DEVICE void grouped_product(const T *x, const void *map, const u32 *order, const float *weights, const row_tile *tiles,
                            const u32 *tile_count, u32 k, u32 outputs, u32 depth, T *result) {
    extern SHARED __attribute__((aligned(1024))) u8 dynamic[];
    constexpr u32 A_BYTES = TILE_ROWS * STEP * 2, B_BYTES = COLUMNS * STEP * 2, STAGE_BYTES = A_BYTES + B_BYTES;
    constexpr u32 WIDTH = UP ? COLUMNS / 2 : COLUMNS;  // results of a row
    SHARED u64 full[STAGES], empty[STAGES];
    const u32 stages = (shared_address(dynamic) + 1023) / 1024 * 1024;
    if (thread() == 0) {
        for (u32 stage = 0; stage < STAGES; stage++) {
            init_arrivals(full + stage, PRODUCERS / 32 + 1);
            init_arrivals(empty + stage, 2);
        }
        fence_arrivals();
        asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
    }
    barrier();
    wait_for_producers();
    start_consumers();
    const u32 row_tiles = *tile_count, column_tiles = (outputs + WIDTH - 1) / WIDTH;
    const u32 steps = (depth + STEP - 1) / STEP, numbers = row_tiles * column_tiles;
    u32 stage = 0, parity = 0;

    if (thread() < PRODUCERS) {
        fewer_registers<56>();
        const u32 chunk = thread() % 8, first = thread() / 8;
        const u32 target = first * 128 + (chunk ^ first % 8) * 16;
        u32 behind = ~0u;  // the stage whose copies are not yet announced
        for (u32 number = block(); number < numbers; number += blocks()) {
            assignment at = assign(number, row_tiles, column_tiles);
            const row_tile rows = tiles[at.rows];
            const T *source[8];
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                u32 place = rows.first + first + 16 * i;
                u32 row = place < rows.end ? place : rows.first;
                source[i] = x + (u64)(UP ? order[row] / k : row) * depth + chunk * 8;
            }
            const u32 present = rows.end - rows.first;
            for (u32 step = 0; step < steps; step++) {
                await(empty + stage, parity ^ 1);
                const u32 a = stages + stage * STAGE_BYTES, b = a + A_BYTES;
                if (thread() == 0) {
                    arrive_expecting(full + stage, B_BYTES);
#pragma unroll
                    for (u32 box = 0; box < COLUMNS / 64; box++) {
                        u32 row = UP ? (rows.expert * 2 + box / (COLUMNS / 128)) * outputs + at.columns * WIDTH +
                                           box % (COLUMNS / 128) * 64
                                     : rows.expert * outputs + at.columns * WIDTH + box * 64;
                        copy_box(b + box * 64 * STEP * 2, map, step * STEP, row, full + stage);
                    }
                }
                bool inside = step * STEP + chunk * 8 < depth;
#pragma unroll
                for (u32 i = 0; i < 8; i++) {
                    u32 size = inside && first + 16 * i < present ? 16 : 0;
                    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(a + target + i * 2048),
                                 "l"(source[i] + (inside ? step * STEP : 0)), "r"(size)
                                 : "memory");
                }
                copies_commit();
                if (behind != ~0u) {
                    copies_wait<1>();
                    fence_asynchronous();
                    warp_barrier();
                    if (lane() == 0) arrive(full + behind);
                }
                behind = stage;
                if (++stage == STAGES) stage = 0, parity ^= 1;
            }
        }
        if (behind != ~0u) {
            copies_wait<0>();
            fence_asynchronous();
            warp_barrier();
            if (lane() == 0) arrive(full + behind);
        }
    } else {
        more_registers<224>();
        const u32 group = thread() / 128 - 1;
        float sums[COLUMNS / 2];
        for (u32 number = block(); number < numbers; number += blocks()) {
            assignment at = assign(number, row_tiles, column_tiles);
            const row_tile rows = tiles[at.rows];
            if (rows.first + 64 * group >= rows.end) {
                // No product keeps the four warps of the group together here, and one that fell behind by two phases of
                // a stage would take the next phase for its own: one warp follows the stages, the others wait for it.
                for (u32 step = 0; step < steps; step++) {
                    if (warp() % 4 == 0) {
                        await(full + stage, parity);
                        if (lane() == 0) arrive(empty + stage);
                    }
                    if (++stage == STAGES) stage = 0, parity ^= 1;
                }
                part_barrier(group + 1, 128);
                continue;
            }
            u32 before = stage;  // the stage that the matrix units still read
            for (u32 step = 0; step < steps; step++) {
                const u64 a = describe(stages + stage * STAGE_BYTES + group * 64 * STEP * 2, 16);
                const u64 b = describe(stages + stage * STAGE_BYTES + A_BYTES, 16);
                await(full + stage, parity);
                products_begin();
#pragma unroll
                for (u32 part = 0; part < STEP / 16; part++) {
                    multiply_group(sums, a + part * 2, b + part * 2, step | part, T{});
                }
                products_commit();
                products_wait<1>();
                if (step > 0 && thread() % 128 == 0) arrive(empty + before);
                before = stage;
                if (++stage == STAGES) stage = 0, parity ^= 1;
            }
            products_wait<0>();
            if (thread() % 128 == 0) arrive(empty + before);
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                const u32 place = rows.first + group * 64 + warp() % 4 * 16 + half * 8 + lane() / 4;
                const bool present = place < rows.end;
                const u32 pair = UP ? place : present ? order[place] : 0;
                const float factor = UP || !present ? 1.0f : weights[pair];
                T *row = result + (u64)pair * outputs + at.columns * WIDTH;
#pragma unroll
                for (u32 four = 0; four < WIDTH / 32; four++) {
                    u32 words[4];
#pragma unroll
                    for (u32 i = 0; i < 4; i++) {
                        const u32 index = (four * 4 + i) * 4 + half * 2;
                        if constexpr (UP) {
                            words[i] = pack<T>(fast_silu(sums[index]) * sums[COLUMNS / 4 + index],
                                               fast_silu(sums[index + 1]) * sums[COLUMNS / 4 + index + 1]);
                        } else {
                            words[i] = pack<T>(factor * sums[index], factor * sums[index + 1]);
                        }
                    }
                    words4 line = transpose(words[0], words[1], words[2], words[3]);
                    const u32 column = four * 32 + lane() % 4 * 8;
                    if (present && at.columns * WIDTH + column < outputs) store16(row + column, line);
                }
            }
        }
    }
}

// Parameters as of experts_many_* in kernels/experts/gpu.cu, but instead of the matrix a tensor map over all of its
// rows, (rows, depth), in boxes of 64 by 64 with 128-byte swizzle. hidden and intermediate are multiples of 8. Blocks:
// one for each multiprocessor, 384 threads; dynamic shared memory: 1024 + 4 stages of 128 bytes x (128 + 256).
#define EXPERTS(T, NAME)                                                                                              \
    KERNEL void BOUNDS(THREADS, 1)                                                                                    \
        experts_wide_gate_up_##NAME(const T *x, const void *gate_up, const u32 *order, const row_tile *tiles,         \
                                    const u32 *tile_count, u32 k, u32 hidden, u32 intermediate, T *activated) {       \
        grouped_product<T, true>(x, gate_up, order, 0, tiles, tile_count, k, intermediate, hidden, activated);        \
    }                                                                                                                 \
    KERNEL void BOUNDS(THREADS, 1)                                                                                    \
        experts_wide_down_##NAME(const T *activated, const void *down, const u32 *order, const float *weights,        \
                                 const row_tile *tiles, const u32 *tile_count, u32 k, u32 hidden, u32 intermediate,   \
                                 T *results) {                                                                        \
        grouped_product<T, false>(activated, down, order, weights, tiles, tile_count, k, hidden, intermediate,        \
                                  results);                                                                           \
    }

FOR_BF16(EXPERTS(bf16, bf16))
FOR_F16(EXPERTS(f16, f16))

#endif
