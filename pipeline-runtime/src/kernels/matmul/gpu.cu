// Products of few activation rows and a weight matrix: y = x W^T, bound by reading the weights once.
//
// weight: (out, in) T; where the epilogue is SWIGLU (2, out, in), gate rows then up rows. x: (rows, in) T, rows 1 to 16;
// in the kernels named `hidden` x is the RMS norm of (rows, in) f32 instead, computed by every block, which spares a
// decoding step the launch of a norm. bias: (out) f32 or null. y: (rows, out), T or f32 by epilogue. Sums in f32.
//
// Weights are asked for before the kernels before this one have finished: the memory is never idle between two products.

// ---- any chip, any format, any size -----------------------------------------------------------------------------

// The sums of a warp: OUTPUTS weight rows with ROWS rows of x.
template <typename T, u32 OUTPUTS, u32 ROWS>
DEVICE void dot_rows(const T *const (&weights)[OUTPUTS], const T *x, u32 stride, u32 rows, u32 in,
                     float (&sums)[OUTPUTS][ROWS]) {
    if (in % 8 == 0 && stride % 8 == 0) {
        for (u32 k = lane() * 8; k < in; k += WARP * 8) {
            float w[OUTPUTS][8];
#pragma unroll
            for (u32 output = 0; output < OUTPUTS; output++) load8(weights[output] + k, w[output]);
#pragma unroll
            for (u32 row = 0; row < ROWS; row++) {
                float values[8] = {};
                if (row < rows) load8(x + row * stride + k, values);
#pragma unroll
                for (u32 output = 0; output < OUTPUTS; output++) {
#pragma unroll
                    for (u32 part = 0; part < 8; part++) sums[output][row] += w[output][part] * values[part];
                }
            }
        }
    } else {
        for (u32 k = lane(); k < in; k += WARP) {
#pragma unroll
            for (u32 row = 0; row < ROWS; row++) {
                float value = row < rows ? widen(x[row * stride + k]) : 0.0f;
#pragma unroll
                for (u32 output = 0; output < OUTPUTS; output++) sums[output][row] += widen(weights[output][k]) * value;
            }
        }
    }
}

// A warp takes OUTPUTS weight rows at a time; with SWIGLU half of them are gate rows and half the up rows that belong
// to them. Any grid.
template <typename T, u32 ROWS, bool NORM>
DEVICE void warp_rows(const T *weight, const void *input, const float *norm_weight, float epsilon, const float *bias,
                      void *y, u32 epilogue, u32 rows, u32 in, u32 out) {
    constexpr u32 OUTPUTS = ROWS > 4 ? 2 : 4;
    DYNAMIC_SHARED(shared);
    u32 at_once = epilogue == SWIGLU ? OUTPUTS / 2 : OUTPUTS;
    u32 first_output = (block() * warps() + warp()) * at_once, step = blocks() * warps() * at_once;
    if (first_output < out) {
        for (u32 index = lane() * (128 / sizeof(T)); index < in; index += WARP * (128 / sizeof(T))) {
            prefetch(weight + (u64)first_output * in + index);
        }
    }
    wait_for_producers();
    start_consumers();
    const T *x = (const T *)input;
    u32 stride = in;
    if (NORM) {
        stride = (in + 7) / 8 * 8;
        norm_rows((const float *)input, norm_weight, epsilon, (T *)shared, stride, rows, in);
        x = (const T *)shared;
    }
    for (; first_output < out; first_output += step) {
        const T *weights[OUTPUTS];
#pragma unroll
        for (u32 index = 0; index < OUTPUTS; index++) {
            // Rows beyond the last are the last again, and not written.
            u64 up = epilogue == SWIGLU && index >= OUTPUTS / 2 ? out : 0;
            u32 output = smaller(first_output + (epilogue == SWIGLU ? index % (OUTPUTS / 2) : index), out - 1);
            weights[index] = weight + (up + output) * in;
        }
        float sums[OUTPUTS][ROWS] = {};
        dot_rows<T, OUTPUTS, ROWS>(weights, x, stride, rows, in, sums);
#pragma unroll
        for (u32 index = 0; index < OUTPUTS; index++) {
#pragma unroll
            for (u32 row = 0; row < ROWS; row++) sums[index][row] = warp_sum(sums[index][row]);
        }
        if (lane() != 0) continue;
#pragma unroll
        for (u32 index = 0; index < OUTPUTS; index++) {
            u32 output = first_output + index;
#pragma unroll
            for (u32 row = 0; row < ROWS; row++) {
                if (row >= rows || output >= out) continue;
                if (epilogue != SWIGLU) {
                    finish<T>(sums[index][row], bias, y, epilogue, row, output, out);
                } else if (index < OUTPUTS / 2) {
                    float activated = silu(sums[index][row]) * sums[(index + OUTPUTS / 2) % OUTPUTS][row];
                    ((T *)y)[(u64)row * out + output] = narrow<T>(activated);
                }
            }
        }
    }
}

