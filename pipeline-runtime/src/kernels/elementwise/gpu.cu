// Additions, conversions and the gathering of rows.
//
// Any grid: threads go over the elements in strides. Wide accesses where lengths are multiples of 8.

// y = x, from one number format to another
template <typename From, typename To> DEVICE void convert(const From *x, To *y, u64 length) {
    wait_for_producers();
    start_consumers();
    u64 stride = (u64)blocks() * threads(), first = (u64)block() * threads() + thread();
    for (u64 part = first; part < length / 8; part += stride) {
        float values[8];
        load8(x + part * 8, values);
        store8(y + part * 8, values);
    }
    for (u64 index = length / 8 * 8 + first; index < length; index += stride) y[index] = narrow<To>(widen(x[index]));
}

// hidden += x: the residual stream is f32, x is T
template <typename T> DEVICE void add(float *hidden, const T *x, u64 length) {
    wait_for_producers();
    start_consumers();
    u64 stride = (u64)blocks() * threads(), first = (u64)block() * threads() + thread();
    for (u64 part = first; part < length / 8; part += stride) {
        float values[8], added[8];
        load8(hidden + part * 8, values);
        load8(x + part * 8, added);
#pragma unroll
        for (u32 index = 0; index < 8; index++) values[index] += added[index];
        store8(hidden + part * 8, values);
    }
    for (u64 index = length / 8 * 8 + first; index < length; index += stride) hidden[index] += widen(x[index]);
}

// y += bias for every row: y (rows, width) T, bias (width) f32
template <typename T> DEVICE void add_bias(T *y, const float *bias, u32 rows, u32 width) {
    wait_for_producers();
    start_consumers();
    u64 stride = (u64)blocks() * threads(), first = (u64)block() * threads() + thread();
    if (width % 8 == 0) {
        u32 parts = width / 8;
        for (u64 part = first; part < (u64)rows * parts; part += stride) {
            float values[8], added[8];
            load8(y + part * 8, values);
            load8(bias + part % parts * 8, added);
#pragma unroll
            for (u32 index = 0; index < 8; index++) values[index] += added[index];
            store8(y + part * 8, values);
        }
    } else {
        for (u64 index = first; index < (u64)rows * width; index += stride) {
            y[index] = narrow<T>(widen(y[index]) + bias[index % width]);
        }
    }
}

// y[row] = x[indices[row]]: x (x_rows, width), y (rows, width), indices (rows). One block a row of y. An index beyond
// x gives zeros.
template <typename T> DEVICE void select_rows(const T *x, const u32 *indices, T *y, u32 x_rows, u32 width) {
    wait_for_producers();
    start_consumers();
    u32 source = indices[block()];
    bool known = source < x_rows;
    x += known ? (u64)source * width : 0;
    y += (u64)block() * width;
    u32 wide = 16 / sizeof(T);
    if (width % wide == 0) {
        for (u32 index = thread() * wide; index < width; index += threads() * wide) {
            store16(y + index, known ? load16(x + index) : words4{0, 0, 0, 0});
        }
    } else {
        for (u32 index = thread(); index < width; index += threads()) y[index] = known ? x[index] : narrow<T>(0.0f);
    }
}

#define ELEMENTWISE(T, suffix)                                                                                         \
    KERNEL void convert_f32_##suffix(const float *x, T *y, u64 length) { convert(x, y, length); }                     \
    KERNEL void add_##suffix(float *hidden, const T *x, u64 length) { add(hidden, x, length); }                       \
    KERNEL void add_bias_##suffix(T *y, const float *bias, u32 rows, u32 width) { add_bias(y, bias, rows, width); }   \
    KERNEL void select_rows_##suffix(const T *x, const u32 *indices, T *y, u32 x_rows, u32 width) {                   \
        select_rows(x, indices, y, x_rows, width);                                                                     \
    }

FOR_F32(ELEMENTWISE(float, f32))
FOR_BF16(ELEMENTWISE(bf16, bf16))
FOR_F16(ELEMENTWISE(f16, f16))
FOR_F32(KERNEL void convert_bf16_f32(const bf16 *x, float *y, u64 length) { convert(x, y, length); })
FOR_F32(KERNEL void convert_f16_f32(const f16 *x, float *y, u64 length) { convert(x, y, length); })
