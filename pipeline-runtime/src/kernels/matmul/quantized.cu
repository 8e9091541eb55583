// Products of few activation rows and a quantised weight matrix: y = x W^T, and weights back in a dense format.
//
// weight: (out, in) in a format of quantized.cuh, in a multiple of its block; where the epilogue is SWIGLU
// (2, out, in). x, bias, y, epilogue as in the dense products. Activations are quantised by every block, to 8 bits with a
// scale for 32 neighbours; products of a scale are summed as whole numbers, all else in f32.

// What a lane reads of one weight row at once, and its products.
struct Q4K {
    static constexpr u32 PIECE = 32; // weights
    words4 quants, header;

    // Of a weight row, but for scales that lie elsewhere.
    DEVICE_MEMBER static u64 row_bytes(u32 in) { return in / 2; }

    DEVICE_MEMBER void load(const u8 *weight, u64 weights, u64 row, u32 in, u32 piece) {
        const u64 block = row * (in / Q4_K_WEIGHTS) + piece / 8;
        quants = stream16(q4_k_quants(weight, block) + piece % 8 * 16);
        header = ahead16(q4_k_header(weight, weights, block));
    }

    // Rows beyond the last are the last again: no branch keeps them from overlapping.
    template <u32 ROWS> DEVICE_MEMBER void add(const QuantizedRows &x, u32 piece, u32 rows, float (&sums)[ROWS]) const {
        BlockScales scales = q4_k_scales(header, piece % 8 / 2);
#pragma unroll
        for (u32 row = 0; row < ROWS; row++) {
            u32 x_row = smaller(row, rows - 1);
            sums[row] += q4_k_product(quants, scales, piece % 8, x, x_row, piece / 8 * Q4_K_WEIGHTS);
        }
    }
};

struct Q80 {
    static constexpr u32 PIECE = 16;
    words4 quants;
    u16 scale;

    DEVICE_MEMBER static u64 row_bytes(u32 in) { return in; }

    DEVICE_MEMBER void load(const u8 *weight, u64 weights, u64 row, u32 in, u32 piece) {
        quants = stream16(weight + row * in + piece * 16);
        scale = ahead2((const u16 *)(weight + weights) + row * (in / 32) + piece / 2);
    }

    template <u32 ROWS> DEVICE_MEMBER void add(const QuantizedRows &x, u32 piece, u32 rows, float (&sums)[ROWS]) const {
        float wide = widen(f16{scale});
#pragma unroll
        for (u32 row = 0; row < ROWS; row++) {
            sums[row] += q8_0_product(quants, wide, x, smaller(row, rows - 1), piece * 16);
        }
    }
};

// A warp takes two weight rows at a time (with SWIGLU a gate row and its up row), and reads DEPTH pieces of each ahead.
// Any grid.
template <typename Format, typename T, u32 ROWS, bool NORM>
DEVICE void quantized_rows(const u8 *weight, const void *input, const float *norm_weight, float epsilon,
                           const float *bias, void *y, u32 epilogue, u32 rows, u32 in, u32 out) {
    constexpr u32 DEPTH = ROWS > 2 ? 2 : 4;
    DYNAMIC_SHARED(shared);
    bool pair = epilogue == SWIGLU;
    u64 weights = (u64)(pair ? 2 : 1) * out * in;
    u32 tasks = pair ? out : (out + 1) / 2, task = block() * warps() + warp(), step = blocks() * warps();
    u32 pieces = in / Format::PIECE, turns = (pieces + DEPTH * WARP - 1) / (DEPTH * WARP);
    Format ahead[DEPTH][2];
    // Pieces beyond the last are the last again; they are not added.
    auto load = [&](Format(&stage)[2], u32 of_task, u32 place) {
        u32 piece = smaller(place * WARP + lane(), pieces - 1);
        stage[0].load(weight, weights, pair ? of_task : of_task * 2, in, piece);
        stage[1].load(weight, weights, pair ? (u64)out + of_task : smaller(of_task * 2 + 1, out - 1), in, piece);
    };
    // Quantising needs the registers first: until it is done, the second cache takes what is under way.
    if (task < tasks) {
        u64 bytes = Format::row_bytes(in), at = (pair ? task : task * 2) * bytes;
        for (u64 offset = lane() * 128; offset < bytes && offset < WARP * 128 * 2; offset += WARP * 128) {
            prefetch(weight + at + offset);
            if (pair || task * 2 + 1 < out) prefetch(weight + (pair ? at + out * bytes : at + bytes) + offset);
        }
    }
    wait_for_producers();
    start_consumers();
    QuantizedRows x = quantize_rows<T, NORM, ABREAST, 4>(input, norm_weight, epsilon, shared, rows, in);
#pragma unroll
    for (u32 depth = 0; depth < DEPTH; depth++) {
        if (task < tasks) load(ahead[depth], task, depth);
    }
    for (; task < tasks; task += step) {
        float sums[2][ROWS] = {};
        for (u32 turn = 0; turn < turns; turn++) {
            bool last = turn + 1 == turns;
            u32 next_task = last ? task + step : task, next_turn = last ? 0 : turn + 1;
#pragma unroll
            for (u32 depth = 0; depth < DEPTH; depth++) {
                u32 piece = (turn * DEPTH + depth) * WARP + lane();
                if (piece < pieces) {
                    ahead[depth][0].template add<ROWS>(x, piece, rows, sums[0]);
                    ahead[depth][1].template add<ROWS>(x, piece, rows, sums[1]);
                }
                if (next_task < tasks) load(ahead[depth], next_task, next_turn * DEPTH + depth);
            }
        }
#pragma unroll
        for (u32 row = 0; row < ROWS; row++) {
            sums[0][row] = warp_sum(sums[0][row]);
            sums[1][row] = warp_sum(sums[1][row]);
        }
        if (lane() != 0) continue;
#pragma unroll
        for (u32 row = 0; row < ROWS; row++) {
            if (row >= rows) continue;
            if (pair) {
                ((T *)y)[(u64)row * out + task] = narrow<T>(silu(sums[0][row]) * sums[1][row]);
            } else {
                finish<T>(sums[0][row], bias, y, epilogue, row, task * 2, out);
                if (task * 2 + 1 < out) finish<T>(sums[1][row], bias, y, epilogue, row, task * 2 + 1, out);
            }
        }
    }
}