#define WARP_ROWS_OF(T, suffix, ROWS)                                                                                  \
    KERNEL void BOUNDS(256, 1)                                                                                         \
        warp_rows##ROWS##_x_##suffix(const T *weight, const void *x, const float *norm_weight, float epsilon,          \
                                     const float *bias, void *y, u32 epilogue, u32 rows, u32 in, u32 out) {            \
        warp_rows<T, ROWS, false>(weight, x, norm_weight, epsilon, bias, y, epilogue, rows, in, out);                  \
    }                                                                                                                  \
    KERNEL void BOUNDS(256, 1)                                                                                         \
        warp_rows##ROWS##_hidden_##suffix(const T *weight, const void *x, const float *norm_weight, float epsilon,     \
                                          const float *bias, void *y, u32 epilogue, u32 rows, u32 in, u32 out) {       \
        warp_rows<T, ROWS, true>(weight, x, norm_weight, epsilon, bias, y, epilogue, rows, in, out);                   \
    }
#define WARP_ROWS(T, suffix)                                                                                           \
    WARP_ROWS_OF(T, suffix, 1)                                                                                         \
    WARP_ROWS_OF(T, suffix, 4)                                                                                         \
    WARP_ROWS_OF(T, suffix, 16)

FOR_F32(WARP_ROWS(float, f32))
FOR_BF16(WARP_ROWS(bf16, bf16))
FOR_F16(WARP_ROWS(f16, f16))

// ---- 16-bit formats on tensor cores -----------------------------------------------------------------------------

#if !AMD && __CUDA_ARCH__ >= 800

// Warps split the sums' length, so that each activation is read once by a block; weights go from memory straight into
// the registers that the tensor cores read: lane 4 g + t holds 8 neighbouring elements of weight rows g and g + 8 and
// of activation row g. Which element is multiplied in which place of the instruction does not matter as long as it is
// the same for both operands.
constexpr u32 SPLIT = 8;
constexpr u32 AHEAD = 3; // steps under way
constexpr u32 STEP = 64; // elements of the sums in a step: a cache line of each weight row

// The weights of one step of a warp: 4 groups of 8 weight rows, 2 parts of 32 elements.
struct TileWeights {
    words4 words[4][2];
};

