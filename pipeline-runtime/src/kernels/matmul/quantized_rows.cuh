// What weights in the formats of quantized.cuh are multiplied with, and their products with few rows on tensor cores.

// Quantises x (rows, in) T, or the RMS norm of x f32, to shared memory: AT_ONCE rows side by side, of which a lane has
// TOGETHER eights under way. Ends with a barrier.
template <typename T, bool NORM, u32 AT_ONCE, u32 TOGETHER>
DEVICE QuantizedRows quantize_rows(const void *input, const float *norm_weight, float epsilon, u8 *shared, u32 rows,
                                   u32 in) {
    i8 *values = (i8 *)shared;
    float *scales = (float *)(shared + rows * in), *sums = scales + rows * (in / 32);
    for (u32 first = 0; first < rows; first += AT_ONCE) {
        u32 count = smaller(AT_ONCE, rows - first);
        SHARED float shared_factors[AT_ONCE];
        if (NORM) {
            float factors[AT_ONCE];
            row_factors((const float *)input + (u64)first * in, epsilon, count, in, factors);
            if (thread() == 0) {
#pragma unroll
                for (u32 part = 0; part < AT_ONCE; part++) shared_factors[part] = factors[part];
            }
            barrier();
        }
        // A lane takes 8 neighbours, four lanes share 32: all lanes of a warp stay, for the exchange between them.
        const u32 of_row = in / 8, items = count * of_row, last = (items + WARP - 1) / WARP * WARP;
#pragma unroll 1
        for (u32 begin = thread(); begin < last; begin += TOGETHER * threads()) {
            float numbers[TOGETHER][8];
#pragma unroll
            for (u32 turn = 0; turn < TOGETHER; turn++) {
                u32 item = begin + turn * threads();
                if (item >= items) continue;
                if (NORM) {
                    load8((const float *)input + (u64)first * in + item * 8, numbers[turn]);
                } else {
                    load8((const T *)input + (u64)first * in + item * 8, numbers[turn]);
                }
            }
#pragma unroll
            for (u32 turn = 0; turn < TOGETHER; turn++) {
                u32 item = begin + turn * threads();
                if (item >= last) continue;
                float highest = 0.0f;
                if (item < items) {
                    if (NORM) {
                        float weights[8], normal = shared_factors[item / of_row];
                        load8(norm_weight + item % of_row * 8, weights);
#pragma unroll
                        for (u32 index = 0; index < 8; index++) numbers[turn][index] *= normal * weights[index];
                    }
#pragma unroll
                    for (u32 index = 0; index < 8; index++) {
                        highest = maximum(highest, maximum(numbers[turn][index], -numbers[turn][index]));
                    }
                }
                highest = max_lanes<4>(highest);
                float factor = highest > 0.0f ? 127.0f / highest : 0.0f, scale = highest / 127.0f;
                u32 lower = 0, upper = 0;
                if (item < items) {
                    lower = quantize4(numbers[turn], factor);
                    upper = quantize4(numbers[turn] + 4, factor);
                }
                float sum = scale * (float)dot4(lower, 0x01010101u, dot4(upper, 0x01010101u, 0));
                sum = sum_lanes<2>(sum);
                if (item < items) {
                    u32 *target = (u32 *)(values + first * in + item * 8);
                    target[0] = lower;
                    target[1] = upper;
                    if (item % 4 == 0) scales[first * (in / 32) + item / 4] = scale;
                    if (item % 2 == 0) sums[first * (in / 16) + item / 2] = sum;
                }
            }
        }
        barrier();
    }
    return {values, scales, sums, in};
}

// ---- tensor cores -------------------------------------------------------------------------------------------------

#define STRIPS (!AMD && WARP == 32 && __CUDA_ARCH__ >= 800)
#if STRIPS
// A strip is 16 weight rows by 256 weights: 8 blocks of 32 that share a scale of x. The tensor cores sum whole numbers,
// and a column of their product is one of those blocks: lane 4 g + t holds weights of rows g and g + 8, and 16 numbers of
// block g of x, which it shows beside weights of that block only and is zero beside all others. Its four sums are those
// of rows g and g + 8 with blocks 2 t and 2 t + 1: every lane has scales to multiply with, and none twice.
constexpr u32 STRIP = 256, STRIP_ROWS = 16;

#define MULTIPLY_16X8X32(type)                                                                                         \
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." type ".s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, " \
                 "{%0, %1, %2, %3};"                                                                                   \
                 : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])                                          \
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1))
// sums (16, 8) += a (16, 32) b (32, 8), of whole numbers
template <bool SIGNED>
DEVICE void multiply_16x8x32(i32 (&sums)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    if (SIGNED) {
        MULTIPLY_16X8X32("s8");
    } else {
        MULTIPLY_16X8X32("u8");
    }
}

