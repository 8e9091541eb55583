// Prompts on Hopper's products of four warps.

#if GROUP_PRODUCTS
#define HOPPER_QUERIES 128u
#define HOPPER_KEYS 128u
#define NO_ITEM 0xffffffffu

// Stages of shared memory are filled and emptied around a ring.
template <u32 COUNT> struct Ring {
    u64 filled[COUNT], emptied[COUNT];

    DEVICE_MEMBER void init(u32 fillers, u32 emptiers) {
        for (u32 i = 0; i < COUNT; i++) {
            init_arrivals(&filled[i], fillers);
            init_arrivals(&emptied[i], emptiers);
        }
    }
};

// Where a warp is in a ring, and in which round: the parity of what it awaits.
template <u32 COUNT> struct Cursor {
    u32 stage = 0, parity = 0;

    DEVICE_MEMBER void advance() {
        if (++stage == COUNT) stage = 0, parity ^= 1;
    }
};

#define STAGES_OF_ITEMS 2
#define STAGES_OF_TILES 2

template <typename T, u32 D> struct HopperPrompt {
    T queries[STAGES_OF_ITEMS][2][64 * D];      // of two groups of warps
    T keys[STAGES_OF_TILES][HOPPER_KEYS * D];   // (D / 64, 128, 64)
    T values[STAGES_OF_TILES][HOPPER_KEYS * D]; // likewise
    Ring<STAGES_OF_ITEMS> of_queries;
    Ring<STAGES_OF_TILES> of_keys;
    Ring<STAGES_OF_TILES> of_values;
};

// Keys (part 0) or values (part 1) of all items, tile after tile, by one warp.
template <typename T, u32 D, u32 COUNT, typename NextItem>
DEVICE void fetch_tiles(T (&tiles)[COUNT][HOPPER_KEYS * D], Ring<COUNT> &ring, u32 part, const Prompt &prompt,
                        const Queries &own, NextItem next_item) {
    constexpr u32 HALVES = D / 64, HALF = HOPPER_KEYS * 64, ROW = 64 * sizeof(T);
    Cursor<COUNT> at;
    u32 round = 0;
    for (u32 head; (head = next_item(round)) != NO_ITEM; round++) {
        const u32 kv_head = prompt.kv_head(head);
        const u32 begin = prompt.first_key(own.position(0)), end = own.position(own.count - 1) + 1;
        const u32 first_tile = begin / HOPPER_KEYS, last_tile = (end - 1) / HOPPER_KEYS;
        for (u32 tile = last_tile + 1; tile-- > first_tile; at.advance()) {
            // The addresses of pages come before the stage is free.
            u32 tokens[2], bytes = 0;
            const T *sources[2];
#pragma unroll
            for (u32 j = 0; j < 2; j++) {
                const u32 page = tile * 2 + j;
                // Pages before the window may be gone, and behind the last token may be anything.
                tokens[j] = page < begin / PAGE || page * PAGE >= end ? 0 : smaller(end - page * PAGE, PAGE);
                bytes += tokens[j] * HALVES * ROW;
                if (tokens[j] > 0) sources[j] = prompt.cache.tile<T>(own.sequence.slot, page, part, kv_head);
            }
            await(&ring.emptied[at.stage], at.parity ^ 1);
            T *target = tiles[at.stage];
            if (bytes < HOPPER_KEYS * HALVES * ROW) {
#pragma unroll
                for (u32 j = 0; j < 2; j++) {
                    for (u32 i = lane(); i < (PAGE - tokens[j]) * 8 * HALVES; i += WARP) {
                        u32 row = tokens[j] + i / (8 * HALVES), half = i / 8 % HALVES;
                        store16(target + half * HALF + (j * PAGE + row) * 64 + i % 8 * 8, words4{0, 0, 0, 0});
                    }
                }
                fence_asynchronous();
            }
            warp_barrier();
            if (lane() > 0) continue;
            arrive_expecting(&ring.filled[at.stage], bytes);
#pragma unroll
            for (u32 j = 0; j < 2; j++) {
                if (tokens[j] == 0) continue;
#pragma unroll
                for (u32 half = 0; half < HALVES; half++) {
                    copy_bulk(target + half * HALF + j * PAGE * 64, sources[j] + half * PAGE * 64, tokens[j] * ROW,
                              &ring.filled[at.stage]);
                }
            }
        }
    }
}

