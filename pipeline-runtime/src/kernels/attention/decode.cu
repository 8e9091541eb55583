// Attention of one decoding step: one new token a sequence. It rotates the queries and the new key, appends key and
// value to the cache, and attends.
//
// The work is the list of all pages that the new tokens see, sequence by sequence and head by head, cut into equal
// parts, one for each block: a batch of unequal lengths keeps all blocks busy to the end. A block handles all query
// heads of a key head, so that keys and values are read once. Where a head's pages are spread over several blocks,
// each leaves a partial result (maximum, sum, weighted values), and the last to finish combines them.
//
// Grid: (blocks) as the launcher chooses; 128 threads, on the tensor cores 160. Results depend on the number of blocks,
// but not on their order.

#define DECODE_THREADS 128u
// Query heads that a block handles at a time, in each of the two ways.
#define TENSOR_QUERIES 16u
#define PLAIN_QUERIES 4u
// Sequences of a batch, at most.
#define MOST_ROWS 1024u

struct Step {
    const u32 *positions, *slots;
    u32 rows;
    Cache cache;
    u32 heads;
    Rotary rotary;
    const float *query_norm, *key_norm;
    float scale; // of the scores, times log2(e)
    u32 window;  // 0: none
    const u8 *key_mask;
    u32 mask_stride;
    float *partials; // (2 blocks, queries at a time, head_dim + 4)
    u32 *counters;   // (rows, key heads, groups of queries at a time): zero, and zero again afterwards

    DEVICE_MEMBER u32 group() const { return heads / cache.kv_heads; }
    DEVICE_MEMBER u32 first_page(u32 position) const {
        return window && position >= window ? (position + 1 - window) / PAGE : 0;
    }
    // Whether the token at `position` sees the key at `key`.
    DEVICE_MEMBER bool sees(u32 position, u32 slot, u32 key) const {
        return key <= position && !(window && position - key >= window) &&
               (!key_mask || key_mask[(u64)slot * mask_stride + key]);
    }
};

// Pages before each row: pages[0] = 0, ... pages[rows] = all, for one head.
DEVICE void count_pages(const Step &step, u32 *pages) {
    if (warp() == 0) {
        u32 total = 0;
        for (u32 first = 0; first < step.rows; first += WARP) {
            u32 row = first + lane(), count = 0;
            if (row < step.rows && step.slots[row] != NO_SLOT) {
                u32 position = step.positions[row];
                count = position / PAGE + 1 - step.first_page(position);
            }
            for (u32 distance = 1; distance < WARP; distance *= 2) {
                u32 before = from_lane(count, lane() - distance);
                if (lane() >= distance) count += before;
            }
            if (row < step.rows) pages[row + 1] = total + count;
            total += from_lane(count, WARP - 1);
        }
        if (lane() == 0) pages[0] = 0;
    }
    barrier();
}

// Where number n of the list of pages lies.
struct Place {
    u32 row, item, page, count; // item: key head and group of queries; page: number among the `count` that are seen
};
DEVICE Place locate(u32 n, const u32 *pages, u32 rows, u32 items) {
    u32 low = 0, high = rows;
    while (high - low > 1) {
        u32 middle = (low + high) / 2;
        if (pages[middle] * items <= n) {
            low = middle;
        } else {
            high = middle;
        }
    }
    u32 rest = n - pages[low] * items, count = pages[low + 1] - pages[low];
    return Place{low, rest / count, rest % count, count};
}

// The blocks that share one item of the list, and the one among them that is the last to finish.
struct Share {
    u32 first, last, per_block;
    bool starts_block; // whether the item begins where block `first` does

    DEVICE_MEMBER u32 count() const { return last - first + 1; }
    // A block has at most two unfinished items: its first and its last.
    DEVICE_MEMBER u32 partial(u32 which) const { return 2 * which + (which == first && !starts_block); }
};
DEVICE Share share_of(u32 first_page, u32 count, u32 per_block) {
    u32 first = first_page / per_block;
    return Share{first, (first_page + count - 1) / per_block, per_block, first_page % per_block == 0};
}

