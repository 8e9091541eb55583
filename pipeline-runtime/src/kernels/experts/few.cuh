// What the experts' kernels for few tokens share: who chose which expert.

#define FEW_ROWS 32
#define FEW_THREADS 256
#define FEW_WARPS (FEW_THREADS / WARP)
#define MOST_EXPERTS 1024

// The experts that somebody chose, in ascending order, and a bit for each row that did.
struct chosen_experts {
    u32 rows[MOST_EXPERTS];
    u16 list[MOST_EXPERTS];
    u32 count;
};

DEVICE void find_chosen(chosen_experts &found, const u32 *chosen, u32 rows, u32 k, u32 experts) {
    for (u32 expert = thread(); expert < experts; expert += threads()) {
        u32 mask = 0;
        for (u32 row = 0; row < rows; row++) {
            for (u32 slot = 0; slot < k; slot++) mask |= chosen[row * k + slot] == expert ? 1u << row : 0;
        }
        found.rows[expert] = mask;
    }
    barrier();
    if (warp() == 0) {
        u32 count = 0;
        for (u32 first = 0; first < experts; first += WARP) {
            u32 expert = first + lane();
            bool present = expert < experts && found.rows[expert] != 0;
            u64 lanes = lanes_where(present);
            if (present) found.list[count + count_bits(lanes & (((u64)1 << lane()) - 1))] = (u16)expert;
            count += count_bits(lanes);
        }
        if (lane() == 0) found.count = count;
    }
    barrier();
}

// Writes what a row has of an expert to all of its slots that chose it.
template <typename T>
DEVICE void store_activated(T *activated, float value, const u32 *chosen, u32 k, u32 row, u32 expert, u32 place,
                            u32 intermediate) {
    for (u32 slot = 0; slot < k; slot++) {
        if (chosen[row * k + slot] == expert) {
            activated[(u64)(row * k + slot) * intermediate + place] = narrow<T>(value);
        }
    }
}

// The first slot of a row that chose an expert, and the sum of the weights of all that did.
DEVICE float slot_weight(const u32 *chosen, const float *weights, u32 k, u32 row, u32 expert, u32 &first) {
    float weight = 0.0f;
    first = 0;
    for (u32 slot = k; slot-- > 0;) {
        if (chosen[row * k + slot] == expert) {
            weight += weights[row * k + slot];
            first = slot;
        }
    }
    return weight;
}
