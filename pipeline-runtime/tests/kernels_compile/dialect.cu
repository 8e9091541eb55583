// Every function of the prelude and of the matrix units, in kernels that use their results.

KERNEL BOUNDS(256, 2) void places(u32 *results, u32 *counter) {
    wait_for_producers();
    u32 place = block() * threads() + thread() + block_y() * blocks() * threads() + block_z() * blocks_y() * blocks();
    results[place] = lane() + warp() * WARP + warps();
    barrier();
    if (thread() == 0) results[atomic_add_in_order(counter, smaller(place, larger(block(), 3u)))] = 0;
    barrier();
    forget_cached();
    start_consumers();
}

template <typename T> DEVICE void convert(const T *numbers, T *results, float *sums) {
    SHARED float scratch[32];
    wait_for_producers();
    u32 place = block() * threads() + thread();
    float value = widen(numbers[place]);
    value = maximum(silu(value), minimum(exponential(value), logarithm(value)));
    value += reciprocal_root(value) + fast_exp2(value) + fast_log2(value);
    float sum = block_sum(value, scratch);
    barrier();
    float most = block_max(value, scratch);
    value = value * sum + most + warp_sum(value) + warp_max(value) + sum_lanes<8>(value) + max_lanes<16>(value);
    value += from_lane(value, 3u) + across(value, 1u) + (float)count_bits(lanes_where(value > 0.0f));
    results[place] = narrow<T>(value == -INFINITE ? 0.0f : value);
    if (thread() == 0) sums[block()] = from_bits(bits(sum) ^ from_lane(bits(most), 0u) ^ across(1u, 2u));
}

KERNEL void convert_f32(const float *numbers, float *results, float *sums) { convert(numbers, results, sums); }
KERNEL void convert_bf16(const bf16 *numbers, bf16 *results, float *sums) { convert(numbers, results, sums); }
KERNEL void convert_f16(const f16 *numbers, f16 *results, float *sums) { convert(numbers, results, sums); }

template <typename T> DEVICE void copies(const words4 *numbers, words4 *results) {
    SHARED words4 rows[256];
    prefetch(numbers + thread());
    wait_for_producers();
    copy16(&rows[thread()], numbers + thread(), thread() != 5);
    copies_commit();
    copies_wait<0>();
    warp_barrier();
    barrier();
    words4 value = rows[(thread() + 1) % 256], other = stream16(numbers + thread());
    value.x = pack<T>(low(value.x, T{}) + low(other.x, T{}), high(value.x, T{}) + high(other.x, T{}));
    value.y ^= load16(numbers).y;
    store16(results + thread(), value);
}

KERNEL void copies_bf16(const words4 *numbers, words4 *results) { copies<bf16>(numbers, results); }
KERNEL void copies_f16(const words4 *numbers, words4 *results) { copies<f16>(numbers, results); }

template <typename T> DEVICE void products(const T *a, const T *b, float *results) {
    operand left, right;
    wait_for_producers();
    for (u32 piece = 0; piece < PIECES; piece++) {
        u32 place = operand_row(piece) * TILE_DEPTH + operand_depth(piece);
        left.piece[piece] = load16(a + place);
        right.piece[piece] = load16(b + place);
    }
    float sums[SUMS] = {};
    multiply<T>(sums, left, right);
    for (u32 index = 0; index < SUMS; index++) results[sum_row(index) * TILE + sum_column(index)] = sums[index];
}

KERNEL void products_bf16(const bf16 *a, const bf16 *b, float *results) { products(a, b, results); }
KERNEL void products_f16(const f16 *a, const f16 *b, float *results) { products(a, b, results); }
