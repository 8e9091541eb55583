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
// and a column of their product is one of those blocks. Lane 4 g + t holds weights of rows g and g + 8, which come in four
// turns of 16 numbers: those of turn n are of block 4 (n / 2) + 2 (t / 2) + n % 2. Of x it holds 16 numbers of block g, if
// t is one of the two lanes whose weights are of that block, and zeros otherwise. Of the sums of turn n those of its two
// blocks are products, and the others are not used: lane 4 g + t takes blocks 2 t and 2 t + 1 of rows g and g + 8, so that
// every lane has scales to multiply with, and none twice.
constexpr u32 STRIP = 256, STRIP_ROWS = 16;

#define MULTIPLY_16X8X32(type, c0, c1, c2, c3)                                                                        \
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." type ".s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, " \
                 "{%10, %11, %12, %13};"                                                                              \
                 : "=r"(sums[0]), "=r"(sums[1]), "=r"(sums[2]), "=r"(sums[3])                                         \
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "r"(c0), "r"(c1), "r"(c2), "r"(c3))
// sums (16, 8) = before + a (16, 32) b (32, 8), of whole numbers
template <bool SIGNED>
DEVICE void multiply_16x8x32(i32 (&sums)[4], const i32 (&before)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    if (SIGNED) {
        MULTIPLY_16X8X32("s8", before[0], before[1], before[2], before[3]);
    } else {
        MULTIPLY_16X8X32("u8", before[0], before[1], before[2], before[3]);
    }
}

// Where a lane reads a strip of its two weight rows, and the next ones behind it.
struct StripSource {
    const u8 *quants[2], *header[2];
};

// What a lane reads of a strip. added(half, products, x_scales, sums) is what products with blocks 2 t and 2 t + 1 of x
// add to the sum of row g or g + 8: x_scales are those of the blocks, sums those of x itself.
struct Q4KStrip {
    // Strips under way beside the products of one row, and of several.
    static constexpr u32 AHEAD[2] = {2, 1};
    static constexpr bool SIGNED = false, MINIMA = true;
    words4 quants[2][2], header[2];

    DEVICE_MEMBER static void find(StripSource &source, const u8 *weight, u64 weights, const u64 (&rows)[2], u32 in,
                                   u32 strip) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const u64 block = rows[half] * (in / Q4_K_WEIGHTS) + strip;
            source.quants[half] = q4_k_quants(weight, block) + lane() % 4 * 16;
            source.header[half] = q4_k_header(weight, weights, block);
        }
    }
    DEVICE_MEMBER static void advance(StripSource &source, u32 strips) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            source.quants[half] += strips * (STRIP / 2);
            source.header[half] += strips * 16;
        }
    }
    DEVICE_MEMBER void load(const StripSource &source) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            quants[half][0] = stream16(source.quants[half]);
            quants[half][1] = stream16(source.quants[half] + 64);
            header[half] = ahead16(source.header[half]);
        }
    }
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
    static constexpr u32 AHEAD[2] = {2, 1};
    static constexpr bool SIGNED = true, MINIMA = false;
    words4 quants[2][4];
    u32 scale[2];

    DEVICE_MEMBER static void find(StripSource &source, const u8 *weight, u64 weights, const u64 (&rows)[2], u32 in,
                                   u32 strip) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const u64 first = rows[half] * in + strip * STRIP;
            source.quants[half] = weight + first + lane() % 4 / 2 * 64 + lane() % 2 * 16;
            source.header[half] = weight + weights + first / 32 * 2 + lane() % 4 * 4;
        }
    }
    DEVICE_MEMBER static void advance(StripSource &source, u32 strips) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            source.quants[half] += strips * STRIP;
            source.header[half] += strips * 16;
        }
    }
    DEVICE_MEMBER void load(const StripSource &source) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
#pragma unroll
            for (u32 turn = 0; turn < 4; turn++) {
                quants[half][turn] = stream16(source.quants[half] + turn / 2 * 128 + turn % 2 * 32);
            }
            scale[half] = ahead4(source.header[half]);
        }
    }
    DEVICE_MEMBER words4 weights(u32 half, u32 turn) const { return quants[half][turn]; }
    DEVICE_MEMBER float added(u32 half, i32 first, i32 second, float2 x_scales, float2) const {
        return low(scale[half], f16{}) * x_scales.x * (float)first + high(scale[half], f16{}) * x_scales.y * (float)second;
    }
};