// Where a warp reads its weights: a pass is up to 32 weight rows, or 16 gate rows and the 16 up rows that belong to
// them, over the whole length of the sums.
template <typename T, bool PAIR> struct TileCursor {
    const T *weight;
    u32 begin, end, share, in, out;
    u32 pass, round, rounds;
    u64 offsets[4];
    u32 groups; // how many of the 4 groups have rows

    DEVICE_MEMBER void start_pass() {
        u32 first = begin + pass * share;
        u32 count = first < end ? smaller(share, end - first) : 0;
        groups = (count + 7) / 8;
#pragma unroll
        for (u32 group = 0; group < 4; group++) {
            // Rows beyond the last are the last again: the same addresses, so nothing more is read.
            u32 row = first + smaller((PAIR ? group % 2 : group) * 8 + lane() / 4, larger(count, 1) - 1);
            offsets[group] = ((u64)(PAIR && group >= 2 ? out : 0) + row) * in + lane() % 4 * 8;
        }
    }

    // Element where the step begins.
    DEVICE_MEMBER u32 place() const { return (round * SPLIT + warp()) * STEP; }

    DEVICE_MEMBER void load(TileWeights &stage) const {
        u32 k = place();
#pragma unroll
        for (u32 group = 0; group < 4; group++) {
            bool present = k < in && (PAIR ? group % 2 : group) < groups;
#pragma unroll
            for (u32 part = 0; part < 2; part++) {
                stage.words[group][part] = stream16_if(weight + offsets[group] + k + part * 32, present);
            }
        }
    }

    DEVICE_MEMBER void advance() {
        if (++round == rounds) {
            round = 0;
            pass++;
            start_pass();
        }
    }
};

template <typename T, u32 OCTETS, bool NORM, bool PAIR>
DEVICE void tile_rows(const T *weight, const void *input, const float *norm_weight, float epsilon, const float *bias,
                      void *y, u32 epilogue, u32 rows, u32 in, u32 out) {
    DYNAMIC_SHARED(shared);
    // A stride of 36 puts what the lanes of a warp write at once into different banks.
    SHARED float partial[2][SPLIT][OCTETS * 8][36];
    constexpr u32 PASS_OUTPUTS = PAIR ? 16 : 32;
    TileCursor<T, PAIR> cursor;
    cursor.weight = weight, cursor.in = in, cursor.out = out;
    u32 begin = (u32)((u64)block() * out / blocks()), end = (u32)((u64)(block() + 1) * out / blocks());
    u32 passes = (end - begin + PASS_OUTPUTS - 1) / PASS_OUTPUTS;
    u32 share = passes > 0 ? (end - begin + passes - 1) / passes : 0;
    u32 warp_steps = (in / STEP + SPLIT - 1) / SPLIT;
    u32 rounds = (warp_steps + AHEAD - 1) / AHEAD * AHEAD;
    cursor.begin = begin, cursor.end = end, cursor.share = share, cursor.rounds = rounds;
    cursor.pass = 0, cursor.round = 0;
    cursor.start_pass();

    TileWeights stages[AHEAD];
    words4 columns[AHEAD][OCTETS][2];
    u32 places[AHEAD];
#pragma unroll
    for (u32 depth = 0; depth < AHEAD; depth++) {
        cursor.load(stages[depth]);
        places[depth] = cursor.place();
        cursor.advance();
    }
    wait_for_producers();
    start_consumers();

    const T *x = (const T *)input;
    u32 stride = in;
    if (NORM) {
        stride = in + 32;
        x = (const T *)shared;
        norm_rows((const float *)input, norm_weight, epsilon, (T *)shared, stride, rows, in);
    }
    auto load_columns = [&](words4(&target)[OCTETS][2], u32 k) {
#pragma unroll
        for (u32 octet = 0; octet < OCTETS; octet++) {
            u32 row = octet * 8 + lane() / 4;
#pragma unroll
            for (u32 part = 0; part < 2; part++) {
                target[octet][part] = words4{0, 0, 0, 0};
                if (row < rows && k < in) target[octet][part] = load16(x + row * stride + k + part * 32 + lane() % 4 * 8);
            }
        }
    };
    if (!NORM) {
#pragma unroll
        for (u32 depth = 0; depth < AHEAD; depth++) load_columns(columns[depth], places[depth]);
    }

    for (u32 pass = 0; pass < passes; pass++) {
        float sums[2][OCTETS][4] = {};
        for (u32 round = 0; round < rounds; round += AHEAD) {
#pragma unroll
            for (u32 depth = 0; depth < AHEAD; depth++) {
                TileWeights &stage = stages[depth];
                if (NORM) load_columns(columns[depth], places[depth]);
#pragma unroll
                for (u32 part = 0; part < 2; part++) {
#pragma unroll
                    for (u32 octet = 0; octet < OCTETS; octet++) {
                        words4 column = columns[depth][octet][part];
#pragma unroll
                        for (u32 tile = 0; tile < 2; tile++) {
                            words4 upper = stage.words[tile * 2][part], lower = stage.words[tile * 2 + 1][part];
                            float(&of_tile)[4] = sums[tile][octet];
                            const u32 first[4] = {upper.x, lower.x, upper.y, lower.y};
                            const u32 second[4] = {upper.z, lower.z, upper.w, lower.w};
                            multiply_add(of_tile, first, column.x, column.y, T{});
                            multiply_add(of_tile, second, column.z, column.w, T{});
                        }
                    }
                }
                cursor.load(stage);
                places[depth] = cursor.place();
                if (!NORM) load_columns(columns[depth], places[depth]);
                cursor.advance();
            }
        }
#pragma unroll
        for (u32 octet = 0; octet < OCTETS; octet++) {
            u32 row = octet * 8 + lane() % 4 * 2;
#pragma unroll
            for (u32 index = 0; index < 4; index++) {
#pragma unroll
                for (u32 tile = 0; tile < 2; tile++) {
                    if (row + index % 2 < rows) {
                        partial[pass % 2][warp()][row + index % 2][tile * 16 + index / 2 * 8 + lane() / 4] =
                            sums[tile][octet][index];
                    }
                }
            }
        }
        // The next pass writes to the other half, the one after it behind the next barrier.
        barrier();
        u32 first = begin + pass * share, count = smaller(share, end - first);
        for (u32 index = thread(); index < rows * 32; index += SPLIT * WARP) {
            u32 row = index / 32, place = index % 32;
            if (place >= count) continue;
            float sum = 0.0f, up = 0.0f;
#pragma unroll
            for (u32 part = 0; part < SPLIT; part++) {
                sum += partial[pass % 2][part][row][place];
                if (PAIR) up += partial[pass % 2][part][row][(place + 16) % 32];
            }
            if (PAIR) {
                ((T *)y)[(u64)row * out + first + place] = narrow<T>(silu(sum) * up);
            } else {
                finish<T>(sum, bias, y, epilogue, row, first + place, out);
            }
        }
    }
}