// What a lane reads of a strip. Its weights come in four turns of 16 a row; in turn own_turn(), if holds_own(), they are
// of block lane() / 4. added(half, first, second, x_scales, sums) is what products with blocks 2 t and 2 t + 1 of x add
// to the sum of row g or g + 8: x_scales are those of the blocks, sums those of x itself.
struct Q4KStrip {
    // Strips under way beside the products of one row, and of several.
    static constexpr u32 AHEAD[2] = {3, 2};
    static constexpr bool SIGNED = false, MINIMA = true;
    words4 quants[2][2], header[2];

    DEVICE_MEMBER void load(const u8 *weight, u64 weights, const u64 (&rows)[2], u32 in, u32 strip) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const u64 block = rows[half] * (in / Q4_K_WEIGHTS) + strip;
            const u8 *of_lane = q4_k_quants(weight, block) + lane() % 4 * 16;
            quants[half][0] = stream16(of_lane);
            quants[half][1] = stream16(of_lane + 64);
            header[half] = ahead16(q4_k_header(weight, weights, block));
        }
    }
    DEVICE_MEMBER static u32 own_turn() { return lane() / 16 * 2 + lane() / 4 % 2; }
    DEVICE_MEMBER static bool holds_own() { return lane() / 8 % 2 == lane() % 4 / 2; }
    // In odd turns 16 times what they are, in the upper halves of their bytes.
    DEVICE_MEMBER words4 weights(u32 half, u32 turn) const {
        const words4 &words = quants[half][turn / 2];
        const u32 mask = turn % 2 ? 0xf0f0f0f0u : 0x0f0f0f0fu;
        return words4{words.x & mask, words.y & mask, words.z & mask, words.w & mask};
    }
    DEVICE_MEMBER float added(u32 half, i32 first, i32 second, float2 x_scales, float2 sums) const {
        const WholeScales whole = q4_k_whole_scales(header[half], lane() % 4);
        const float products = x_scales.x * (float)(first * whole.scale[0]) +
                               0.0625f * x_scales.y * (float)(second * whole.scale[1]);
        const float minima = sums.x * (float)whole.minimum[0] + sums.y * (float)whole.minimum[1];
        return low(header[half].x, f16{}) * products - high(header[half].x, f16{}) * minima;
    }
};

struct Q80Strip {
    static constexpr u32 AHEAD[2] = {2, 2};
    static constexpr bool SIGNED = true, MINIMA = false;
    words4 quants[2][4];
    u32 scale[2];

    DEVICE_MEMBER void load(const u8 *weight, u64 weights, const u64 (&rows)[2], u32 in, u32 strip) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const u64 first = rows[half] * in + strip * STRIP;
#pragma unroll
            for (u32 turn = 0; turn < 4; turn++) {
                quants[half][turn] = stream16(weight + first + turn * 64 + lane() % 4 * 16);
            }
            scale[half] = ahead4(weight + weights + first / 32 * 2 + lane() % 4 * 4);
        }
    }
    DEVICE_MEMBER static u32 own_turn() { return lane() / 8; }
    DEVICE_MEMBER static bool holds_own() { return lane() / 4 % 2 == lane() % 4 / 2; }
    DEVICE_MEMBER words4 weights(u32 half, u32 turn) const { return quants[half][turn]; }
    DEVICE_MEMBER float added(u32 half, i32 first, i32 second, float2 x_scales, float2) const {
        return low(scale[half], f16{}) * x_scales.x * (float)first +
               high(scale[half], f16{}) * x_scales.y * (float)second;
    }
};

