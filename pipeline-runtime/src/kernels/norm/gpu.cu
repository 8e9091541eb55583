// Root mean square normalisation of rows, alone and behind a residual addition.
//
// One block a row, threads a multiple of WARP up to 1024. Sums in f32. hidden is (rows, width) f32, weight (width) f32,
// y (rows, width) T. Wide accesses are used where width is a multiple of 8.

// What every thread of the block needs to scale its elements with.
DEVICE float inverse_root_mean_square(float sum, u32 width, float epsilon, float *scratch) {
    return reciprocal_root(block_sum(sum, scratch) / (float)width + epsilon);
}

template <typename T>
DEVICE void scale_row(const float *hidden, const float *weight, T *y, u32 width, float factor) {
    if (width % 8 == 0) {
        for (u32 index = thread() * 8; index < width; index += threads() * 8) {
            float values[8], weights[8];
            load8(hidden + index, values);
            load8(weight + index, weights);
#pragma unroll
            for (u32 part = 0; part < 8; part++) values[part] = values[part] * factor * weights[part];
            store8(y + index, values);
        }
    } else {
        for (u32 index = thread(); index < width; index += threads()) {
            y[index] = narrow<T>(hidden[index] * factor * weight[index]);
        }
    }
}

// y = hidden / sqrt(mean(hidden^2) + epsilon) * weight
template <typename T>
DEVICE void rms_norm(const float *hidden, const float *weight, T *y, u32 width, float epsilon) {
    SHARED float scratch[32];
    wait_for_producers();
    start_consumers();
    hidden += (u64)block() * width;
    y += (u64)block() * width;
    float sum = 0.0f;
    if (width % 8 == 0) {
        for (u32 index = thread() * 8; index < width; index += threads() * 8) {
            float values[8];
            load8(hidden + index, values);
#pragma unroll
            for (u32 part = 0; part < 8; part++) sum += values[part] * values[part];
        }
    } else {
        for (u32 index = thread(); index < width; index += threads()) sum += hidden[index] * hidden[index];
    }
    scale_row(hidden, weight, y, width, inverse_root_mean_square(sum, width, epsilon, scratch));
}

// hidden += x, then y = rms_norm(hidden): what stands between two blocks of a transformer. x: (rows, width) T
template <typename T>
DEVICE void add_rms_norm(float *hidden, const T *x, const float *weight, T *y, u32 width, float epsilon) {
    SHARED float scratch[32];
    wait_for_producers();
    start_consumers();
    hidden += (u64)block() * width;
    x += (u64)block() * width;
    y += (u64)block() * width;
    float sum = 0.0f;
    if (width % 8 == 0) {
        for (u32 index = thread() * 8; index < width; index += threads() * 8) {
            float values[8], added[8];
            load8(hidden + index, values);
            load8(x + index, added);
#pragma unroll
            for (u32 part = 0; part < 8; part++) {
                values[part] += added[part];
                sum += values[part] * values[part];
            }
            store8(hidden + index, values);
        }
    } else {
        for (u32 index = thread(); index < width; index += threads()) {
            float total = hidden[index] + widen(x[index]);
            hidden[index] = total;
            sum += total * total;
        }
    }
    // Each thread reads back what it wrote itself.
    scale_row(hidden, weight, y, width, inverse_root_mean_square(sum, width, epsilon, scratch));
}

#define NORM(T, suffix)                                                                                               \
    KERNEL void BOUNDS(1024, 1)                                                                                        \
        rms_norm_##suffix(const float *hidden, const float *weight, T *y, u32 width, float epsilon) {                  \
        rms_norm<T>(hidden, weight, y, width, epsilon);                                                                \
    }                                                                                                                  \
    KERNEL void BOUNDS(1024, 1)                                                                                        \
        add_rms_norm_##suffix(float *hidden, const T *x, const float *weight, T *y, u32 width, float epsilon) {        \
        add_rms_norm<T>(hidden, x, weight, y, width, epsilon);                                                         \
    }

FOR_F32(NORM(float, f32))
FOR_BF16(NORM(bf16, bf16))
FOR_F16(NORM(f16, f16))
