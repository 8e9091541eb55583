// Attention of prompts: FlashAttention over the pages of the cache, which holds the new keys and values already. A
// block takes some neighbouring queries of one sequence and head.
//
// query, output (rows, heads, head_dim); a row that no sequence names stays as it is.
// Grid: (heads, at least the sum of ceil(rows / queries a block) over the sequences).

struct Sequence {
    u32 first_row, rows, slot, length; // length: tokens in the cache, these rows included
};

struct Prompt {
    const Sequence *sequences;
    u32 count;
    Cache cache;
    u32 heads;
    float scale; // of the scores, times log2(e)
    u32 window;  // 0: none
    const u8 *key_mask;
    u32 mask_stride;

    DEVICE_MEMBER u32 kv_head(u32 head) const { return head / (heads / cache.kv_heads); }
    DEVICE_MEMBER bool sees(u32 position, u32 slot, u32 key) const {
        return key <= position && !(window && position - key >= window) &&
               (!key_mask || key_mask[(u64)slot * mask_stride + key]);
    }
    DEVICE_MEMBER u32 first_key(u32 position) const { return window && position >= window ? position + 1 - window : 0; }
};

// The queries of a block: rows first.. of a sequence, at most as many as asked for.
struct Queries {
    Sequence sequence;
    u32 first, count;

    DEVICE_MEMBER u32 position(u32 query) const { return sequence.length - sequence.rows + first + query; }
    DEVICE_MEMBER u64 row(u32 query) const { return sequence.first_row + first + query; }
};

// Block number `index` of the list, later queries first: they see more keys, and what takes longest starts first.
// All lanes of the warp must come here. False beyond the list.
DEVICE bool find_queries(const Prompt &prompt, u32 index, u32 at_a_time, Queries &found) {
    for (u32 begin = 0; begin < prompt.count; begin += WARP) {
        u32 which = begin + lane(), sum = 0;
        if (which < prompt.count) {
            sum = (prompt.sequences[prompt.count - 1 - which].rows + at_a_time - 1) / at_a_time;
        }
        for (u32 distance = 1; distance < WARP; distance *= 2) {
            u32 before = from_lane(sum, lane() - distance);
            if (lane() >= distance) sum += before;
        }
        u32 all = from_lane(sum, WARP - 1);
        if (index >= all) {
            index -= all;
            continue;
        }
        u32 passed = sum <= index;
        for (u32 mask = WARP / 2; mask > 0; mask /= 2) passed += across(passed, mask);
        const Sequence &sequence = prompt.sequences[prompt.count - 1 - begin - passed];
        // From one lane, so that the compiler knows them to be the same in all.
        found.sequence = Sequence{from_lane(sequence.first_row, 0), from_lane(sequence.rows, 0),
                                  from_lane(sequence.slot, 0), from_lane(sequence.length, 0)};
        // Blocks up to and with this sequence, from its last on.
        u32 number = from_lane(from_lane(sum, passed), 0) - 1 - index;
        found.first = number * at_a_time;
        found.count = smaller(found.sequence.rows - found.first, at_a_time);
        return true;
    }
    return false;
}

// ---- any chip, any format, head_dim up to DEPTH -------------------------------------------------------------------

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

// ---- NVIDIA's tensor cores ----------------------------------------------------------------------------------------

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

// ---- Hopper ----------------------------------------------------------------------------------------------------------

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

template <u32 DEPTH, typename T> DEVICE void prefill(T *output, const T *query, const Prompt &prompt) {
    wait_for_producers();
    start_consumers();
    if (prompt.cache.head_dim % Vector<T>::count == 0) {
        prefill_plain<Vector<T>::count, DEPTH>(output, query, prompt);
    } else {
        prefill_plain<1, DEPTH>(output, query, prompt);
    }
}

#define PROMPT_PARAMETERS(T)                                                                                           \
    T *output, const T *query, const Sequence *sequences, u32 count, const u64 *pages, u32 max_pages, u32 layer,       \
        u32 heads, u32 kv_heads, u32 head_dim, float scale, u32 window, const u8 *key_mask, u32 mask_stride
#define PROMPT                                                                                                         \
    Prompt { sequences, count, Cache{pages, max_pages, layer, kv_heads, head_dim}, heads, scale *LOG2E, window,        \
             key_mask, mask_stride }

// Named by the head_dim that each is for, at most: _64, _128, _256.
#define PREFILL(T, suffix, DEPTH)                                                                                      \
    KERNEL void BOUNDS(256, 1) prefill_attention_##DEPTH##_##suffix(PROMPT_PARAMETERS(T)) {                            \
        prefill<DEPTH>(output, query, PROMPT);                                                                         \
    }
FOR_F32(PREFILL(float, f32, 64))
FOR_F32(PREFILL(float, f32, 128))
FOR_F32(PREFILL(float, f32, 256))
FOR_BF16(PREFILL(bf16, bf16, 64))
FOR_BF16(PREFILL(bf16, bf16, 128))
FOR_BF16(PREFILL(bf16, bf16, 256))
FOR_F16(PREFILL(f16, f16, 64))
FOR_F16(PREFILL(f16, f16, 128))
FOR_F16(PREFILL(f16, f16, 256))

#if TENSOR_CORES
#define PREFILL_TENSOR(T, suffix, D)                                                                                   \
    KERNEL void BOUNDS((TensorPrompt<T, D>::warps * 32), 1)                                                            \
        prefill_attention_tensor_##D##_##suffix(PROMPT_PARAMETERS(T)) {                                                \
        wait_for_producers();                                                                                          \
        start_consumers();                                                                                             \
        prefill_tensor<T, D>(output, query, PROMPT);                                                                   \
    }
FOR_BF16(PREFILL_TENSOR(bf16, bf16, 64))
FOR_BF16(PREFILL_TENSOR(bf16, bf16, 128))
FOR_BF16(PREFILL_TENSOR(bf16, bf16, 256))
FOR_F16(PREFILL_TENSOR(f16, f16, 64))
FOR_F16(PREFILL_TENSOR(f16, f16, 128))
FOR_F16(PREFILL_TENSOR(f16, f16, 256))
#endif

#if GROUP_PRODUCTS
#define PREFILL_HOPPER(T, suffix, D)                                                                                   \
    KERNEL void BOUNDS(384, 1) prefill_attention_hopper_##D##_##suffix(PROMPT_PARAMETERS(T)) {                         \
        prefill_hopper<T, D>(output, query, PROMPT);                                                                   \
    }
FOR_BF16(PREFILL_HOPPER(bf16, bf16, 64))
FOR_BF16(PREFILL_HOPPER(bf16, bf16, 128))
FOR_F16(PREFILL_HOPPER(f16, f16, 64))
FOR_F16(PREFILL_HOPPER(f16, f16, 128))
#endif