// Quantised rows as a lane sees them: its numbers of the first strip, and the scales and sums that it multiplies with.
struct StripInputs {
    const i8 *values;
    const float *scales, *sums;
    u32 in;

    DEVICE_MEMBER StripInputs(const QuantizedRows &x)
        : values(x.values + lane() / 4 * 32 + lane() % 2 * 16), scales(x.scales + lane() % 4 * 2),
          sums(x.sums + lane() % 4 * 4), in(x.in) {}
};

// sums[row][half] += factor times the lane's part of the product of a strip with rows of x, from `first_row` on. Rows
// beyond the last are the last again.
template <u32 ROWS, typename Strip>
DEVICE void add_strip(const Strip &strip, const StripInputs &x, u32 number, u32 first_row, u32 rows, float factor,
                      float (&sums)[ROWS][2]) {
    const bool holds = lane() / 8 % 2 == lane() % 4 / 2, late = lane() % 4 / 2;
#pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        const u32 x_row = ROWS > 1 ? first_row + smaller(row, rows - 1) : first_row;
        words4 own = {0, 0, 0, 0};
        if (holds) own = load16(x.values + x_row * x.in + number * STRIP);
        i32 products[2][2]; // (half, block)
        // Turns 0 and 2, then 1 and 3: of each two a lane needs one.
#pragma unroll
        for (u32 order = 0; order < 4; order++) {
            const u32 turn = order % 2 * 2 + order / 2;
            const words4 upper = strip.weights(0, turn), lower = strip.weights(1, turn);
            const i32 nothing[4] = {};
            i32 some[4], all[4];
            multiply_16x8x32<Strip::SIGNED>(some, nothing, upper.x, lower.x, upper.y, lower.y, own.x, own.y);
            multiply_16x8x32<Strip::SIGNED>(all, some, upper.z, lower.z, upper.w, lower.w, own.z, own.w);
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                i32 &product = products[half][turn % 2];
                product = turn < 2 || late ? all[2 * half + turn % 2] : product;
            }
        }
        const float2 x_scales = *(const float2 *)(x.scales + x_row * (x.in / 32) + number * 8);
        float2 x_sums = {0.0f, 0.0f};
        if (Strip::MINIMA) {
            const words4 of_16 = load16(x.sums + x_row * (x.in / 16) + number * 16);
            x_sums = float2{from_bits(of_16.x) + from_bits(of_16.y), from_bits(of_16.z) + from_bits(of_16.w)};
        }
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            sums[row][half] += factor * strip.added(half, products[half][0], products[half][1], x_scales, x_sums);
        }
        // One row after the other: together they would need more registers than there are.
        if (ROWS > 1) asm volatile("" ::: "memory");
    }
}

// Where a warp is in its work.
template <typename Work> struct Place {
    const Work &work;
    const u32 alone; // so many tiles are of one warp each
    u32 tile, turns, slot, column, stride;
    u64 rows[2];
    bool present; // whether the warp has a strip in this turn

    DEVICE_MEMBER Place(const Work &work, u32 alone) : work(work), alone(alone) { begin(block() + blocks() * warp()); }
    DEVICE_MEMBER bool shared() const { return tile >= alone; }
    DEVICE_MEMBER bool last_turn() const { return turns == 1; }
    // Whether the next strip is behind this one: so many further.
    DEVICE_MEMBER bool next() {
        if (--turns == 0) {
            if (shared()) {
                enter(tile + blocks());
            } else {
                begin(tile + blocks() * warps());
            }
            return false;
        }
        column += stride;
        if (column < work.strips) return true;
        find();
        return false;
    }

  private:
    // What is left when the warps have had tiles of their own is shared.
    DEVICE_MEMBER void begin(u32 number) { enter(number < alone ? number : alone + block()); }
    DEVICE_MEMBER void enter(u32 number) {
        const u32 strips = work.slots * work.strips;
        tile = number;
        stride = shared() ? warps() : 1;
        turns = shared() ? (strips + warps() - 1) / warps() : strips;
        column = shared() ? warp() : 0;
        slot = 0;
        find();
    }
    DEVICE_MEMBER void find() {
        while (column >= work.strips && slot < work.slots) column -= work.strips, slot++;
        present = tile < work.tiles && slot < work.slots && work.find(tile, slot, rows);
    }
};

