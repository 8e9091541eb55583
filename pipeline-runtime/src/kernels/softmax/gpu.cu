// Softmax of rows and the logarithms of their sums of exponentials.
//
// x: (rows, width) f32, in place; log_sum_exp: (rows) f32, or null. One block a row. NaN counts as negative infinity
// and infinity as the largest finite number; a row that has nothing but negative infinity becomes zeros, and its
// logarithm is negative infinity.

DEVICE float softmax_value(float value) {
    if (value != value) return -INFINITE;
    return minimum(value, from_bits(0x7f7fffffu));
}

KERNEL void BOUNDS(1024, 1) softmax_f32(float *x, float *log_sum_exp, u32 width) {
    SHARED float highest_scratch[32], sum_scratch[32];
    wait_for_producers();
    start_consumers();
    x += (u64)block() * width;
    // The sum so far is relative to the highest value so far, so that one pass finds both.
    float highest = -INFINITE, sum = 0.0f;
    for (u32 index = thread(); index < width; index += threads()) {
        float value = softmax_value(x[index]);
        if (value > highest) {
            sum *= exponential(highest - value);
            highest = value;
        }
        if (value > -INFINITE) sum += exponential(value - highest);
    }
    float top = block_max(highest, highest_scratch);
    sum = block_sum(highest > -INFINITE ? sum * exponential(highest - top) : 0.0f, sum_scratch);
    if (thread() == 0 && log_sum_exp) log_sum_exp[block()] = top > -INFINITE ? top + logarithm(sum) : -INFINITE;
    float factor = top > -INFINITE ? 1.0f / sum : 0.0f;
    for (u32 index = thread(); index < width; index += threads()) {
        float value = softmax_value(x[index]);
        x[index] = value > -INFINITE ? exponential(value - top) * factor : 0.0f;
    }
}