#define TILE_ROWS_OF(T, suffix, name, OCTETS, NORM, PAIR)                                                              \
    KERNEL void BOUNDS(SPLIT * WARP, 1)                                                         \
        tile_rows##name##_##suffix(const T *weight, const void *x, const float *norm_weight, float epsilon,            \
                                   const float *bias, void *y, u32 epilogue, u32 rows, u32 in, u32 out) {              \
        tile_rows<T, OCTETS, NORM, PAIR>(weight, x, norm_weight, epsilon, bias, y, epilogue, rows, in, out);           \
    }
#define TILE_ROWS(T, suffix)                                                                                           \
    TILE_ROWS_OF(T, suffix, 8_x, 1, false, false)                                                                      \
    TILE_ROWS_OF(T, suffix, 8_hidden, 1, true, false)                                                                  \
    TILE_ROWS_OF(T, suffix, 8_x_swiglu, 1, false, true)                                                                \
    TILE_ROWS_OF(T, suffix, 8_hidden_swiglu, 1, true, true)                                                            \
    TILE_ROWS_OF(T, suffix, 16_x, 2, false, false)                                                                     \
    TILE_ROWS_OF(T, suffix, 16_hidden, 2, true, false)                                                                 \
    TILE_ROWS_OF(T, suffix, 16_x_swiglu, 2, false, true)                                                               \
    TILE_ROWS_OF(T, suffix, 16_hidden_swiglu, 2, true, true)

FOR_BF16(TILE_ROWS(bf16, bf16))
FOR_F16(TILE_ROWS(f16, f16))

#endif