// The end of an item: writes its output where this block has all its pages, else leaves what this block has, and
// combines what all blocks of the share have left where this one is the last of them.
//
// sum(row, element) are COUNT of this block's weighted sums, not yet divided; tops and totals (queries) its maxima and
// sums of weights, in shared memory. together() is the barrier of the DECODE_THREADS threads that come here.
template <u32 QUERIES, u32 COUNT, typename T, typename Sum, typename Together>
DEVICE void finish(const Step &step, T *output, const Place &at, Share share, u32 query, u32 queries, Sum sum,
                   const float *tops, const float *totals, u32 *flag, Together together) {
    const u32 head_dim = step.cache.head_dim, length = queries * head_dim;
    T *target = output + ((u64)at.row * step.heads + query) * head_dim;
    auto write = [&](u32 i, float total, float(&values)[COUNT]) {
        float factor = total > 0.0f ? 1.0f / total : 0.0f;
#pragma unroll
        for (u32 j = 0; j < COUNT; j++) target[i + j] = narrow<T>(values[j] * factor);
    };
    if (share.count() == 1) {
        for (u32 i = thread() * COUNT; i < length; i += DECODE_THREADS * COUNT) {
            float values[COUNT];
            sum(i / head_dim, i % head_dim, values);
            write(i, totals[i / head_dim], values);
        }
        return;
    }
    const u32 stride = QUERIES * (head_dim + 4);
    float *partial = step.partials + (u64)share.partial(block()) * stride;
    for (u32 i = thread() * COUNT; i < length; i += DECODE_THREADS * COUNT) {
        float values[COUNT];
        sum(i / head_dim, i % head_dim, values);
        store_floats(partial + 4 * QUERIES + i, values);
    }
    for (u32 i = thread(); i < queries; i += DECODE_THREADS) {
        partial[2 * i] = tops[i];
        partial[2 * i + 1] = totals[i];
    }
    together();
    if (thread() == 0) {
        // What the others wrote before the barrier counts as this thread's.
        u32 items = step.cache.kv_heads * ((step.group() + QUERIES - 1) / QUERIES);
        u32 *counter = step.counters + at.row * items + at.item;
        bool last = atomic_add_in_order(counter, 1) + 1 == share.count();
        if (last) *counter = 0;
        *flag = last;
    }
    together();
    if (!*flag) return;
    forget_cached();
    for (u32 i = thread() * COUNT; i < length; i += DECODE_THREADS * COUNT) {
        const u32 row = i / head_dim;
        // So many at a time are on their way.
        constexpr u32 AHEAD = COUNT == 4 ? 16 : 8;
        float top = -INFINITE, total = 0.0f, values[COUNT] = {};
        for (u32 begin = share.first; begin <= share.last; begin += AHEAD) {
            float other_tops[AHEAD], other_totals[AHEAD], others[AHEAD][COUNT];
#pragma unroll
            for (u32 k = 0; k < AHEAD; k++) {
                const float *other = step.partials + (u64)share.partial(smaller(begin + k, share.last)) * stride;
                other_tops[k] = begin + k <= share.last ? other[2 * row] : -INFINITE;
                other_totals[k] = other[2 * row + 1];
                load_floats(other + 4 * QUERIES + i, others[k]);
            }
            float higher = top;
#pragma unroll
            for (u32 k = 0; k < AHEAD; k++) higher = maximum(higher, other_tops[k]);
            float base = higher == -INFINITE ? 0.0f : higher, own = fast_exp2(top - base);
            total *= own;
#pragma unroll
            for (u32 j = 0; j < COUNT; j++) values[j] *= own;
#pragma unroll
            for (u32 k = 0; k < AHEAD; k++) {
                float theirs = fast_exp2(other_tops[k] - base);
                total += other_totals[k] * theirs;
#pragma unroll
                for (u32 j = 0; j < COUNT; j++) values[j] += others[k][j] * theirs;
            }
            top = higher;
        }
        write(i, total, values);
    }
}

