// What products of few rows share: what becomes of their sums, and the norm of what they are multiplied with.

constexpr u32 STORE = 0;      // y T = sum + bias
constexpr u32 STORE_F32 = 1;  // y f32 = sum + bias
constexpr u32 ACCUMULATE = 2; // y f32 += sum + bias
constexpr u32 SWIGLU = 3;     // y T = silu(gate sum) * up sum

template <typename T>
DEVICE void finish(float sum, const float *bias, void *y, u32 epilogue, u32 row, u32 output, u32 out) {
    u64 index = (u64)row * out + output;
    if (bias) sum += bias[output];
    if (epilogue == STORE) {
        ((T *)y)[index] = narrow<T>(sum);
    } else if (epilogue == STORE_F32) {
        ((float *)y)[index] = sum;
    } else {
        ((float *)y)[index] += sum;
    }
}

// So many rows are normed side by side, so that enough reads are under way.
constexpr u32 ABREAST = 4;

// One over the root mean square of `count` rows from hidden on, in each thread. Contains a barrier.
template <u32 ROWS>
DEVICE void row_factors(const float *hidden, float epsilon, u32 count, u32 in, float (&factors)[ROWS]) {
    SHARED float partial[ROWS][32];
    float sums[ROWS] = {};
    if (in % 8 == 0) {
        for (u32 index = thread() * 8; index < in; index += threads() * 8) {
            float values[ROWS][8];
#pragma unroll
            for (u32 row = 0; row < ROWS; row++) {
                if (row < count) load8(hidden + (u64)row * in + index, values[row]);
            }
#pragma unroll
            for (u32 row = 0; row < ROWS; row++) {
#pragma unroll
                for (u32 part = 0; part < 8; part++) {
                    if (row < count) sums[row] += values[row][part] * values[row][part];
                }
            }
        }
    } else {
        for (u32 index = thread(); index < in; index += threads()) {
#pragma unroll
            for (u32 row = 0; row < ROWS; row++) {
                float value = row < count ? hidden[(u64)row * in + index] : 0.0f;
                sums[row] += value * value;
            }
        }
    }
#pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        if (row >= count) continue;
        sums[row] = warp_sum(sums[row]);
        if (lane() == 0) partial[row][warp()] = sums[row];
    }
    barrier();
#pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        float total = 0.0f;
        for (u32 index = 0; row < count && index < warps(); index++) total += partial[row][index];
        factors[row] = reciprocal_root(total / (float)in + epsilon);
    }
}

// Writes the RMS norm of hidden (rows, in) f32 to shared memory (rows, stride) T. Ends with a barrier.
template <typename T>
DEVICE void norm_rows(const float *hidden, const float *weight, float epsilon, T *normed, u32 stride, u32 rows, u32 in) {
    for (u32 first = 0; first < rows; first += ABREAST) {
        const float *source = hidden + (u64)first * in;
        T *target = normed + first * stride;
        u32 count = smaller(ABREAST, rows - first);
        float factors[ABREAST];
        row_factors(source, epsilon, count, in, factors);
        if (in % 8 == 0) {
            for (u32 index = thread() * 8; index < in; index += threads() * 8) {
                float values[ABREAST][8], weights[8];
                load8(weight + index, weights);
#pragma unroll
                for (u32 row = 0; row < ABREAST; row++) {
                    if (row < count) load8(source + (u64)row * in + index, values[row]);
                }
#pragma unroll
                for (u32 row = 0; row < ABREAST; row++) {
                    if (row >= count) continue;
#pragma unroll
                    for (u32 part = 0; part < 8; part++) values[row][part] *= factors[row] * weights[part];
                    store8(target + row * stride + index, values[row]);
                }
            }
        } else {
            for (u32 index = thread(); index < in; index += threads()) {
#pragma unroll
                for (u32 row = 0; row < ABREAST; row++) {
                    if (row >= count) continue;
                    float value = source[(u64)row * in + index];
                    target[row * stride + index] = narrow<T>(value * factors[row] * weight[index]);
                }
            }
        }
        barrier();
    }
}

