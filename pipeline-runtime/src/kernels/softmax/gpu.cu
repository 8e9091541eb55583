// Softmax of rows and the logarithms of their sums of exponentials.
//
// x: (rows, width) f32, in place; log_sum_exp: (rows) f32, or null. One block a row. NaN counts as negative infinity
// and infinity as the largest finite number; a row that has nothing but negative infinity becomes zeros, and its
// logarithm is negative infinity.

DEVICE float softmax_value(float value) {
    if (value != value) return -INFINITE;
    return minimum(value, from_bits(0x7f7fffffu));
}

// COUNT neighbours: 1, or 4 from a multiple of 16 bytes on.
template <u32 COUNT> DEVICE void load_values(const float *x, float (&values)[COUNT]) {
    if constexpr (COUNT == 4) {
        words4 words = load16(x);
        values[0] = from_bits(words.x), values[1] = from_bits(words.y);
        values[2] = from_bits(words.z), values[3] = from_bits(words.w);
    } else {
        values[0] = *x;
    }
#pragma unroll
    for (u32 i = 0; i < COUNT; i++) values[i] = softmax_value(values[i]);
}

template <u32 COUNT> DEVICE void softmax_row(float *x, float *log_sum_exp, u32 width) {
    SHARED float highest_scratch[32], sum_scratch[32];
    const u32 first = thread() * COUNT, step = threads() * COUNT;
    // The sum so far is relative to the highest value so far, so that one pass finds both.
    float highest = -INFINITE, sum = 0.0f;
#pragma unroll 2
    for (u32 index = first; index < width; index += step) {
        float values[COUNT];
        load_values(x + index, values);
        float own = values[0];
#pragma unroll
        for (u32 i = 1; i < COUNT; i++) own = maximum(own, values[i]);
        if (own > highest) {
            sum *= exponential(highest - own);
            highest = own;
        }
        if (highest == -INFINITE) continue;
#pragma unroll
        for (u32 i = 0; i < COUNT; i++) sum += exponential(values[i] - highest);
    }
    float top = block_max(highest, highest_scratch);
    sum = block_sum(highest > -INFINITE ? sum * exponential(highest - top) : 0.0f, sum_scratch);
    if (thread() == 0 && log_sum_exp) *log_sum_exp = top > -INFINITE ? top + logarithm(sum) : -INFINITE;
    float factor = top > -INFINITE ? 1.0f / sum : 0.0f;
#pragma unroll 2
    for (u32 index = first; index < width; index += step) {
        float values[COUNT];
        load_values(x + index, values);
#pragma unroll
        for (u32 i = 0; i < COUNT; i++) {
            values[i] = values[i] > -INFINITE ? exponential(values[i] - top) * factor : 0.0f;
        }
        if constexpr (COUNT == 4) {
            store16(x + index, words4{bits(values[0]), bits(values[1]), bits(values[2]), bits(values[3])});
        } else {
            x[index] = values[0];
        }
    }
}

KERNEL void BOUNDS(1024, 2) softmax_f32(float *x, float *log_sum_exp, u32 width) {
    wait_for_producers();
    start_consumers();
    x += (u64)block() * width;
    if (log_sum_exp) log_sum_exp += block();
    if (width % 4 == 0) {
        softmax_row<4>(x, log_sum_exp, width);
    } else {
        softmax_row<1>(x, log_sum_exp, width);
    }
}
