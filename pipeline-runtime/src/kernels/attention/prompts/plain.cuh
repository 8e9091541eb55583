// Prompts on any chip, in any format, head_dim up to DEPTH.

#define PLAIN_KEYS 32u

template <u32 DEPTH> struct PlainPrompt {
    static constexpr u32 rows = DEPTH > 128 ? 1 : 4; // of a thread; AMD's chips have 64 KB a block
    static constexpr u32 queries = 16 * rows;
    static constexpr u32 stride = DEPTH + 4;
    float query[queries][stride], other[PLAIN_KEYS][stride], weights[queries][PLAIN_KEYS + 1];
};

// 16 x 16 threads: thread (y, x) has rows y * rows.., the keys x and x + 16, and every sixteenth four elements.
template <u32 COUNT, u32 DEPTH, typename T> DEVICE void prefill_plain(T *output, const T *query, const Prompt &prompt) {
    typedef PlainPrompt<DEPTH> Shared;
    constexpr u32 ROWS = Shared::rows, PIECES = DEPTH / 64;
    Shared &shared = *(Shared *)launch_shared();
    Queries own;
    if (!find_queries(prompt, block_y(), Shared::queries, own)) return;
    const u32 head = block(), kv_head = prompt.kv_head(head), head_dim = prompt.cache.head_dim;
    const u32 slot = own.sequence.slot, x = thread() % 16, y = thread() / 16;

    for (u32 i = thread(); i < Shared::queries * (DEPTH / COUNT); i += 256) {
        u32 row = i / (DEPTH / COUNT), element = i % (DEPTH / COUNT) * COUNT;
        float values[COUNT] = {};
        if (row < own.count && element < head_dim) {
            load_floats(query + (own.row(row) * prompt.heads + head) * head_dim + element, values);
        }
#pragma unroll
        for (u32 j = 0; j < COUNT; j++) shared.query[row][element + j] = values[j];
    }
    const u32 begin = prompt.first_key(own.position(0)), end = own.position(own.count - 1) + 1;
    auto fetch = [&](u32 first, u32 part) {
        for (u32 i = thread(); i < PLAIN_KEYS * (DEPTH / COUNT); i += 256) {
            u32 token = i / (DEPTH / COUNT), element = i % (DEPTH / COUNT) * COUNT, key = first + token;
            float values[COUNT] = {};
            if (key >= begin && key < end && element < head_dim) {
                const T *tile = prompt.cache.tile<T>(slot, key / PAGE, part, kv_head);
                load_floats(tile + place<T>(key % PAGE, element, head_dim), values);
            }
#pragma unroll
            for (u32 j = 0; j < COUNT; j++) shared.other[token][element + j] = values[j];
        }
    };

    float sums[ROWS][PIECES][4] = {}, tops[ROWS], totals[ROWS];
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
        tops[r] = -INFINITE;
        totals[r] = 0.0f;
    }
    for (u32 first = begin / PLAIN_KEYS * PLAIN_KEYS; first < end; first += PLAIN_KEYS) {
        barrier();
        fetch(first, 0);
        barrier();
        float scores[ROWS][2] = {};
        for (u32 i = 0; i < DEPTH; i += 4) {
            float keys[2][4];
            load_floats(&shared.other[x][i], keys[0]);
            load_floats(&shared.other[x + 16][i], keys[1]);
#pragma unroll
            for (u32 r = 0; r < ROWS; r++) {
                float values[4];
                load_floats(&shared.query[y * ROWS + r][i], values);
#pragma unroll
                for (u32 k = 0; k < 2; k++) {
#pragma unroll
                    for (u32 j = 0; j < 4; j++) scores[r][k] += values[j] * keys[k][j];
                }
            }
        }
#pragma unroll
        for (u32 r = 0; r < ROWS; r++) {
            u32 row = y * ROWS + r;
#pragma unroll
            for (u32 k = 0; k < 2; k++) {
                bool seen = row < own.count && prompt.sees(own.position(row), slot, first + x + 16 * k);
                scores[r][k] = seen ? scores[r][k] * prompt.scale : -INFINITE;
            }
            float highest = maximum(tops[r], max_lanes<16>(maximum(scores[r][0], scores[r][1])));
            float base = highest == -INFINITE ? 0.0f : highest, factor = fast_exp2(tops[r] - base);
            float one = fast_exp2(scores[r][0] - base), two = fast_exp2(scores[r][1] - base);
            tops[r] = highest;
            totals[r] = totals[r] * factor + sum_lanes<16>(one + two);
            shared.weights[row][x] = one;
            shared.weights[row][x + 16] = two;
#pragma unroll
            for (u32 p = 0; p < PIECES; p++) {
#pragma unroll
                for (u32 j = 0; j < 4; j++) sums[r][p][j] *= factor;
            }
        }
        barrier();
        fetch(first, 1);
        barrier();
        for (u32 key = 0; key < PLAIN_KEYS; key++) {
#pragma unroll
            for (u32 p = 0; p < PIECES; p++) {
                float values[4];
                load_floats(&shared.other[key][p * 64 + x * 4], values);
#pragma unroll
                for (u32 r = 0; r < ROWS; r++) {
                    float weight = shared.weights[y * ROWS + r][key];
#pragma unroll
                    for (u32 j = 0; j < 4; j++) sums[r][p][j] += weight * values[j];
                }
            }
        }
    }
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
        u32 row = y * ROWS + r;
        if (row >= own.count) continue;
        T *target = output + (own.row(row) * prompt.heads + head) * head_dim;
        float factor = totals[r] > 0.0f ? 1.0f / totals[r] : 0.0f;
#pragma unroll
        for (u32 p = 0; p < PIECES; p++) {
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                u32 element = p * 64 + x * 4 + j;
                if (element < head_dim) target[element] = narrow<T>(sums[r][p][j] * factor);
            }
        }
    }
}

template <u32 DEPTH, typename T> DEVICE void prefill(T *output, const T *query, const Prompt &prompt) {
    wait_for_producers();
    start_consumers();
    if (prompt.cache.head_dim % Vector<T>::count == 0) {
        prefill_plain<Vector<T>::count, DEPTH>(output, query, prompt);
    } else {
        prefill_plain<1, DEPTH>(output, query, prompt);
    }
}
