// The router of a mixture of experts: logits = x gate^T, softmax over all experts, the k largest.
//
// A block takes ROUTER_ROWS tokens or one; its threads share the width out in pieces of 8 and take 8 experts at a
// time. The variant for decoding makes x itself, as the RMS norm of the residual stream. At most 1024 experts, k at
// most 32 and no more than the experts, at most 512 threads (router: 256) in whole warps.

#define GROUP 8
#define MOST_EXPERTS 1024

// Sums each of N values over the warp with N - 1 exchanges and a few: a lane ends with that of index summed_index<N>().
template <u32 N, u32 MASK = 1> DEVICE float sum_each(float *values) {
    if constexpr (N > 1) {
        bool upper = lane() & MASK;
#pragma unroll
        for (u32 index = 0; index < N / 2; index++) {
            float given = upper ? values[index] : values[index + N / 2];
            float kept = upper ? values[index + N / 2] : values[index];
            values[index] = kept + across(given, MASK);
        }
        return sum_each<N / 2, 2 * MASK>(values);
    } else if constexpr (MASK < WARP) {
        values[0] += across(values[0], MASK);
        return sum_each<1, 2 * MASK>(values);
    } else {
        return values[0];
    }
}
template <u32 N> DEVICE u32 summed_index() {
    u32 index = 0, mask = 1;
#pragma unroll
    for (u32 half = N / 2; half > 0; half /= 2, mask *= 2) index += lane() & mask ? half : 0;
    return index;
}

// NaN counts as negative infinity, infinity as the largest number.
DEVICE float as_logit(float value) {
    return value != value ? -INFINITE : minimum(value, from_bits(0x7f7fffffu)) + 0.0f;
}

// A number that grows with the logit and, of equal logits, with a lower index.
DEVICE u64 rank_of(float logit, u32 index) {
    u32 raw = bits(logit);
    raw = raw & 0x80000000u ? ~raw : raw | 0x80000000u;
    return (u64)raw << 32 | (u32)~index;
}

// What one warp does with the logits of a token.
DEVICE void choose(const float *logits, u32 experts, u32 k, bool normalize, u32 *chosen, float *weights) {
    float highest = -INFINITE;
    for (u32 index = lane(); index < experts; index += WARP) highest = maximum(highest, as_logit(logits[index]));
    highest = warp_max(highest);
    bool any = highest > -INFINITE;
    float sum = 0.0f;
    for (u32 index = lane(); index < experts; index += WARP) {
        if (any) sum += exponential(as_logit(logits[index]) - highest);
    }
    sum = warp_sum(sum);
    u64 last = ~(u64)0;
    float own = 0.0f, total = 0.0f;
    u32 own_index = 0;
    for (u32 slot = 0; slot < k; slot++) {
        u64 best = 0;
        for (u32 index = lane(); index < experts; index += WARP) {
            u64 rank = rank_of(as_logit(logits[index]), index);
            if (rank < last && rank > best) best = rank;
        }
#pragma unroll
        for (u32 mask = WARP / 2; mask > 0; mask /= 2) {
            u64 other = (u64)across((u32)(best >> 32), mask) << 32 | across((u32)best, mask);
            if (other > best) best = other;
        }
        last = best;
        u32 index = ~(u32)best;
        float probability = any ? exponential(as_logit(logits[index]) - highest) / sum : 0.0f;
        total += probability;
        if (lane() == slot) own = probability, own_index = index;
    }
    if (lane() < k) {
        chosen[lane()] = own_index;
        weights[lane()] = normalize && total > 0.0f ? own / total : own;
    }
}

