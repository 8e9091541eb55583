// Prompts on NVIDIA's tensor cores.

#if TENSOR_CORES
template <typename T, u32 D> struct TensorPrompt {
    static constexpr u32 warps = D > 128 ? 4 : 8;
    static constexpr u32 queries = 16 * warps;
    T query[queries * D];
    T tiles[2][2][PAGE * D];
};

// A warp has 16 queries; a page at a time, while the next one is on its way.
template <typename T, u32 D> DEVICE void prefill_tensor(T *output, const T *query, const Prompt &prompt) {
    typedef TensorPrompt<T, D> Shared;
    constexpr u32 THREADS = 32 * Shared::warps, QUERIES = Shared::queries, CHUNKS = D / 8;
    Shared &shared = *(Shared *)launch_shared();
    Queries own;
    if (!find_queries(prompt, block_y(), QUERIES, own)) return;
    const u32 head = block(), kv_head = prompt.kv_head(head), slot = own.sequence.slot;
    const u32 begin = prompt.first_key(own.position(0)), end = own.position(own.count - 1) + 1;
    const u32 first_page = begin / PAGE, last_page = (end - 1) / PAGE;

    for (u32 i = thread(); i < QUERIES * CHUNKS; i += THREADS) {
        u32 row = i / CHUNKS, chunk = i % CHUNKS;
        bool present = row < own.count;
        const T *source = query + (own.row(present ? row : 0) * prompt.heads + head) * D + chunk * 8;
        copy16(shared.query + (chunk / 8 * QUERIES + row) * 64 + ((chunk ^ row) % 8) * 8, source, present);
    }
    // Tokens at and beyond `end` are not read: anything may lie there.
    auto fetch = [&](u32 page, u32 stage) {
        const T *keys = prompt.cache.tile<T>(slot, page, 0, kv_head);
        const T *values = prompt.cache.tile<T>(slot, page, 1, kv_head);
        for (u32 i = thread(); i < PAGE * CHUNKS; i += THREADS) {
            bool present = page * PAGE + i / 8 % PAGE < end;
            copy16(shared.tiles[stage][0] + 8 * i, keys + 8 * i, present);
            copy16(shared.tiles[stage][1] + 8 * i, values + 8 * i, present);
        }
    };
    fetch(first_page, 0);
    copies_commit();

    const u32 quarter = lane() / 8, eighth = lane() % 8, first_row = warp() * 16;
    auto query_words = [&](u32 k, u32(&words)[4]) {
        u32 row = first_row + quarter % 2 * 8 + eighth, chunk = k * 2 + quarter / 2;
        load_matrices(words, shared_address(shared.query + (chunk / 8 * QUERIES + row) * 64 + ((chunk ^ row) % 8) * 8));
    };
    constexpr bool KEPT = D <= 128;
    u32 kept[KEPT ? D / 16 : 1][4];
    float sums[D / 8][4], tops[2] = {-INFINITE, -INFINITE}, totals[2] = {0.0f, 0.0f};
#pragma unroll
    for (u32 i = 0; i < D / 8; i++) {
#pragma unroll
        for (u32 j = 0; j < 4; j++) sums[i][j] = 0.0f;
    }
    const u32 lowest = own.position(first_row), highest_seen = lowest + 15;

    for (u32 page = first_page; page <= last_page; page++) {
        const u32 stage = (page - first_page) % 2;
        if (page < last_page) fetch(page + 1, stage ^ 1);
        copies_commit();
        copies_wait<1>();
        barrier();
        if (KEPT && page == first_page) {
#pragma unroll
            for (u32 k = 0; k < sizeof(kept) / sizeof(kept[0]); k++) query_words(k, kept[k]);
        }
        // A warp whose queries see nothing of the page only waits for the others.
        if (first_row < own.count && page * PAGE <= highest_seen) {
            T *keys = shared.tiles[stage][0], *values = shared.tiles[stage][1];
            float scores[8][4] = {};
#pragma unroll
            for (u32 k = 0; k < D / 16; k++) {
                u32 left[4];
                if constexpr (KEPT) {
#pragma unroll
                    for (u32 j = 0; j < 4; j++) left[j] = kept[k][j];
                } else {
                    query_words(k, left);
                }
#pragma unroll
                for (u32 i = 0; i < 4; i++) {
                    u32 words[4], key = i * 16 + quarter / 2 * 8 + eighth, chunk = k * 2 + quarter % 2;
                    load_matrices(words, shared_address(keys + (chunk / 8 * PAGE + key) * 64 + ((chunk ^ key) % 8) * 8));
                    multiply_add(scores[2 * i], left, words[0], words[1], T{});
                    multiply_add(scores[2 * i + 1], left, words[2], words[3], T{});
                }
            }
            const bool edge = prompt.key_mask || page * PAGE + PAGE - 1 > lowest ||
                              (prompt.window && highest_seen - page * PAGE >= prompt.window);
            float highest[2] = {tops[0], tops[1]}, factor[2], base[2];
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
#pragma unroll
                for (u32 j = 0; j < 4; j++) {
                    if (edge) {
                        u32 key = page * PAGE + i * 8 + lane() % 4 * 2 + j % 2;
                        u32 position = lowest + lane() / 4 + j / 2 * 8;
                        if (!prompt.sees(position, slot, key)) scores[i][j] = -INFINITE;
                    }
                    highest[j / 2] = higher(highest[j / 2], scores[i][j]);
                }
            }
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                highest[half] = max_lanes<4>(highest[half]);
                base[half] = highest[half] == -INFINITE ? 0.0f : highest[half] * prompt.scale;
                factor[half] = fast_exp2(tops[half] * prompt.scale - base[half]);
                tops[half] = highest[half];
                totals[half] *= factor[half];
            }
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
#pragma unroll
                for (u32 j = 0; j < 4; j++) {
                    scores[i][j] = fast_exp2(scores[i][j] * prompt.scale - base[j / 2]);
                    totals[j / 2] += scores[i][j];
                }
            }