// sums[row][half] += factor times the lane's part of the product of a strip with rows of x, from `first_row` on. Rows
// beyond the last are the last again.
template <u32 ROWS, typename Strip>
DEVICE void add_strip(const Strip &strip, const QuantizedRows &x, u32 number, u32 first_row, u32 rows, float factor,
                      float (&sums)[ROWS][2]) {
    const u32 group = lane() / 4, part = lane() % 4;
#pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        const u32 x_row = ROWS > 1 ? first_row + smaller(row, rows - 1) : first_row;
        words4 own = {0, 0, 0, 0};
        if (Strip::holds_own()) own = load16(x.values + x_row * x.in + number * STRIP + group * 32 + part % 2 * 16);
        i32 products[4] = {};
#pragma unroll
        for (u32 turn = 0; turn < 4; turn++) {
            const bool shown = turn == Strip::own_turn();
            const words4 upper = strip.weights(0, turn), lower = strip.weights(1, turn);
            multiply_16x8x32<Strip::SIGNED>(products, upper.x, lower.x, upper.y, lower.y, shown ? own.x : 0,
                                            shown ? own.y : 0);
            multiply_16x8x32<Strip::SIGNED>(products, upper.z, lower.z, upper.w, lower.w, shown ? own.z : 0,
                                            shown ? own.w : 0);
        }
        const float2 x_scales = *(const float2 *)(x.scales + x_row * (x.in / 32) + number * 8 + part * 2);
        float2 x_sums = {0.0f, 0.0f};
        if (Strip::MINIMA) {
            const words4 of_16 = load16(x.sums + x_row * (x.in / 16) + number * 16 + part * 4);
            x_sums = float2{from_bits(of_16.x) + from_bits(of_16.y), from_bits(of_16.z) + from_bits(of_16.w)};
        }
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            sums[row][half] += factor * strip.added(half, products[2 * half], products[2 * half + 1], x_scales, x_sums);
        }
        // One row after the other: together they would need more registers than there are.
        if (ROWS > 1) asm volatile("" ::: "memory");
    }
}

// A block takes every blocks()-th of `work.tiles` tiles of 16 weight rows, and its warps the strips of a tile in turn.
// What a warp will read next is under way while it multiplies, over the ends of tiles, too.
//
// Work says what it is: tiles; turns, how often the warps take a strip each for a tile; bool find(tile, turn, rows, strip),
// the two weight rows of this lane and the strip of this warp, if it has one; x_row(turn) and factor(turn), the first row
// of x and a factor for its products; write(tile, row, place, total), where total(place) is the sum of a row of x with
// weight row `place` of the tile. quantize() gives x, when the first strips are under way.
template <typename Strip, u32 ROWS, typename Work, typename Quantize>
DEVICE void multiply_tiles(const u8 *weight, u64 weights, u32 in, u32 rows, const Work &work, Quantize quantize) {
    constexpr u32 AHEAD = Strip::AHEAD[ROWS > 1], MOST_WARPS = 16;
    SHARED float partial[2][MOST_WARPS][ROWS][STRIP_ROWS];
    const u32 own = block() < work.tiles ? (work.tiles - block() - 1) / blocks() + 1 : 0, steps = own * work.turns;
    u32 next_tile = block(), next_turn = 0;
    auto load = [&](Strip &stage) {
        u64 of_lane[2];
        u32 strip;
        if (next_tile < work.tiles && work.find(next_tile, next_turn, of_lane, strip)) {
            stage.load(weight, weights, of_lane, in, strip);
        }
        if (++next_turn == work.turns) next_turn = 0, next_tile += blocks();
    };
    Strip stages[AHEAD];
#pragma unroll
    for (u32 depth = 0; depth < AHEAD; depth++) load(stages[depth]);
    const QuantizedRows x = quantize();
    u32 tile = block(), turn = 0, parity = 0;
    float sums[ROWS][2] = {};
    for (u32 step = 0; step < steps; step += AHEAD) {
#pragma unroll
        for (u32 depth = 0; depth < AHEAD; depth++) {
            if (step + depth >= steps) break;
            u64 of_lane[2];
            u32 strip;
            if (work.find(tile, turn, of_lane, strip)) {
                add_strip<ROWS>(stages[depth], x, strip, work.x_row(turn), rows, work.factor(turn), sums);
            }
            load(stages[depth]);
            if (++turn < work.turns) continue;
#pragma unroll
            for (u32 row = 0; row < ROWS; row++) {
#pragma unroll
                for (u32 half = 0; half < 2; half++) {
                    const float sum = sum_lanes<4>(sums[row][half]);
                    if (lane() % 4 == 0) partial[parity][warp()][row][half * 8 + lane() / 4] = sum;
                    sums[row][half] = 0.0f;
                }
            }
            // The next tile writes to the other half, the one after it behind the next barrier.
            barrier();
            if (thread() < ROWS * STRIP_ROWS && thread() / STRIP_ROWS < rows) {
                const u32 row = thread() / STRIP_ROWS;
                work.write(tile, row, thread() % STRIP_ROWS, [&](u32 place) {
                    float total = 0.0f;
                    for (u32 other = 0; other < warps(); other++) total += partial[parity][other][row][place];
                    return total;
                });
            }
            parity ^= 1, turn = 0, tile += blocks();
        }
    }
}
#endif