// Goes through `work.tiles` tiles of 16 weight rows. Where there are enough for all warps, each takes tiles of its own;
// the warps of a block share a tile of the others, and take its strips in turn. What a warp will read next is under way
// while it multiplies, over the ends of tiles, too.
//
// Work says what it is: tiles; slots, products with a tile that are summed, and strips of each; bool find(tile, slot,
// rows), the two weight rows of this lane, if there are any; x_row(slot) and factor(slot), the first row of x and a
// factor for its products; write(tile, row, place, first, second), for the sums of a row of x with weight rows `place`
// and `place + 8` of the tile. quantize() gives x, when the first strips are under way.
template <typename Strip, u32 ROWS, typename Work, typename Quantize>
DEVICE void multiply_tiles(const u8 *weight, u64 weights, u32 in, u32 rows, const Work &work, Quantize quantize) {
    constexpr u32 AHEAD = Strip::AHEAD[ROWS > 1], MOST_WARPS = 16;
    SHARED float partial[2][MOST_WARPS][ROWS][STRIP_ROWS];
    const u32 together = blocks() * warps(), rest = work.tiles % together;
    const u32 alone = rest * 2 < together ? work.tiles - rest : work.tiles;
    Place<Work> ahead(work, alone), here(work, alone);
    Strip stages[AHEAD];
    StripSource source;
    auto find = [&] {
        if (ahead.present) Strip::find(source, weight, weights, ahead.rows, in, ahead.column);
    };
    auto load = [&](Strip &stage) {
        if (ahead.present) stage.load(source);
        if (ahead.next()) {
            Strip::advance(source, ahead.stride);
        } else {
            find();
        }
    };
    find();
#pragma unroll
    for (u32 depth = 0; depth < AHEAD; depth++) load(stages[depth]);
    const StripInputs x = quantize();
    u32 parity = 0, summer = 0;
    float sums[ROWS][2] = {};
    while (here.tile < work.tiles) {
#pragma unroll
        for (u32 depth = 0; depth < AHEAD; depth++) {
            if (here.tile >= work.tiles) break;
            if (here.present) {
                add_strip<ROWS>(stages[depth], x, here.column, work.x_row(here.slot), rows, work.factor(here.slot), sums);
            }
            load(stages[depth]);
            const bool ends = here.last_turn(), shared = here.shared();
            const u32 tile = here.tile;
            here.next();
            if (!ends) continue;
#pragma unroll
            for (u32 row = 0; row < ROWS; row++) {
                const float first = sum_lanes<4>(sums[row][0]), second = sum_lanes<4>(sums[row][1]);
                sums[row][0] = sums[row][1] = 0.0f;
                if (lane() % 4 != 0) continue;
                if (shared) {
                    partial[parity][warp()][row][lane() / 4] = first;
                    partial[parity][warp()][row][lane() / 4 + 8] = second;
                } else if (row < rows) {
                    work.write(tile, row, lane() / 4, first, second);
                }
            }
            if (!shared) continue;
            // The next tile writes to the other half, the one after it behind the next barrier.
            barrier();
            // Another warp sums up each time: the others go on.
            for (u32 row = (warp() + warps() - summer) % warps(); row < rows; row += warps()) {
                float first = 0.0f, second = 0.0f;
                for (u32 other = lane() % 4; other < warps(); other += 4) {
                    first += partial[parity][other][row][lane() / 4];
                    second += partial[parity][other][row][lane() / 4 + 8];
                }
                first = sum_lanes<4>(first);
                second = sum_lanes<4>(second);
                if (lane() % 4 == 0) work.write(tile, row, lane() / 4, first, second);
            }
            parity ^= 1;
            summer = (summer + ROWS) % warps();
        }
    }
}
#endif