#if TENSOR_CORES
template <typename T, u32 D> struct DecodeShared {
#if __CUDA_ARCH__ >= 900 && __CUDA_ARCH__ < 1200
    // Two blocks share a multiprocessor: this step's, and already the next kernel's.
    static constexpr u32 stages = D == 64 ? 6 : 3;
#else
    // Some chips have 99 KB a block.
    static constexpr u32 stages = D == 64 ? 4 : D == 128 ? 2 : 1;
#endif
    // Rows of sums apart by 8 more than a multiple of 32 words.
    static constexpr u32 stride = D + 8;
    T tiles[stages][2][PAGE * D];
    T queries[TENSOR_QUERIES * D];
    T fresh[2 * D]; // the new key and value
    float sums[TENSOR_QUERIES * stride];
    float tops[4][TENSOR_QUERIES], totals[4][TENSOR_QUERIES], top[TENSOR_QUERIES], total[TENSOR_QUERIES];
    u64 filled[stages], emptied[stages];
    u32 flag;
    u32 pages[1]; // rows + 1
};

// Four warps share a page: 16 keys each, with maxima and sums of their own until the end. A fifth warp fetches the
// pages, into a ring of buffers.
template <typename T, u32 D> DEVICE void decode_tensor(T *output, const T *qkv, const Step &step) {
    typedef DecodeShared<T, D> Shared;
    constexpr u32 STAGES = Shared::stages, TILE_BYTES = PAGE * D * sizeof(T);
    Shared &shared = *(Shared *)launch_shared();
    const u32 head_dim = D, kv_heads = step.cache.kv_heads, group = step.group();
    const u32 parts = (group + TENSOR_QUERIES - 1) / TENSOR_QUERIES, items = kv_heads * parts;
    for (u32 i = thread(); i < TENSOR_QUERIES * D / 8; i += threads()) {
        store16(shared.queries + 8 * i, words4{0, 0, 0, 0});
    }
    if (thread() == 0) {
        for (u32 stage = 0; stage < STAGES; stage++) {
            init_arrivals(&shared.filled[stage], BULK_COPIES ? 1 : WARP);
            init_arrivals(&shared.emptied[stage], 4);
        }
        fence_arrivals();
    }
    // Where the sequences are and what the cache holds of them is older than the kernel before: pages are fetched while
    // it still makes the new tokens.
    count_pages(step, shared.pages);
    const u32 all = shared.pages[step.rows] * items;
    const u32 per_block = larger((all + blocks() - 1) / blocks(), 1);
    const u32 start = block() * per_block, end = smaller(start + per_block, all);
    if (start >= end) {
        wait_for_producers();
        return start_consumers();
    }

    if (warp() == 4) {
        // The lanes look up the addresses of as many pages.
        u64 found = 0;
        for (u32 n = start, stage = 0, parity = 1; n < end; n++) {
            const u32 ahead = (n - start) % WARP;
            if (ahead == 0 && n + lane() < end) {
                Place at = locate(n + lane(), shared.pages, step.rows, items);
                u32 page = step.first_page(step.positions[at.row]) + at.page;
                found = (u64)step.cache.tile<T>(step.slots[at.row], page, 0, at.item / parts);
            }
            const T *keys = (const T *)((u64)from_lane((u32)(found >> 32), ahead) << 32 | from_lane((u32)found, ahead));
            const T *values = keys + (u64)kv_heads * PAGE * D;
            if (n - start == STAGES) wait_for_producers();
            if (n - start >= STAGES) await(&shared.emptied[stage], parity);
#if BULK_COPIES
            if (lane() == 0) {
                arrive_expecting(&shared.filled[stage], 2 * TILE_BYTES);
                copy_bulk(shared.tiles[stage][0], keys, TILE_BYTES, &shared.filled[stage]);
                copy_bulk(shared.tiles[stage][1], values, TILE_BYTES, &shared.filled[stage]);
            }
#else
            for (u32 i = lane(); i < PAGE * D / 8; i += WARP) {
                copy16(shared.tiles[stage][0] + 8 * i, keys + 8 * i, true);
                copy16(shared.tiles[stage][1] + 8 * i, values + 8 * i, true);
            }
            arrive_after_copies(&shared.filled[stage]);
#endif
            if (++stage == STAGES) {
                stage = 0;
                parity ^= 1;
            }
        }
#if !BULK_COPIES
        copies_commit();
        copies_wait<0>();
#endif
        // What the next kernel fetches ahead comes behind these pages.
        wait_for_producers();
        return start_consumers();
    }
    auto together = [] { part_barrier(1, DECODE_THREADS); };

    u32 stage = 0, parity = 0;
    const u32 quarter = lane() / 8, eighth = lane() % 8;
    for (u32 n = start; n < end;) {
        const Place at = locate(n, shared.pages, step.rows, items);
        const u32 slot = step.slots[at.row], position = step.positions[at.row];
        const u32 first_page = step.first_page(position), last_page = position / PAGE;
        const u32 kv_head = at.item / parts, query = kv_head * group + at.item % parts * TENSOR_QUERIES;
        const u32 queries = smaller(group - at.item % parts * TENSOR_QUERIES, TENSOR_QUERIES);
        const u32 count = smaller(end - n, at.count - at.page);
        const bool appends = at.page + count == at.count;
        if (n == start) wait_for_producers();

        // Queries, and the new key and value where this block sees the last page.
        {
            constexpr u32 COUNT = 8;
            const bool whole = whole_vectors(D, step.rotary.dim, COUNT);
            const u32 lanes = lanes_per_head(D, COUNT), together = DECODE_THREADS / lanes;
            const u32 wanted = queries + (appends ? 2 : 0);
            const T *row = qkv + (u64)at.row * (step.heads + 2 * kv_heads) * D;
            for (u32 first = 0; first < wanted; first += together) {
                u32 number = first + thread() / lanes;
                bool active = number < wanted;
                if (!active) number = 0;
                const bool is_query = number < queries, is_value = number == queries + 1;
                const T *source =
                    row + (is_query ? query + number : step.heads + (is_value ? kv_heads : 0) + kv_head) * D;
                Rotary angles = step.rotary;
                if (is_value) angles.dim = 0;
                const float *norm = is_query ? step.query_norm : is_value ? nullptr : step.key_norm;
                const bool any_norm = step.query_norm || step.key_norm;
                T *cached = step.cache.tile<T>(slot, last_page, is_value, kv_head);
                auto store = [&](u32 i, const auto &values) {
                    if (!active) return;
                    if (is_query) {
                        store_floats(shared.queries + (i / 64 * TENSOR_QUERIES + number) * 64 +
                                         ((i / 8 ^ number) % 8) * 8 + i % 8,
                                     values);
                    } else {
                        store_floats(shared.fresh + is_value * D + i, values);
                        store_floats(cached + place<T>(position % PAGE, i, D), values);
                    }
                };
                if (whole) {
                    rotate_head<COUNT>(source, head_dim, angles, norm, any_norm, step.rotary.rows[at.row], thread() % lanes,
                                        lanes, store);
                } else {
                    rotate_head<1>(source, head_dim, angles, norm, any_norm, step.rotary.rows[at.row], thread() % lanes,
                                    lanes, store);
                }
            }
        }
        together();
        u32 own_queries[D / 16][4];
#pragma unroll
        for (u32 k = 0; k < D / 16; k++) {
            u32 row = quarter % 2 * 8 + eighth, chunk = k * 2 + quarter / 2;
            load_matrices(own_queries[k], shared_address(shared.queries + (chunk / 8 * TENSOR_QUERIES + row) * 64 +
                                                         ((chunk ^ row) % 8) * 8));
        }

        float sums[D / 8][4], tops[2] = {-INFINITE, -INFINITE}, totals[2] = {0.0f, 0.0f};
#pragma unroll
        for (u32 i = 0; i < D / 8; i++) {
#pragma unroll
            for (u32 j = 0; j < 4; j++) sums[i][j] = 0.0f;
        }
        for (u32 done = 0; done < count; done++, n++) {
            const u32 page = first_page + at.page + done;
            T *keys = shared.tiles[stage][0], *values = shared.tiles[stage][1];
            await(&shared.filled[stage], parity);
            if (page == last_page) {
                // The new token is not in the page yet, and behind it may be anything.
                const u32 token = position % PAGE;
                for (u32 i = thread(); i < 2 * D / 8; i += DECODE_THREADS) {
                    u32 element = i % (D / 8) * 8;
                    T *tile = i < D / 8 ? keys : values;
                    store16(tile + place<T>(token, element, D), load16(shared.fresh + 8 * i));
                }
                for (u32 i = thread(); i < (PAGE - 1 - token) * (D / 8); i += DECODE_THREADS) {
                    store16(values + place<T>(token + 1 + i / (D / 8), i % (D / 8) * 8, D), words4{0, 0, 0, 0});
                }
                fence_asynchronous();
                together();
            }
            const u32 first_key = page * PAGE + warp() * 16;
            const bool edge = page == last_page || (step.window && page == first_page) || step.key_mask;
            if (first_key <= position) {
                // Even and odd steps apart, for shorter chains of products.
                float scores[2][4] = {}, odd[2][4] = {};
#pragma unroll
                for (u32 k = 0; k < D / 16; k++) {
                    u32 words[4], key = warp() * 16 + quarter / 2 * 8 + eighth, chunk = k * 2 + quarter % 2;
                    load_matrices(words, shared_address(keys + (chunk / 8 * PAGE + key) * 64 + ((chunk ^ key) % 8) * 8));
                    multiply_add(k % 2 ? odd[0] : scores[0], own_queries[k], words[0], words[1], T{});
                    multiply_add(k % 2 ? odd[1] : scores[1], own_queries[k], words[2], words[3], T{});
                }
                float highest[2] = {tops[0], tops[1]};
#pragma unroll
                for (u32 i = 0; i < 2; i++) {
#pragma unroll
                    for (u32 j = 0; j < 4; j++) {
                        scores[i][j] = (scores[i][j] + odd[i][j]) * step.scale;
                        u32 key = first_key + i * 8 + lane() % 4 * 2 + j % 2;
                        if (edge && !step.sees(position, slot, key)) scores[i][j] = -INFINITE;
                        highest[j / 2] = maximum(highest[j / 2], scores[i][j]);
                    }
                }
                u32 weights[4];
                float factor[2];
#pragma unroll
                for (u32 half = 0; half < 2; half++) {
                    highest[half] = max_lanes<4>(highest[half]);
                    float base = highest[half] == -INFINITE ? 0.0f : highest[half];
                    factor[half] = fast_exp2(tops[half] - base);
                    tops[half] = highest[half];
                    float p0 = fast_exp2(scores[0][2 * half] - base), p1 = fast_exp2(scores[0][2 * half + 1] - base);
                    float p2 = fast_exp2(scores[1][2 * half] - base), p3 = fast_exp2(scores[1][2 * half + 1] - base);
                    totals[half] = totals[half] * factor[half] + ((p0 + p1) + (p2 + p3));
                    weights[half] = pack<T>(p0, p1);
                    weights[half + 2] = pack<T>(p2, p3);
                }
#pragma unroll
                for (u32 i = 0; i < D / 8; i++) {
#pragma unroll
                    for (u32 j = 0; j < 4; j++) sums[i][j] *= factor[j / 2];
                }
#pragma unroll
                for (u32 i = 0; i < D / 16; i++) {
                    u32 words[4], key = warp() * 16 + quarter % 2 * 8 + eighth, chunk = i * 2 + quarter / 2;
                    load_matrices_transposed(
                        words, shared_address(values + (chunk / 8 * PAGE + key) * 64 + ((chunk ^ key) % 8) * 8));
                    multiply_add(sums[2 * i], weights, words[0], words[1], T{});
                    multiply_add(sums[2 * i + 1], weights, words[2], words[3], T{});
                }
            }
            warp_barrier();
            if (lane() == 0) arrive(&shared.emptied[stage]);
            if (++stage == STAGES) {
                stage = 0;
                parity ^= 1;
            }
        }

        // The four warps' results become one: where there are few queries, each warp leaves its sums in rows of its own,
        // otherwise they add to the same rows in turns.
        const u32 row = lane() / 4, side_by_side = queries <= 4 ? 4 : queries <= 8 ? 2 : 1;
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            totals[half] = sum_lanes<4>(totals[half]);
            if (lane() % 4 == 0) {
                shared.tops[warp()][row + 8 * half] = tops[half];
                shared.totals[warp()][row + 8 * half] = totals[half];
            }
        }
        together();
        float factor[2];
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            u32 at_row = row + 8 * half;
            const float top = maximum(maximum(shared.tops[0][at_row], shared.tops[1][at_row]),
                                      maximum(shared.tops[2][at_row], shared.tops[3][at_row]));
            const float base = top == -INFINITE ? 0.0f : top;
            factor[half] = fast_exp2(tops[half] - base);
            if (warp() > 0 || lane() % 4 > 0) continue;
            float total = 0.0f;
#pragma unroll
            for (u32 other = 0; other < 4; other++) {
                total += shared.totals[other][at_row] * fast_exp2(shared.tops[other][at_row] - base);
            }
            shared.top[at_row] = top;
            shared.total[at_row] = total;
        }
        for (u32 turn = 0; turn < 4 / side_by_side; turn++) {
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                const u32 at_row = row + 8 * half, place = warp() % side_by_side * queries + at_row;
                if (turn != warp() / side_by_side || at_row >= queries) continue;
                float2 *target = (float2 *)(shared.sums + place * Shared::stride) + lane() % 4;
                float2 before[D / 8] = {};
                if (turn > 0) {
#pragma unroll
                    for (u32 i = 0; i < D / 8; i++) before[i] = target[i * 4];
                }
#pragma unroll
                for (u32 i = 0; i < D / 8; i++) {
                    target[i * 4] = float2{before[i].x + sums[i][2 * half] * factor[half],
                                           before[i].y + sums[i][2 * half + 1] * factor[half]};
                }
            }
            together();
        }
        auto sum = [&](u32 at_row, u32 element, float(&values)[4]) {
            load_floats(shared.sums + at_row * Shared::stride + element, values);
            for (u32 other = 1; other < side_by_side; other++) {
                float others[4];
                load_floats(shared.sums + (other * queries + at_row) * Shared::stride + element, others);
#pragma unroll
                for (u32 j = 0; j < 4; j++) values[j] += others[j];
            }
        };
        Share share = share_of(shared.pages[at.row] * items + at.item * at.count, at.count, per_block);
        finish<TENSOR_QUERIES, 4>(step, output, at, share, query, queries, sum, shared.top, shared.total, &shared.flag,
                                  together);
        together();
    }
}
#endif