template <typename T, u32 ROWS, bool NORM>
DEVICE void route(const float *hidden, const float *norm_weight, float epsilon, T *x, const T *gate, u32 rows, u32 width,
                  u32 experts, u32 k, u32 normalize, float *logits, u32 *chosen, float *weights) {
    SHARED float scratch[32 * ROWS * GROUP];
    SHARED float scores[ROWS * MOST_EXPERTS];
    const u32 first_row = block() * ROWS;
    const u32 pieces = (width + 7) / 8;

    // The gate is a weight: its first pieces come while the kernels before this one finish.
    piece<T> gates[GROUP];
#pragma unroll
    for (u32 member = 0; member < GROUP; member++) {
        gates[member] = load_piece(gate + (u64)smaller(member, experts - 1) * width, 8 * thread(), width, true);
    }
    wait_for_producers();
    start_consumers();

    float scale[ROWS];
    if constexpr (NORM) {
#pragma unroll
        for (u32 row = 0; row < ROWS; row++) {
            float squares = 0.0f;
            for (u32 index = thread(); index < pieces; index += threads()) {
                float values[8];
                unpack(load_piece(hidden + (u64)(first_row + row) * width, 8 * index, width, first_row + row < rows),
                       values);
#pragma unroll
                for (u32 i = 0; i < 8; i++) squares += values[i] * values[i];
            }
            scale[row] = reciprocal_root(block_sum(squares, scratch) / (float)width + epsilon);
            barrier();
        }
    }

    for (u32 group = 0; group < experts; group += GROUP) {
        float sums[ROWS * GROUP];
#pragma unroll
        for (u32 index = 0; index < ROWS * GROUP; index++) sums[index] = 0.0f;
        for (u32 index = thread(); index < pieces; index += threads()) {
            float values[ROWS][8];
#pragma unroll
            for (u32 row = 0; row < ROWS; row++) {
                bool present = first_row + row < rows;
                u64 place = (u64)(first_row + row) * width;
                if (NORM && group == 0) {
                    float factors[8];
                    unpack(load_piece(hidden + place, 8 * index, width, present), values[row]);
                    unpack(load_piece(norm_weight, 8 * index, width, true), factors);
                    T narrowed[8];
#pragma unroll
                    for (u32 i = 0; i < 8; i++) {
                        narrowed[i] = narrow<T>(values[row][i] * scale[row] * factors[i]);
                        values[row][i] = widen(narrowed[i]);
                        if (width % 8 != 0 && present && 8 * index + i < width) x[place + 8 * index + i] = narrowed[i];
                    }
                    if (width % 8 == 0 && present) {
#pragma unroll
                        for (u32 part = 0; part < sizeof(T) / 2; part++) {
                            constexpr u32 EACH = 16 / sizeof(T), PER_WORD = 4 / sizeof(T);
                            u32 words[4] = {0, 0, 0, 0};
#pragma unroll
                            for (u32 i = 0; i < EACH; i++) {
                                words[i / PER_WORD] |= raw_bits(narrowed[part * EACH + i]) << (i % PER_WORD * 16);
                            }
                            store16(x + place + 8 * index + part * EACH, words4{words[0], words[1], words[2], words[3]});
                        }
                    }
                } else {
                    unpack(load_piece(x + place, 8 * index, width, present), values[row]);
                }
            }
#pragma unroll
            for (u32 member = 0; member < GROUP; member++) {
                float factors[8];
                unpack(gates[member], factors);
#pragma unroll
                for (u32 row = 0; row < ROWS; row++) {
#pragma unroll
                    for (u32 i = 0; i < 8; i++) sums[row * GROUP + member] += values[row][i] * factors[i];
                }
            }
            u32 next = index + threads(), next_group = group;
            if (next >= pieces) next = thread(), next_group = group + GROUP;
            if (next_group < experts) {
#pragma unroll
                for (u32 member = 0; member < GROUP; member++) {
                    u32 expert = smaller(next_group + member, experts - 1);
                    gates[member] = load_piece(gate + (u64)expert * width, 8 * next, width, true);
                }
            }
        }
        float sum = sum_each<ROWS * GROUP>(sums);
        if (lane() < ROWS * GROUP) scratch[warp() * ROWS * GROUP + summed_index<ROWS * GROUP>()] = sum;
        barrier();
        for (u32 index = thread(); index < ROWS * GROUP; index += threads()) {
            float total = 0.0f;
            for (u32 part = 0; part < warps(); part++) total += scratch[part * ROWS * GROUP + index];
            u32 row = index / GROUP, expert = group + index % GROUP;
            if (expert < experts) {
                scores[row * MOST_EXPERTS + expert] = total;
                if (first_row + row < rows) logits[(u64)(first_row + row) * experts + expert] = total;
            }
        }
        barrier();
    }
    for (u32 row = warp(); row < ROWS; row += warps()) {
        u64 place = (u64)(first_row + row) * k;
        if (first_row + row < rows) {
            choose(scores + row * MOST_EXPERTS, experts, k, normalize, chosen + place, weights + place);
        }
    }
}

// x: T (rows, width); gate: T (experts, width); logits: (rows, experts); chosen, weights: (rows, k).
// rms_norm_router also: hidden (rows, width); norm_weight: f32 (width); x is written, the norm of hidden.
// Grids: router, one block for each 4 rows; router_row and rms_norm_router, one for each row.
#define ROUTER(T, NAME)                                                                                               \
    KERNEL void BOUNDS(256, 2) router_##NAME(T *x, const T *gate, u32 rows, u32 width, u32 experts, u32 k,            \
                                             u32 normalize, float *logits, u32 *chosen, float *weights) {             \
        route<T, 4, false>(0, 0, 0.0f, x, gate, rows, width, experts, k, normalize, logits, chosen, weights);         \
    }                                                                                                                 \
    KERNEL void BOUNDS(512, 1)  router_row_##NAME(T *x, const T *gate, u32 rows, u32 width, u32 experts, u32 k,       \
                                                  u32 normalize, float *logits, u32 *chosen, float *weights) {        \
        route<T, 1, false>(0, 0, 0.0f, x, gate, rows, width, experts, k, normalize, logits, chosen, weights);         \
    }                                                                                                                 \
    KERNEL void BOUNDS(512, 1)                                                                                        \
        rms_norm_router_##NAME(const float *hidden, const float *norm_weight, float epsilon, T *x, const T *gate,         \
                               u32 rows, u32 width, u32 experts, u32 k, u32 normalize, float *logits, u32 *chosen,    \
                               float *weights) {                                                                      \
        route<T, 1, true>(hidden, norm_weight, epsilon, x, gate, rows, width, experts, k, normalize, logits, chosen,  \
                          weights);                                                                                   \
    }

FOR_F32(ROUTER(float, f32))
FOR_BF16(ROUTER(bf16, bf16))
FOR_F16(ROUTER(f16, f16))