// ---- tensor cores -------------------------------------------------------------------------------------------------

#if STRIPS
// Tiles of 16 weight rows, or with SWIGLU of 8 gate rows and the 8 up rows that belong to them.
template <typename T, bool PAIR> struct ProductTiles {
    static constexpr u32 OUTPUTS = PAIR ? 8 : 16;
    u32 tiles, turns, strips, out, epilogue;
    const float *bias;
    void *y;

    DEVICE_MEMBER bool find(u32 tile, u32 turn, u64 (&rows)[2], u32 &strip) const {
        const u32 first = tile * OUTPUTS + lane() / 4;
        rows[0] = smaller(first, out - 1);
        rows[1] = PAIR ? out + rows[0] : smaller(first + 8, out - 1);
        strip = turn * warps() + warp();
        return strip < strips;
    }
    DEVICE_MEMBER u32 x_row(u32) const { return 0; }
    DEVICE_MEMBER float factor(u32) const { return 1.0f; }
    template <typename Total> DEVICE_MEMBER void write(u32 tile, u32 row, u32 place, Total total) const {
        const u32 output = tile * OUTPUTS + place;
        if (place >= OUTPUTS || output >= out) return;
        if (PAIR) {
            ((T *)y)[(u64)row * out + output] = narrow<T>(silu(total(place)) * total(place + 8));
        } else {
            finish<T>(total(place), bias, y, epilogue, row, output, out);
        }
    }
};

// in is a multiple of 256. Any grid of up to 16 warps.
template <typename Strip, typename T, u32 ROWS, bool NORM, bool PAIR>
DEVICE void quantized_strips(const u8 *weight, const void *input, const float *norm_weight, float epsilon,
                             const float *bias, void *y, u32 epilogue, u32 rows, u32 in, u32 out) {
    DYNAMIC_SHARED(shared);
    typedef ProductTiles<T, PAIR> Tiles;
    const u32 strips = in / STRIP;
    const Tiles work = {(out + Tiles::OUTPUTS - 1) / Tiles::OUTPUTS, (strips + warps() - 1) / warps(), strips, out,
                        epilogue, bias, y};
    multiply_tiles<Strip, ROWS>(weight, (u64)(PAIR ? 2 : 1) * out * in, in, rows, work, [&] {
        wait_for_producers();
        start_consumers();
        return quantize_rows<T, NORM, (ROWS > 1 ? 2 : 1), 2>(input, norm_weight, epsilon, shared, rows, in);
    });
}
#endif

// ---- weights back in a dense format -------------------------------------------------------------------------------

// dense: (blocks * 256) T. Any grid.
template <typename T> DEVICE void dequantize_q4_k(const u8 *weight, T *dense, u64 weight_blocks) {
    wait_for_producers();
    start_consumers();
    u64 stride = (u64)blocks() * threads();
    for (u64 index = (u64)block() * threads() + thread(); index < weight_blocks * 8; index += stride) {
        u32 piece = index % 8;
        u64 weights = weight_blocks * Q4_K_WEIGHTS;
        BlockScales scales = q4_k_scales(load16(q4_k_header(weight, weights, index / 8)), piece / 2);
        words4 quants = load16(q4_k_quants(weight, index / 8) + piece * 16);
        u32 words[4] = {quants.x, quants.y, quants.z, quants.w};
        T *target = dense + index / 8 * Q4_K_WEIGHTS + piece / 2 * 64 + piece % 2 * 16;
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            float values[2][8];
#pragma unroll
            for (u32 place = 0; place < 16; place++) {
                u32 quant = words[place / 4] >> (place % 4 * 8 + half * 4) & 15u;
                values[place / 8][place % 8] = scales.scale[half] * (float)quant - scales.minimum[half];
            }
            store8(target + half * 32, values[0]);
            store8(target + half * 32 + 8, values[1]);
        }
    }
}