// Any head_dim up to 256, any number format, any chip.
template <u32 COUNT, typename T> DEVICE void decode_plain(T *output, const T *qkv, const Step &step, u32 *pages) {
    SHARED float queries[PLAIN_QUERIES * 256], sums[PLAIN_QUERIES * 256], weights[PLAIN_QUERIES][PAGE];
    SHARED float tops[PLAIN_QUERIES], totals[PLAIN_QUERIES], factors[PLAIN_QUERIES];
    SHARED u32 flag;
    // Elements of a head that a thread sums: one vector, or where vectors do not fit two single elements.
    constexpr u32 SLOTS = COUNT == 1 ? 2 : 1;
    const u32 head_dim = step.cache.head_dim, kv_heads = step.cache.kv_heads, group = step.group();
    const u32 parts = (group + PLAIN_QUERIES - 1) / PLAIN_QUERIES, items = kv_heads * parts;
    const u32 all = pages[step.rows] * items;
    const u32 per_block = larger((all + blocks() - 1) / blocks(), 1);
    const u32 start = block() * per_block, end = smaller(start + per_block, all);
    const u32 vectors = head_dim / COUNT;
    u32 columns = 1;
    while (columns < vectors && columns < DECODE_THREADS) columns *= 2;
    const u32 shares = smaller(DECODE_THREADS / columns, 8), column = thread() % columns, part = thread() / columns;

    for (u32 n = start; n < end;) {
        const Place at = locate(n, pages, step.rows, items);
        const u32 slot = step.slots[at.row], position = step.positions[at.row];
        const u32 first_page = step.first_page(position), last_page = position / PAGE;
        const u32 kv_head = at.item / parts, query = kv_head * group + at.item % parts * PLAIN_QUERIES;
        const u32 here = smaller(group - at.item % parts * PLAIN_QUERIES, PLAIN_QUERIES);
        const u32 count = smaller(end - n, at.count - at.page);
        const bool appends = at.page + count == at.count;

        for (u32 i = thread(); i < PLAIN_QUERIES * 256; i += DECODE_THREADS) queries[i] = 0.0f;
        if (thread() < PLAIN_QUERIES) {
            tops[thread()] = -INFINITE;
            totals[thread()] = 0.0f;
        }
        barrier();
        const u32 lanes = lanes_per_head(head_dim, COUNT), together = DECODE_THREADS / lanes;
        const u32 wanted = here + (appends ? 2 : 0);
        const T *row = qkv + (u64)at.row * (step.heads + 2 * kv_heads) * head_dim;
        for (u32 first = 0; first < wanted; first += together) {
            u32 number = first + thread() / lanes;
            bool active = number < wanted;
            if (!active) number = 0;
            const bool is_query = number < here, is_value = number == here + 1;
            const T *source =
                row + (is_query ? query + number : step.heads + (is_value ? kv_heads : 0) + kv_head) * head_dim;
            Rotary angles = step.rotary;
            if (is_value) angles.dim = 0;
            const float *norm = is_query ? step.query_norm : is_value ? nullptr : step.key_norm;
            T *cached = step.cache.tile<T>(slot, last_page, is_value, kv_head);
            rotate_head<COUNT>(source, head_dim, angles, norm, step.query_norm || step.key_norm, step.rotary.rows[at.row],
                               thread() % lanes, lanes, [&](u32 i, const float(&values)[COUNT]) {
                                   if (!active) return;
                                   if (is_query) {
                                       // Rounded, as a prompt's queries are on their way through memory.
#pragma unroll
                                       for (u32 j = 0; j < COUNT; j++) {
                                           queries[number * 256 + i + j] = widen(narrow<T>(values[j]));
                                       }
                                   } else {
                                       store_floats(cached + place<T>(position % PAGE, i, head_dim), values);
                                   }
                               });
        }
        barrier();

        float own[PLAIN_QUERIES][SLOTS][COUNT] = {};
        for (u32 done = 0; done < count; done++, n++) {
            const u32 page = first_page + at.page + done;
            const T *keys = step.cache.tile<T>(slot, page, 0, kv_head);
            const T *values = step.cache.tile<T>(slot, page, 1, kv_head);
            // Scores: eight lanes a key.
            for (u32 first = 0; first < PAGE; first += DECODE_THREADS / 8) {
                u32 token = first + thread() / 8, key = page * PAGE + token;
                bool seen = step.sees(position, slot, key);
                float scores[PLAIN_QUERIES] = {};
                if (seen) {
                    for (u32 i = thread() % 8 * COUNT; i < head_dim; i += 8 * COUNT) {
                        float elements[COUNT];
                        load_floats(keys + place<T>(token, i, head_dim), elements);
#pragma unroll
                        for (u32 q = 0; q < PLAIN_QUERIES; q++) {
#pragma unroll
                            for (u32 j = 0; j < COUNT; j++) scores[q] += elements[j] * queries[q * 256 + i + j];
                        }
                    }
                }
#pragma unroll
                for (u32 q = 0; q < PLAIN_QUERIES; q++) {
                    float score = sum_lanes<8>(scores[q]) * step.scale;
                    if (thread() % 8 == 0) weights[q][token] = seen ? score : -INFINITE;
                }
            }
            barrier();
            // Weights: sixteen lanes a query.
            if (thread() < 64) {
                u32 q = thread() / 16;
                float highest = tops[q], sum = 0.0f;
                for (u32 token = thread() % 16; token < PAGE; token += 16) highest = maximum(highest, weights[q][token]);
                highest = max_lanes<16>(highest);
                float base = highest == -INFINITE ? 0.0f : highest;
                for (u32 token = thread() % 16; token < PAGE; token += 16) {
                    float weight = fast_exp2(weights[q][token] - base);
                    weights[q][token] = weight;
                    sum += weight;
                }
                sum = sum_lanes<16>(sum);
                warp_barrier();
                if (thread() % 16 == 0) {
                    factors[q] = fast_exp2(tops[q] - base);
                    totals[q] = totals[q] * factors[q] + sum;
                    tops[q] = highest;
                }
            }
            barrier();
            if (part < shares) {
#pragma unroll
                for (u32 q = 0; q < PLAIN_QUERIES; q++) {
#pragma unroll
                    for (u32 s = 0; s < SLOTS; s++) {
#pragma unroll
                        for (u32 j = 0; j < COUNT; j++) own[q][s][j] *= factors[q];
                    }
                }
                u32 tokens = smaller(PAGE, position + 1 - page * PAGE);
                for (u32 token = part; token < tokens; token += shares) {
                    if (weights[0][token] == 0.0f && !step.sees(position, slot, page * PAGE + token)) continue;
#pragma unroll
                    for (u32 s = 0; s < SLOTS; s++) {
                        u32 i = (column + s * columns) * COUNT;
                        if (i >= head_dim) continue;
                        float elements[COUNT];
                        load_floats(values + place<T>(token, i, head_dim), elements);
#pragma unroll
                        for (u32 q = 0; q < PLAIN_QUERIES; q++) {
#pragma unroll
                            for (u32 j = 0; j < COUNT; j++) own[q][s][j] += weights[q][token] * elements[j];
                        }
                    }
                }
            }
            barrier();
        }
        for (u32 turn = 0; turn < shares; turn++) {
            if (part == turn) {
#pragma unroll
                for (u32 q = 0; q < PLAIN_QUERIES; q++) {
#pragma unroll
                    for (u32 s = 0; s < SLOTS; s++) {
                        u32 i = (column + s * columns) * COUNT;
                        if (i >= head_dim) continue;
#pragma unroll
                        for (u32 j = 0; j < COUNT; j++) {
                            float *sum = sums + q * head_dim + i + j;
                            *sum = turn == 0 ? own[q][s][j] : *sum + own[q][s][j];
                        }
                    }
                }
            }
            barrier();
        }
        Share share = share_of(pages[at.row] * items + at.item * at.count, at.count, per_block);
        auto sum = [&](u32 at_row, u32 element, float(&values)[1]) { values[0] = sums[at_row * head_dim + element]; };
        finish<PLAIN_QUERIES, 1>(step, output, at, share, query, here, sum, tops, totals, &flag, [] { barrier(); });
        barrier();
    }
}

