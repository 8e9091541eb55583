// Products of few activation rows and a quantised weight matrix: y = x W^T, and weights back in a dense format.
//
// weight: (out, in) in a format of quantized.cuh, in a multiple of its block; where the epilogue is SWIGLU
// (2, out, in). x, bias, y, epilogue as in the dense products. Activations are quantised by every block, to 8 bits with a
// scale for 32 neighbours; products of a scale are summed as whole numbers, all else in f32.

// Quantises x (rows, in) T, or the RMS norm of x f32, to shared memory. Ends with a barrier.
template <typename T, bool NORM>
DEVICE QuantizedRows quantize_rows(const void *input, const float *norm_weight, float epsilon, u8 *shared, u32 rows,
                                   u32 in) {
    i8 *values = (i8 *)shared;
    float *scales = (float *)(shared + rows * in), *sums = scales + rows * (in / 32);
    for (u32 first = 0; first < rows; first += ABREAST) {
        u32 count = smaller(ABREAST, rows - first);
        SHARED float shared_factors[ABREAST];
        if (NORM) {
            float factors[ABREAST];
            row_factors((const float *)input + (u64)first * in, epsilon, count, in, factors);
            if (thread() == 0) {
#pragma unroll
                for (u32 part = 0; part < ABREAST; part++) shared_factors[part] = factors[part];
            }
            barrier();
        }
        // A lane takes 8 neighbours, four lanes share 32: all lanes of a warp stay, for the exchange between them. Four
        // items of a lane are read together.
        constexpr u32 TOGETHER = 4;
        u32 items = in / 8, last = (items + WARP - 1) / WARP * WARP;
#pragma unroll 1
        for (u32 part = 0; part < count; part++) {
            u32 row = first + part;
            float normal = NORM ? shared_factors[part] : 1.0f;
            const T *dense = (const T *)input + (u64)row * in;
            const float *hidden = (const float *)input + (u64)row * in;
#pragma unroll 1
            for (u32 begin = thread(); begin < last; begin += TOGETHER * threads()) {
                float numbers[TOGETHER][8];
#pragma unroll
                for (u32 turn = 0; turn < TOGETHER; turn++) {
                    u32 item = begin + turn * threads();
                    if (item >= items) continue;
                    if (NORM) {
                        load8(hidden + item * 8, numbers[turn]);
                    } else {
                        load8(dense + item * 8, numbers[turn]);
                    }
                }
#pragma unroll
                for (u32 turn = 0; turn < TOGETHER; turn++) {
                    u32 item = begin + turn * threads();
                    if (item >= last) continue;
                    float highest = 0.0f;
                    if (item < items) {
                        if (NORM) {
                            float weights[8];
                            load8(norm_weight + item * 8, weights);
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
                        u32 *target = (u32 *)(values + row * in + item * 8);
                        target[0] = lower;
                        target[1] = upper;
                        if (item % 4 == 0) scales[row * (in / 32) + item / 4] = scale;
                        if (item % 2 == 0) sums[row * (in / 16) + item / 2] = sum;
                    }
                }
            }
        }
        barrier();
    }
    return {values, scales, sums, in};
}

// What a lane reads of one weight row at once, and its products.
struct Q4K {
    static constexpr u32 PIECE = 32; // weights
    words4 quants, header;

    // Of a weight row, but for scales that lie elsewhere.
    DEVICE_MEMBER static u64 row_bytes(u32 in) { return in / Q4_K_WEIGHTS * Q4_K_BYTES; }

    DEVICE_MEMBER void load(const u8 *weight, u64, u64 row, u32 in, u32 piece) {
        const u8 *block = weight + (row * (in / Q4_K_WEIGHTS) + piece / 8) * Q4_K_BYTES;
        quants = stream16(block + 16 + piece % 8 * 16);
        header = ahead16(block);
    }

    // Rows beyond the last are the last again: no branch keeps them from overlapping.
    template <u32 ROWS> DEVICE_MEMBER void add(const QuantizedRows &x, u32 piece, u32 rows, float (&sums)[ROWS]) const {
        Q4KScales scales = q4_k_scales(header, piece % 8 / 2);
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
    QuantizedRows x = quantize_rows<T, NORM>(input, norm_weight, epsilon, shared, rows, in);
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

// ---- weights back in a dense format -------------------------------------------------------------------------------

// dense: (blocks * 256) T. Any grid.
template <typename T> DEVICE void dequantize_q4_k(const u8 *weight, T *dense, u64 weight_blocks) {
    wait_for_producers();
    start_consumers();
    u64 stride = (u64)blocks() * threads();
    for (u64 index = (u64)block() * threads() + thread(); index < weight_blocks * 8; index += stride) {
        const u8 *source = weight + index / 8 * Q4_K_BYTES;
        u32 piece = index % 8;
        Q4KScales scales = q4_k_scales(load16(source), piece / 2);
        words4 quants = load16(source + 16 + piece * 16);
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
#define QUANTIZED_FORMAT(Format, name, T, suffix)                                                                      \
    QUANTIZED_ROWS(Format, name, T, suffix, 1, x, false)                                                               \
    QUANTIZED_ROWS(Format, name, T, suffix, 1, hidden, true)                                                           \
    QUANTIZED_ROWS(Format, name, T, suffix, 2, x, false)                                                               \
    QUANTIZED_ROWS(Format, name, T, suffix, 2, hidden, true)                                                           \
    QUANTIZED_ROWS(Format, name, T, suffix, 4, x, false)                                                               \
    QUANTIZED_ROWS(Format, name, T, suffix, 4, hidden, true)                                                           \
    KERNEL void dequantize_##name##_##suffix(const u8 *weight, T *dense, u64 count) {                                  \
        dequantize_##name(weight, dense, count);                                                                       \
    }
#define QUANTIZED(T, suffix)                                                                                           \
    QUANTIZED_FORMAT(Q4K, q4_k, T, suffix)                                                                             \
    QUANTIZED_FORMAT(Q80, q8_0, T, suffix)                                                                             \
    QUANTIZED_ROWS(Q80, q8_0, T, suffix, 8, x, false)                                                                  \
    QUANTIZED_ROWS(Q80, q8_0, T, suffix, 8, hidden, true)

FOR_F32(QUANTIZED(float, f32))
FOR_BF16(QUANTIZED(bf16, bf16))
FOR_F16(QUANTIZED(f16, f16))
