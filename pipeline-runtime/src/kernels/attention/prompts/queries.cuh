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