template <typename T> DEVICE void decode(T *output, const T *qkv, const Step &step) {
    SHARED u32 pages[MOST_ROWS + 1];
    wait_for_producers();
    start_consumers();
    count_pages(step, pages);
    if (whole_vectors(step.cache.head_dim, step.rotary.dim, Vector<T>::count)) {
        decode_plain<Vector<T>::count>(output, qkv, step, pages);
    } else {
        decode_plain<1>(output, qkv, step, pages);
    }
}

#define STEP_PARAMETERS(T)                                                                                             \
    T *output, const T *qkv, const u32 *positions, const u32 *slots, u32 rows, const u64 *pages, u32 max_pages,        \
        u32 layer, u32 heads, u32 kv_heads, u32 head_dim, u32 rotary_dim, const float *cos, const float *sin,          \
        const u32 *rotary_rows, const float *query_norm, const float *key_norm, float eps, float scale, u32 window,    \
        const u8 *key_mask, u32 mask_stride, float *partials, u32 *counters
#define STEP                                                                                                           \
    Step{positions,                                                                                                    \
         slots,                                                                                                        \
         rows,                                                                                                         \
         Cache{pages, max_pages, layer, kv_heads, head_dim},                                                           \
         heads,                                                                                                        \
         Rotary{cos, sin, rotary_rows, rotary_dim, eps},                                                               \
         query_norm,                                                                                                   \
         key_norm,                                                                                                     \
         scale * LOG2E,                                                                                                \
         window,                                                                                                       \
         key_mask,                                                                                                     \
         mask_stride,                                                                                                  \
         partials,                                                                                                     \
         counters}

#define DECODE(T, suffix)                                                                                              \
    KERNEL void BOUNDS(128, 1) decode_attention_##suffix(STEP_PARAMETERS(T)) { decode<T>(output, qkv, STEP); }
FOR_F32(DECODE(float, f32))
FOR_BF16(DECODE(bf16, bf16))
FOR_F16(DECODE(f16, f16))

#if TENSOR_CORES
#define DECODE_TENSOR(T, suffix, D)                                                                                    \
    KERNEL void BOUNDS(160, 1) decode_attention_##D##_##suffix(STEP_PARAMETERS(T)) {                                   \
        decode_tensor<T, D>(output, qkv, STEP);                                                                        \
    }
FOR_BF16(DECODE_TENSOR(bf16, bf16, 64))
FOR_BF16(DECODE_TENSOR(bf16, bf16, 128))
FOR_BF16(DECODE_TENSOR(bf16, bf16, 256))
FOR_F16(DECODE_TENSOR(f16, f16, 64))
FOR_F16(DECODE_TENSOR(f16, f16, 128))
FOR_F16(DECODE_TENSOR(f16, f16, 256))
#endif