// dense: (weights) T, a multiple of 32. Any grid.
template <typename T> DEVICE void dequantize_q8_0(const u8 *weight, T *dense, u64 weights) {
    wait_for_producers();
    start_consumers();
    u64 stride = (u64)blocks() * threads();
    for (u64 index = (u64)block() * threads() + thread(); index < weights / 16; index += stride) {
        words4 quants = load16(weight + index * 16);
        u32 words[4] = {quants.x, quants.y, quants.z, quants.w};
        float scale = widen(f16{((const u16 *)(weight + weights))[index / 2]});
        float values[2][8];
#pragma unroll
        for (u32 place = 0; place < 16; place++) {
            values[place / 8][place % 8] = scale * (float)(i8)(words[place / 4] >> (place % 4 * 8));
        }
        store8(dense + index * 16, values[0]);
        store8(dense + index * 16 + 8, values[1]);
    }
}

#define QUANTIZED_ROWS(Format, name, T, suffix, ROWS, input, NORM)                                                     \
    KERNEL void BOUNDS(256, 2)                                                                                         \
        name##_rows##ROWS##_##input##_##suffix(const u8 *weight, const void *x, const float *norm_weight, float epsilon, \
                                               const float *bias, void *y, u32 epilogue, u32 rows, u32 in, u32 out) {  \
        quantized_rows<Format, T, ROWS, NORM>(weight, x, norm_weight, epsilon, bias, y, epilogue, rows, in, out);      \
    }
#if STRIPS
#define STRIPS_OF(Strip, name, T, suffix, ROWS, input, NORM, end, PAIR)                                                \
    KERNEL void BOUNDS(512, 1)                                                                                         \
        name##_strips##ROWS##_##input##end##_##suffix(const u8 *weight, const void *x, const float *norm_weight,       \
                                                      float epsilon, const float *bias, void *y, u32 epilogue,         \
                                                      u32 rows, u32 in, u32 out) {                                     \
        quantized_strips<Strip, T, ROWS, NORM, PAIR>(weight, x, norm_weight, epsilon, bias, y, epilogue, rows, in,     \
                                                     out);                                                             \
    }
#define STRIPS_OF_ROWS(Strip, name, T, suffix, ROWS)                                                                   \
    STRIPS_OF(Strip, name, T, suffix, ROWS, x, false, , false)                                                         \
    STRIPS_OF(Strip, name, T, suffix, ROWS, hidden, true, , false)                                                     \
    STRIPS_OF(Strip, name, T, suffix, ROWS, x, false, _swiglu, true)                                                   \
    STRIPS_OF(Strip, name, T, suffix, ROWS, hidden, true, _swiglu, true)
#define QUANTIZED_STRIPS(Strip, name, T, suffix)                                                                       \
    STRIPS_OF_ROWS(Strip, name, T, suffix, 1)                                                                          \
    STRIPS_OF_ROWS(Strip, name, T, suffix, 4)
#else
#define QUANTIZED_STRIPS(Strip, name, T, suffix)
#endif
#define QUANTIZED_FEW(Format, name, T, suffix)                                                                         \
    QUANTIZED_ROWS(Format, name, T, suffix, 1, x, false)                                                               \
    QUANTIZED_ROWS(Format, name, T, suffix, 1, hidden, true)                                                           \
    QUANTIZED_ROWS(Format, name, T, suffix, 2, x, false)                                                               \
    QUANTIZED_ROWS(Format, name, T, suffix, 2, hidden, true)                                                           \
    QUANTIZED_ROWS(Format, name, T, suffix, 4, x, false)                                                               \
    QUANTIZED_ROWS(Format, name, T, suffix, 4, hidden, true)
#if STRIPS
// Rows of Q4_K are whole strips.
#define Q4_K_FEW(T, suffix)
#else
#define Q4_K_FEW(T, suffix) QUANTIZED_FEW(Q4K, q4_k, T, suffix)
#endif
#define DEQUANTIZE(name, T, suffix)                                                                                    \
    KERNEL void dequantize_##name##_##suffix(const u8 *weight, T *dense, u64 count) {                                  \
        dequantize_##name(weight, dense, count);                                                                       \
    }
#define QUANTIZED(T, suffix)                                                                                           \
    QUANTIZED_STRIPS(Q4KStrip, q4_k, T, suffix)                                                                        \
    QUANTIZED_STRIPS(Q80Strip, q8_0, T, suffix)                                                                        \
    Q4_K_FEW(T, suffix)                                                                                                \
    QUANTIZED_FEW(Q80, q8_0, T, suffix)                                                                                \
    QUANTIZED_ROWS(Q80, q8_0, T, suffix, 8, x, false)                                                                  \
    QUANTIZED_ROWS(Q80, q8_0, T, suffix, 8, hidden, true)                                                              \
    DEQUANTIZE(q4_k, T, suffix)                                                                                        \
    DEQUANTIZE(q8_0, T, suffix)

FOR_F32(QUANTIZED(float, f32))
FOR_BF16(QUANTIZED(bf16, bf16))
FOR_F16(QUANTIZED(f16, f16))