#pragma unroll
            for (u32 i = 0; i < D / 8; i++) {
#pragma unroll
                for (u32 j = 0; j < 4; j++) sums[i][j] *= factor[j / 2];
            }
#pragma unroll
            for (u32 k = 0; k < 4; k++) {
                u32 weights[4] = {pack<T>(scores[2 * k][0], scores[2 * k][1]),
                                  pack<T>(scores[2 * k][2], scores[2 * k][3]),
                                  pack<T>(scores[2 * k + 1][0], scores[2 * k + 1][1]),
                                  pack<T>(scores[2 * k + 1][2], scores[2 * k + 1][3])};
#pragma unroll
                for (u32 i = 0; i < D / 16; i++) {
                    u32 words[4], key = k * 16 + quarter % 2 * 8 + eighth, chunk = i * 2 + quarter / 2;
                    load_matrices_transposed(
                        words, shared_address(values + (chunk / 8 * PAGE + key) * 64 + ((chunk ^ key) % 8) * 8));
                    multiply_add(sums[2 * i], weights, words[0], words[1], T{});
                    multiply_add(sums[2 * i + 1], weights, words[2], words[3], T{});
                }
            }
        }
        barrier();
    }
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        float total = sum_lanes<4>(totals[half]);
        float factor = total > 0.0f ? 1.0f / total : 0.0f;
        u32 row = first_row + lane() / 4 + half * 8;
        if (row >= own.count) continue;
        T *target = output + (own.row(row) * prompt.heads + head) * D + lane() % 4 * 2;
#pragma unroll
        for (u32 i = 0; i < D / 8; i++) {
            *(u32 *)(target + i * 8) = pack<T>(sums[i][2 * half] * factor, sums[i][2 * half + 1] * factor);
        }
    }
}
#endif