// Twelve warps: one fetches keys, one values, two queries; two times four have 64 queries each. Blocks stay, and go
// through the list of (queries, head) in strides; what is fetched runs ahead over its ends. A group exponentiates the
// scores of a tile while it multiplies the weights of the tile before with their values.
template <typename T, u32 D> DEVICE void prefill_hopper(T *output, const T *query, const Prompt &prompt) {
    typedef HopperPrompt<T, D> Shared;
    constexpr u32 HALF = HOPPER_KEYS * 64, ROW = 64 * sizeof(T);
    Shared &shared = *(Shared *)launch_shared();
    if (thread() == 0) {
        shared.of_queries.init(64, 256);
        shared.of_keys.init(1, 2);
        shared.of_values.init(1, 2);
        fence_arrivals();
    }
    barrier();
    wait_for_producers();
    start_consumers();
    Queries own;
    // What is early in the list takes long: blocks go through every second round from its other end, so that each gets
    // as much of all. Two rounds make a pair, and pairs are turned against each other.
    auto item_of = [&](u32 round, Queries &own) {
        u32 place = (block() + round / 2 * (blocks() / 3 + 1)) % blocks();
        if (round % 2) place = blocks() - 1 - place;
        u32 item = round * blocks() + place;
        if (!find_queries(prompt, item / prompt.heads, HOPPER_QUERIES, own)) return NO_ITEM;
        return item % prompt.heads;
    };
    auto next_item = [&](u32 round) { return item_of(round, own); };

    // Of the block's 384 x 168 registers, these leave what the others take more: 128 x 56 + 256 x 224.
    if (warp() < 4) {
        fewer_registers<56>();
        if (warp() == 0) return fetch_tiles<T, D>(shared.keys, shared.of_keys, 0, prompt, own, next_item);
        if (warp() == 1) return fetch_tiles<T, D>(shared.values, shared.of_values, 1, prompt, own, next_item);
        Cursor<STAGES_OF_ITEMS> at;
        u32 round = 0;
        for (u32 head; (head = next_item(round)) != NO_ITEM; round++, at.advance()) {
            constexpr u32 CHUNKS = D / 8, ROWS = 64 / CHUNKS; // of a row, and at once
            const u32 chunk = thread() % CHUNKS, first = (thread() - 64) / CHUNKS;
            const T *source = query + (own.row(first) * prompt.heads + head) * D + chunk * 8;
            const u64 stride = (u64)ROWS * prompt.heads * D;
            await(&shared.of_queries.emptied[at.stage], at.parity ^ 1);
            for (u32 row = first; row < HOPPER_QUERIES; row += ROWS, source += stride) {
                const bool present = row < own.count;
                copy16(shared.queries[at.stage][row / 64] + (chunk / 8 * 64 + row % 64) * 64 + ((chunk ^ row) % 8) * 8,
                       present ? source : query, present);
            }
            copies_commit();
            copies_wait<0>();
            fence_asynchronous();
            arrive(&shared.of_queries.filled[at.stage]);
        }
        return;
    }

    more_registers<224>();
    const u32 group = warp() / 4 - 1, quarter = warp() % 4, leader = thread() % 128 == 0;
    Cursor<STAGES_OF_ITEMS> at;
    Cursor<STAGES_OF_TILES> key, value;
    u32 items = 0;
    Queries next;
    for (u32 head = next_item(0), next_head; head != NO_ITEM; head = next_head, own = next, at.advance(), items++) {
        const u32 slot = own.sequence.slot;
        const u32 begin = prompt.first_key(own.position(0)), end = own.position(own.count - 1) + 1;
        const u32 first_tile = begin / HOPPER_KEYS, last_tile = (end - 1) / HOPPER_KEYS;
        const u32 lowest = own.position(group * 64), own_row = quarter * 16 + lane() / 4;
        // Tiles that all queries of the group see whole.
        const u32 first_whole = (prompt.first_key(lowest + 63) + HOPPER_KEYS - 1) / HOPPER_KEYS;
        const u32 whole_end = prompt.key_mask ? 0 : (lowest + 1) / HOPPER_KEYS;
        T *own_queries = shared.queries[at.stage][group];

        float scores[64], sums[D / 2], tops[2] = {-INFINITE, -INFINITE}, totals[2] = {0.0f, 0.0f};
        u32 weights[8][4];
#pragma unroll
        for (u32 i = 0; i < D / 2; i++) sums[i] = 0.0f;
        auto keys_of = [&](u32 stage) { return describe(shared_address(shared.keys[stage]), 16); };
        auto values_of = [&](u32 stage) {
            return describe(shared_address(shared.values[stage]), HALF * sizeof(T));
        };
        auto begin_scores = [&](u64 queries, u64 keys) {
#pragma unroll
            for (u32 k = 0; k < D / 16; k++) {
                multiply_group(scores, queries + (k / 4 * 64 * ROW + k % 4 * 32) / 16,
                               keys + (k / 4 * HALF * sizeof(T) + k % 4 * 32) / 16, k > 0, T{});
            }
            products_commit();
        };
        auto begin_sums = [&](u64 values) {
#pragma unroll
            for (u32 k = 0; k < 8; k++) multiply_group(sums, weights[k], values + k * 16 * ROW / 16, T{});
            products_commit();
        };
        // Scores to weights; returns by what the sums so far are to be multiplied.
        auto soften = [&](u32 tile, float(&factor)[2]) {
            const u32 first = tile * HOPPER_KEYS;
            if (tile < first_whole || tile >= whole_end) {
                const u32 position = lowest + own_row, column = first + lane() % 4 * 2;
                const u32 lows[2] = {prompt.first_key(position), prompt.first_key(position + 8)};
#pragma unroll
                for (u32 i = 0; i < 64; i++) {
                    u32 key = column + i / 4 * 8 + i % 2, half = i / 2 % 2;
                    if (key > position + 8 * half || key < lows[half]) scores[i] = -INFINITE;
                }
                if (prompt.key_mask) {
                    const u8 *seen = prompt.key_mask + (u64)slot * prompt.mask_stride;
#pragma unroll
                    for (u32 i = 0; i < 64; i++) {
                        u32 key = column + i / 4 * 8 + i % 2;
                        if (key < end && !seen[key]) scores[i] = -INFINITE;
                    }
                }
            }
            float base[2];
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                float highest = tops[half];
#pragma unroll
                for (u32 i = 0; i < 16; i++) {
                    highest = higher(highest, higher(scores[4 * i + 2 * half], scores[4 * i + 2 * half + 1]));
                }
                highest = max_lanes<4>(highest);
                base[half] = highest == -INFINITE ? 0.0f : highest * prompt.scale;
                factor[half] = fast_exp2(tops[half] * prompt.scale - base[half]);
                tops[half] = highest;
                totals[half] *= factor[half];
            }
#pragma unroll
            for (u32 i = 0; i < 64; i++) {
                scores[i] = fast_exp2(scores[i] * prompt.scale - base[i / 2 % 2]);
                totals[i / 2 % 2] += scores[i];
            }
        };
        auto pack_weights = [&] {
#pragma unroll
            for (u32 k = 0; k < 8; k++) {
#pragma unroll
                for (u32 j = 0; j < 4; j++) weights[k][j] = pack<T>(scores[8 * k + 2 * j], scores[8 * k + 2 * j + 1]);
            }
        };

        await(&shared.of_queries.filled[at.stage], at.parity);
        await(&shared.of_keys.filled[key.stage], key.parity);
        const u64 queries = describe(shared_address(own_queries), 16);
        // The second group begins behind the first, so that one multiplies while the other exponentiates.
        if (items == 0 && group == 1) part_barrier(1, 256);
        hold(scores);
        products_begin();
        begin_scores(queries, keys_of(key.stage));
        if (items == 0 && group == 0) part_arrive(1, 256);
        products_wait<0>();
        hold(scores);
        if (leader) arrive(&shared.of_keys.emptied[key.stage]);
        key.advance();
        float factor[2];
        soften(last_tile, factor);
        pack_weights();
        if (last_tile > first_tile) await(&shared.of_keys.filled[key.stage], key.parity);
        for (u32 tile = last_tile; tile > first_tile; tile--) {
            hold(scores);
            products_begin();
            begin_scores(queries, keys_of(key.stage));
            await(&shared.of_values.filled[value.stage], value.parity);
            hold(sums);
            hold(weights);
            products_begin();
            begin_sums(values_of(value.stage));
            products_wait<1>();
            hold(scores);
            if (leader) arrive(&shared.of_keys.emptied[key.stage]);
            key.advance();
            soften(tile - 1, factor);
            // To wait for the next keys here keeps the compiler from exponentiating only after the products.
            hold(scores);
            if (tile - 1 > first_tile) await(&shared.of_keys.filled[key.stage], key.parity);
            products_wait<0>();
            hold(sums);
            if (leader) arrive(&shared.of_values.emptied[value.stage]);
            value.advance();
            pack_weights();
#pragma unroll
            for (u32 i = 0; i < D / 2; i++) sums[i] *= factor[i / 2 % 2];
        }
        await(&shared.of_values.filled[value.stage], value.parity);
        hold(sums);
        hold(weights);
        products_begin();
        begin_sums(values_of(value.stage));
        next_head = item_of(items + 1, next);
        products_wait<0>();
        hold(sums);
        if (leader) arrive(&shared.of_values.emptied[value.stage]);
        value.advance();

        // Through shared memory, where the queries were, to rows of 16 bytes a lane.
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            float total = sum_lanes<4>(totals[half]), scale = total > 0.0f ? 1.0f / total : 0.0f;
            const u32 row = own_row + half * 8;
#pragma unroll
            for (u32 i = 0; i < D / 8; i++) {
                u32 *target = (u32 *)(own_queries + (i / 8 * 64 + row) * 64 + ((i ^ row) % 8) * 8) + lane() % 4;
                *target = pack<T>(sums[4 * i + 2 * half] * scale, sums[4 * i + 2 * half + 1] * scale);
            }
        }
        warp_barrier();
        for (u32 i = lane(); i < 16 * (D / 8); i += WARP) {
            u32 row = quarter * 16 + i / (D / 8), chunk = i % (D / 8);
            if (group * 64 + row >= own.count) continue;
            words4 words = load16(own_queries + (chunk / 8 * 64 + row) * 64 + ((chunk ^ row) % 8) * 8);
            store16(output + (own.row(group * 64 + row) * prompt.heads + head) * D + chunk * 8, words);
        }
        fence_asynchronous();
        arrive(&shared.of_queries.emptied[at.stage]);
    }
}
#endif
