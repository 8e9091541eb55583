// Element-wise activations: SiLU, and SiLU times a second operand as in SwiGLU.
//
// Any grid: threads go over the elements in strides. Wide accesses where lengths are multiples of 8.

// y = silu(gate) * up with gate and up the halves of each row: gate_up (rows, 2, width) T, y (rows, width) T
template <typename T> DEVICE void swiglu(const T *gate_up, T *y, u32 rows, u32 width) {
    wait_for_producers();
    start_consumers();
    u64 stride = (u64)blocks() * threads(), first = (u64)block() * threads() + thread();
    if (width % 8 == 0) {
        u32 parts = width / 8;
        for (u64 part = first; part < (u64)rows * parts; part += stride) {
            const T *gate = gate_up + (part / parts) * 2 * width + part % parts * 8;
            float gates[8], ups[8];
            load8(gate, gates);
            load8(gate + width, ups);
#pragma unroll
            for (u32 index = 0; index < 8; index++) gates[index] = silu(gates[index]) * ups[index];
            store8(y + part * 8, gates);
        }
    } else {
        for (u64 index = first; index < (u64)rows * width; index += stride) {
            const T *gate = gate_up + (index / width) * 2 * width + index % width;
            y[index] = narrow<T>(silu(widen(gate[0])) * widen(gate[width]));
        }
    }
}

// x = silu(x)
template <typename T> DEVICE void silu_in_place(T *x, u64 length) {
    wait_for_producers();
    start_consumers();
    u64 stride = (u64)blocks() * threads(), first = (u64)block() * threads() + thread();
    for (u64 part = first; part < length / 8; part += stride) {
        float values[8];
        load8(x + part * 8, values);
#pragma unroll
        for (u32 index = 0; index < 8; index++) values[index] = silu(values[index]);
        store8(x + part * 8, values);
    }
    for (u64 index = length / 8 * 8 + first; index < length; index += stride) x[index] = narrow<T>(silu(widen(x[index])));
}

#define ACTIVATION(T, suffix)                                                                                          \
    KERNEL void swiglu_##suffix(const T *gate_up, T *y, u32 rows, u32 width) { swiglu<T>(gate_up, y, rows, width); }  \
    KERNEL void silu_##suffix(T *x, u64 length) { silu_in_place<T>(x, length); }

FOR_F32(ACTIVATION(float, f32))
FOR_BF16(ACTIVATION(bf16, bf16))
FOR_F16(ACTIVATION(f16, f16))
