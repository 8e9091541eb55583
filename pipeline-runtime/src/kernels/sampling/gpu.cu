// Chooses the next token of each row from its logits, as text/sampling.rs does on the host: the same steps in the same
// order, the same order of equals, and the same bits, since the exponential is computed by basic arithmetic alone and
// weights are summed as whole numbers, in which no order of summation matters.
//
// logits: (rows, vocabulary) f32. sampling_scan, of many blocks a row, reduces the row to the highest
// score of every GROUP tokens and to the sum of its exponentials. sampling_choose, of one block a row, takes from the
// groups' maxima a bound that at least top_k scores reach, reads the few groups that reach it, and settles the rest on
// that short list. Where no short list can do (a flat distribution without top_k, say) it goes over the whole row, digit
// by digit of the scores. Where a row has no top_k, sampling_weigh, between the two and of many blocks, spares it the
// sum of all weights.

constexpr u32 GROUP = 128;                        // tokens with one maximum
constexpr u32 SCAN_GROUPS = 4;                    // groups that a warp scans
constexpr u32 SCAN_THREADS = 256;
constexpr u32 SCAN_PART = SCAN_THREADS / WARP * SCAN_GROUPS * GROUP;
constexpr u32 CANDIDATES = 1024;                  // the longest short list
constexpr u32 LISTED_GROUPS = 1024;
constexpr u32 SHORT_LIST = 256;                   // scores asked for where top_k is off
constexpr u32 DIGITS = 2048;                      // of 11, 11 and 10 bits
constexpr u32 NO_TOKEN = 0xffffffffu;

// How the token of a row is chosen; the host fills it in.
struct SamplingParameters {
    float temperature;        // 0: the likeliest token
    float repetition_penalty; // 1: none
    u32 top_k;                // 0: off
    u32 weight_bits;          // the likeliest token weighs 2^weight_bits
    double removable;         // 1 - top_p; 0: off
    u64 least_weight;         // min_p 2^weight_bits rounded up; 0: off
};

// ---- arithmetic that gives the host's bits ----------------------------------------------------------------------

// exp(x) for x at most 0; 0 below -87.
DEVICE float exact_exponential(float x) {
    const float round = 12582912.0f;
    float rounded = plus(times(x, LOG2E), round);
    float power = plus(rounded, -round);
    float rest = plus(plus(x, -times(power, 0.6933594f)), -times(power, -2.1219444e-4f));
    float polynomial = 1.9875691e-4f;
    polynomial = plus(times(polynomial, rest), 1.3981999e-3f);
    polynomial = plus(times(polynomial, rest), 8.333452e-3f);
    polynomial = plus(times(polynomial, rest), 4.1665796e-2f);
    polynomial = plus(times(polynomial, rest), 1.6666665e-1f);
    polynomial = plus(times(polynomial, rest), 0.5f);
    float mantissa = plus(plus(times(times(polynomial, rest), rest), rest), 1.0f);
    float scaled = times(mantissa, from_bits((bits(rounded) - bits(round) + 127u) << 23));
    return x < -87.0f ? 0.0f : scaled;
}

// The probability relative to the likeliest token's in units of 2^-weight_bits, fractions dropped.
DEVICE u64 weight_of(float score, float highest, u32 weight_bits) {
    u32 value = bits(exact_exponential(plus(score, -highest)));
    if (value == 0) return 0;
    u64 mantissa = (value & 0x7fffffu) | 0x800000u;
    i32 shift = (i32)(value >> 23) - 150 + (i32)weight_bits;
    return shift >= 0 ? mantissa << shift : shift > -24 ? mantissa >> -shift : 0;
}

// Whole numbers in the order of the scores; the two zeros are one.
DEVICE u32 key_of(float score) {
    u32 value = bits(score == 0.0f ? 0.0f : score);
    return value & 0x80000000u ? ~value : value | 0x80000000u;
}
DEVICE float score_of(u32 key) { return from_bits(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

// The upper half of the product.
DEVICE u64 multiply_high(u64 a, u64 b) {
    u64 a_low = (u32)a, a_high = a >> 32, b_low = (u32)b, b_high = b >> 32;
    u64 middle = a_high * b_low + (a_low * b_low >> 32), other = a_low * b_high + (u32)middle;
    return a_high * b_high + (middle >> 32) + (other >> 32);
}

// The logits of a row behind the repetition penalty, and behind the temperature.
struct Scores {
    const float *logits;
    const u32 *seen; // a bit for each token, or null
    float penalty, temperature;

    DEVICE_MEMBER float penalised(u32 token) const { return penalised(token, logits[token]); }
    DEVICE_MEMBER float penalised(u32 token, float logit) const {
        if (penalty != 1.0f && seen && (seen[token / 32] >> token % 32 & 1u)) {
            return logit < 0.0f ? logit * penalty : logit / penalty;
        }
        return logit;
    }
    DEVICE_MEMBER float warm(float score) const { return temperature == 1.0f ? score : score / temperature; }
    DEVICE_MEMBER float at(u32 token) const { return warm(penalised(token)); }
};

// ---- first launch -----------------------------------------------------------------------------------------------

// grid: (ceil(vocabulary / SCAN_PART), rows). slots: the place of each row's sequence in seen; a row whose slot is not
// below slot_count is passed over, in every launch. maxima: (rows, ceil(vocabulary / GROUP)), the highest penalised
// score of each group. partial: (rows, blocks, 2), the highest logit of the block's part, or infinity where one is no number,
// and the sum of the exponentials relative to it.
KERNEL void BOUNDS(SCAN_THREADS, 1) sampling_scan(const float *logits, const SamplingParameters *parameters, const u32 *seen,
                                         const u32 *slots, float *maxima, float *partial, u32 vocabulary, u32 words,
                                         u32 slot_count) {
    SHARED float tops[32], totals[32];
    wait_for_producers();
    start_consumers();
    // All reads are under way before the first is looked at.
    u32 row = block_y(), slot = slots[row], groups = (vocabulary + GROUP - 1) / GROUP;
    float penalty = parameters[row].repetition_penalty;
    u32 first_group = (block() * warps() + warp()) * SCAN_GROUPS;
    constexpr u32 EACH = GROUP / WARP;
    float values[SCAN_GROUPS][EACH];
#pragma unroll
    for (u32 index = 0; index < SCAN_GROUPS; index++) {
#pragma unroll
        for (u32 part = 0; part < EACH; part++) {
            u32 token = (first_group + index) * GROUP + part * WARP + lane();
            values[index][part] = token < vocabulary ? logits[(u64)row * vocabulary + token] : -INFINITE;
        }
    }
    if (slot >= slot_count) return;
    Scores scores = {logits + (u64)row * vocabulary, seen ? seen + (u64)slot * words : nullptr, penalty, 1.0f};
    float top = -INFINITE;
#pragma unroll
    for (u32 index = 0; index < SCAN_GROUPS; index++) {
        float best = -INFINITE;
#pragma unroll
        for (u32 part = 0; part < EACH; part++) {
            float value = values[index][part];
            top = value != value ? INFINITE : maximum(top, value);
            u32 token = (first_group + index) * GROUP + part * WARP + lane();
            if (scores.penalty != 1.0f && token < vocabulary) value = scores.penalised(token, value);
            best = maximum(best, value);
        }
        best = warp_max(best);
        if (lane() == 0 && first_group + index < groups) maxima[(u64)row * groups + first_group + index] = best;
    }
    top = block_max(top, tops);
    float sum = 0.0f;
    if (top > -INFINITE && top < INFINITE) {
#pragma unroll
        for (u32 index = 0; index < SCAN_GROUPS; index++) {
#pragma unroll
            for (u32 part = 0; part < EACH; part++) sum += exponential(values[index][part] - top);
        }
    }
    sum = block_sum(sum, totals);
    if (thread() == 0) {
        float *target = partial + ((u64)row * blocks() + block()) * 2;
        target[0] = top;
        target[1] = sum;
    }
}

// ---- between the two --------------------------------------------------------------------------------------------

DEVICE u64 across(u64 value, u32 mask) {
    return (u64)across((u32)(value >> 32), mask) << 32 | across((u32)value, mask);
}
DEVICE u64 from_lane(u64 value, u32 source) {
    return (u64)from_lane((u32)(value >> 32), source) << 32 | from_lane((u32)value, source);
}
// Over WIDTH neighbouring lanes, in each of them.
template <u32 WIDTH, typename N> DEVICE N total_of(N value) {
#pragma unroll
    for (u32 mask = WIDTH / 2; mask > 0; mask /= 2) value += across(value, mask);
    return value;
}
template <typename N> DEVICE N warp_total(N value) { return total_of<WARP>(value); }

// grid: as sampling_scan. weights: (rows, ceil(vocabulary / GROUP)), the sum of the weights of each group, for the rows
// whose choice top_k does not limit.
KERNEL void BOUNDS(SCAN_THREADS, 1) sampling_weigh(const float *logits, const SamplingParameters *all_parameters, const u32 *seen,
                                          const u32 *slots, const float *all_maxima, u64 *weights, u32 vocabulary,
                                          u32 words, u32 slot_count) {
    SHARED float bests[32];
    wait_for_producers();
    start_consumers();
    u32 row = block_y(), slot = slots[row], groups = (vocabulary + GROUP - 1) / GROUP;
    if (slot >= slot_count) return;
    SamplingParameters parameters = all_parameters[row];
    if (parameters.temperature == 0.0f || (parameters.top_k > 0 && parameters.top_k < vocabulary)) return;
    Scores scores = {logits + (u64)row * vocabulary, seen ? seen + (u64)slot * words : nullptr,
                     parameters.repetition_penalty, parameters.temperature};
    const float *maxima = all_maxima + (u64)row * groups;
    float best = -INFINITE;
    for (u32 group = thread(); group < groups; group += threads()) best = maximum(best, maxima[group]);
    float highest = scores.warm(block_max(best, bests));
    u32 first_group = (block() * warps() + warp()) * SCAN_GROUPS;
    for (u32 group = first_group; group < smaller(first_group + SCAN_GROUPS, groups); group++) {
        u64 total = 0;
#pragma unroll
        for (u32 part = 0; part < GROUP / WARP; part++) {
            u32 token = group * GROUP + part * WARP + lane();
            if (token < vocabulary) total += weight_of(scores.at(token), highest, parameters.weight_bits);
        }
        total = warp_total(total);
        if (lane() == 0) weights[(u64)row * groups + group] = total;
    }
}

// ---- last launch ------------------------------------------------------------------------------------------------

DEVICE u32 shared_add(u32 *address, u32 value) {
#if AMD
    return __hip_atomic_fetch_add(address, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
#else
    return atomicAdd(address, value);
#endif
}
DEVICE u64 shared_add(u64 *address, u64 value) {
#if AMD
    return __hip_atomic_fetch_add(address, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
#else
    return atomicAdd(address, value);
#endif
}

// What the block shares.
struct Choice {
    u64 scratch[32];
    u32 count, listed, token;
    u32 digit, key;
    u64 above;
    union {
        struct {
            u64 order[CANDIDATES];  // likelier is greater: the score's key, then the lower token
            u64 weight[CANDIDATES];
            u64 above[CANDIDATES];  // the sum of the weights of likelier candidates
            u32 groups[LISTED_GROUPS];
        } list;
        u64 histogram[DIGITS];
    };
};
static SHARED Choice shared;

// Over the block, in each thread; begins and ends with a barrier.
OUTLINED u64 block_total(u64 value) {
    value = warp_total(value);
    barrier();
    if (lane() == 0) shared.scratch[warp()] = value;
    barrier();
    u64 total = warp_total(lane() < warps() ? shared.scratch[lane()] : (u64)0);
    barrier();
    return total;
}

// In how many threads of the block present is true.
DEVICE u32 block_count(bool present) {
#if AMD || WARP == 64
    return (u32)block_total(present ? 1u : 0u);
#else
    return (u32)__syncthreads_count(present);
#endif
}

DEVICE u32 warp_min(u32 value) {
#pragma unroll
    for (u32 mask = WARP / 2; mask > 0; mask /= 2) value = smaller(value, across(value, mask));
    return value;
}

// The first token of the row whose penalised score is the highest, in shared.token. By the first warp alone.
DEVICE void first_highest(const Scores &scores, const float *maxima, u32 groups, u32 vocabulary) {
    float best = -INFINITE;
    u32 first = NO_TOKEN;
#pragma unroll 8
    for (u32 group = lane(); group < groups; group += WARP) {
        float score = maxima[group];
        if (first == NO_TOKEN || score > best) best = score, first = group;
    }
    float highest = warp_max(best);
    u32 group = warp_min(best == highest ? first : NO_TOKEN), token = NO_TOKEN;
#pragma unroll
    for (u32 part = 0; part < GROUP / WARP; part++) {
        u32 candidate = group * GROUP + part * WARP + lane();
        if (candidate < vocabulary && scores.penalised(candidate) == highest) token = smaller(token, candidate);
    }
    token = warp_min(token);
    if (lane() == 0) shared.token = token;
}

// Whether a short list decides, and then the token in shared.token. k: how many of the greatest scores the list must
// hold; 0 < k. whole: top_k does not limit the choice, so that the list must hold what top-p and min-p leave.
OUTLINED bool choose_from_list(const Scores &scores, const SamplingParameters &parameters, const float *maxima,
                               u32 groups, u32 vocabulary, u32 k, bool whole, u64 row_total, float highest,
                               u64 random) {
    if (groups < k || k > LISTED_GROUPS) return false;
    // A bound that at least k groups reach, and few more: halving between keys of which the lower is reached by at
    // least k and the upper by fewer.
    u32 lower = key_of(-INFINITE), upper = key_of(highest) + 1, reached = groups;
    // Up to two groups a thread, which covers vocabularies of 262,144 tokens, are kept in registers.
    u32 first = thread(), second = thread() + threads();
    u32 first_key = first < groups ? key_of(scores.warm(maxima[first])) : 0;
    u32 second_key = second < groups ? key_of(scores.warm(maxima[second])) : 0;
    // Most maxima lie near the highest: begin there and double the distance.
    u32 distance = 1u << 20;
    while (upper - lower > 1) {
        u32 middle = distance && upper - lower > distance ? upper - distance : lower + (upper - lower) / 2;
        u32 count;
        if (groups <= threads()) {
            count = block_count(first_key >= middle);
        } else {
            u32 mine = (first_key >= middle) + (second_key >= middle);
#pragma unroll 1
            for (u32 group = second + threads(); group < groups; group += threads()) {
                mine += key_of(scores.warm(maxima[group])) >= middle;
            }
            count = (u32)block_total(mine);
        }
        if (count >= k) {
            lower = middle;
            reached = count;
            distance = 0;
            if (count <= k + k / 4 + 4) break;
        } else {
            upper = middle;
            distance *= 4;
        }
    }
    if (reached > LISTED_GROUPS) return false;

    if (thread() == 0) shared.count = 0, shared.listed = 0;
    barrier();
#pragma unroll 1
    for (u32 group = thread(); group < groups; group += threads()) {
        if (key_of(scores.warm(maxima[group])) >= lower) shared.list.groups[shared_add(&shared.listed, 1u)] = group;
    }
    barrier();
    u32 listed = shared.listed;
    // Two groups of a warp are read together.
#pragma unroll 1
    for (u32 index = warp(); index < listed; index += 2 * warps()) {
        constexpr u32 EACH = GROUP / WARP;
        u32 tokens[2 * EACH];
        float logits[2 * EACH];
#pragma unroll
        for (u32 part = 0; part < 2 * EACH; part++) {
            u32 place = index + part / EACH * warps();
            u32 group = place < listed ? shared.list.groups[place] : groups;
            tokens[part] = group * GROUP + part % EACH * WARP + lane();
            logits[part] = tokens[part] < vocabulary ? scores.logits[tokens[part]] : 0.0f;
        }
#pragma unroll
        for (u32 part = 0; part < 2 * EACH; part++) {
            if (tokens[part] >= vocabulary) continue;
            u32 key = key_of(scores.warm(scores.penalised(tokens[part], logits[part])));
            if (key < lower) continue;
            u32 place = shared_add(&shared.count, 1u);
            if (place < CANDIDATES) shared.list.order[place] = (u64)key << 32 | (u32)~tokens[part];
        }
    }
    barrier();
    u32 count = shared.count;
    if (count > CANDIDATES) return false;

#pragma unroll 1
    for (u32 index = thread(); index < count; index += threads()) {
        shared.list.weight[index] =
            weight_of(score_of((u32)(shared.list.order[index] >> 32)), highest, parameters.weight_bits);
    }
    barrier();
    // SHARE lanes a candidate. First: how many are likelier, and the sum of their weights.
    constexpr u32 SHARE = 8, AT_ONCE = WARP / SHARE;
    u32 stride = warps() * AT_ONCE, place = lane() % SHARE;
#pragma unroll 1
    for (u32 base = warp() * AT_ONCE; base < count; base += stride) {
        u32 index = base + lane() / SHARE, likelier = 0;
        u64 order = index < count ? shared.list.order[index] : 0, above = 0;
        for (u32 other = place; other < count; other += SHARE) {
            if (shared.list.order[other] > order) likelier++, above += shared.list.weight[other];
        }
        likelier = total_of<SHARE>(likelier);
        above = total_of<SHARE>(above);
        if (place == 0 && index < count) {
            shared.list.above[index] = above;
            if (likelier == k - 1) shared.key = (u32)(order >> 32);
        }
    }
    barrier();
    // Second: which of them stay. Each sums all weights for itself, which spares barriers.
    u32 least = whole ? lower : shared.key;
    u64 total = 0;
    for (u32 other = place; other < count; other += SHARE) {
        if (shared.list.order[other] >> 32 >= least) total += shared.list.weight[other];
    }
    total = total_of<SHARE>(total);
    if (whole) {
        u64 removable = (u64)(parameters.removable * (double)row_total);
        bool cut = parameters.removable > 0.0 && row_total - total <= removable;
        bool least_cut = parameters.least_weight > 0 &&
                         weight_of(score_of(lower), highest, parameters.weight_bits) < parameters.least_weight;
        if (!cut && !least_cut) return false;
        total = row_total;
    }
    u64 removable = (u64)(parameters.removable * (double)total);
    barrier();
#pragma unroll 1
    for (u32 index = thread(); index < count; index += threads()) {
        // Nothing is likelier than what has nothing above it, and that stays whatever top_p is.
        u64 above = shared.list.above[index];
        bool cut = parameters.removable > 0.0 && above > 0 && total - above <= removable;
        bool out = shared.list.order[index] >> 32 < least || shared.list.weight[index] < parameters.least_weight;
        if (cut || out) shared.list.weight[index] = 0;
    }
    barrier();
    // Third: whose part of the line of weights, in the order of the tokens, holds the point.
    u64 kept = 0;
    for (u32 other = place; other < count; other += SHARE) kept += shared.list.weight[other];
    u64 point = multiply_high(random, total_of<SHARE>(kept));
#pragma unroll 1
    for (u32 base = warp() * AT_ONCE; base < count; base += stride) {
        u32 index = base + lane() / SHARE;
        u64 own = index < count ? shared.list.weight[index] : 0, before = 0;
        // Of the two parts of the order, the lower is the complement of the token.
        u32 complement = index < count ? (u32)shared.list.order[index] : 0;
        for (u32 other = place; other < count; other += SHARE) {
            if ((u32)shared.list.order[other] > complement) before += shared.list.weight[other];
        }
        before = total_of<SHARE>(before);
        if (place == 0 && own > 0 && before <= point && point - before < own) shared.token = ~complement;
    }
    barrier();
    return true;
}

// Going down from the likeliest, the key at which what is counted (one for each score, or its weight) reaches target,
// in shared.key; what is counted above it is in shared.above. Scores below least and weights of zero count nothing.
template <bool WEIGHTED>
OUTLINED void select_key(const Scores &scores, const SamplingParameters &parameters, u32 vocabulary, u32 least,
                         float highest, u64 target) {
    u32 prefix = 0, above_bits = 32;
    if (thread() == 0) shared.above = 0;
    for (u32 level = 0; level < 3; level++) {
        u32 width = level < 2 ? 11 : 10, shift = above_bits - width;
#pragma unroll 1
        for (u32 digit = thread(); digit < DIGITS; digit += threads()) shared.histogram[digit] = 0;
        barrier();
#pragma unroll 1
        for (u32 token = thread(); token < vocabulary; token += threads()) {
            float score = scores.at(token);
            u32 key = key_of(score);
            if (key < least || (level > 0 && key >> above_bits != prefix)) continue;
            u64 weight = WEIGHTED ? weight_of(score, highest, parameters.weight_bits) : 1;
            if (weight > 0) shared_add(&shared.histogram[key >> shift & ((1u << width) - 1)], weight);
        }
        barrier();
        // A warp's lane holds neighbouring digits, from the greatest down.
        if (warp() == 0) {
            constexpr u32 EACH = DIGITS / WARP;
            u32 greatest = DIGITS - 1 - lane() * EACH;
            u64 own = 0, before = shared.above;
#pragma unroll 1
            for (u32 index = 0; index < EACH; index++) own += shared.histogram[greatest - index];
            u64 up_to = own;
            for (u32 step = 1; step < WARP; step *= 2) {
                u64 lower = from_lane(up_to, lane() - step & (WARP - 1));
                if (lane() >= step) up_to += lower;
            }
            u64 above = before + up_to - own;
            warp_barrier();
            if (above < target && target <= before + up_to) {
                u32 digit = greatest;
                while (above + shared.histogram[digit] < target) above += shared.histogram[digit--];
                shared.digit = digit;
                shared.above = above;
            }
        }
        barrier();
        prefix = prefix << width | shared.digit;
        above_bits = shift;
        barrier();
    }
    if (thread() == 0) shared.key = prefix;
    barrier();
}

// The token in shared.token, by going over the whole row.
OUTLINED void choose_from_row(const Scores &scores, const SamplingParameters &parameters, u32 vocabulary, float highest,
                            u64 random) {
    u32 least = 0;
    if (parameters.top_k > 0 && parameters.top_k < vocabulary) {
        select_key<false>(scores, parameters, vocabulary, 0, highest, parameters.top_k);
        least = shared.key;
        barrier();
    }
    // Of those exactly as likely as the last that stays, the lowest tokens stay.
    u64 equals_kept = ~(u64)0;
    if (parameters.removable > 0.0) {
        u64 mine = 0;
#pragma unroll 1
        for (u32 token = thread(); token < vocabulary; token += threads()) {
            float score = scores.at(token);
            if (key_of(score) >= least) mine += weight_of(score, highest, parameters.weight_bits);
        }
        u64 total = block_total(mine), removable = (u64)(parameters.removable * (double)total);
        // The likeliest stays whatever top_p is.
        u64 budget = total > removable ? total - removable : 1;
        select_key<true>(scores, parameters, vocabulary, least, highest, budget);
        least = shared.key;
        u64 weight = weight_of(score_of(least), highest, parameters.weight_bits);
        equals_kept = (budget - shared.above + weight - 1) / weight;
        barrier();
    }
    // A warp's part of the row, in the order of the tokens, so that sums go along it.
    u32 part = (vocabulary + warps() - 1) / warps(), first = warp() * part, end = smaller(first + part, vocabulary);
    u64 equals_before = 0;
    if (equals_kept != ~(u64)0) {
        u64 equals = 0;
#pragma unroll 1
        for (u32 token = first + lane(); token < end; token += WARP) equals += key_of(scores.at(token)) == least;
        equals = warp_total(equals);
        if (lane() == 0) shared.scratch[warp()] = equals;
        barrier();
#pragma unroll 1
        for (u32 index = 0; index < warp(); index++) equals_before += shared.scratch[index];
        barrier();
    }
    // A chunk is WARP neighbouring tokens. walk(chunk, weight) until it returns true.
    auto walk = [&](auto &&visit) {
        u64 equals = equals_before;
#pragma unroll 1
        for (u32 chunk = first; chunk < end; chunk += WARP) {
            u32 token = chunk + lane();
            float score = token < end ? scores.at(token) : -INFINITE;
            u32 key = key_of(score);
            u64 weight = token < end && key >= least ? weight_of(score, highest, parameters.weight_bits) : 0;
            if (equals_kept != ~(u64)0) {
                u32 equal = token < end && key == least ? 1 : 0, up_to = equal;
                for (u32 step = 1; step < WARP; step *= 2) {
                    u32 lower = from_lane(up_to, lane() - step & (WARP - 1));
                    if (lane() >= step) up_to += lower;
                }
                if (equal && equals + up_to > equals_kept) weight = 0;
                equals += from_lane(up_to, WARP - 1);
            }
            if (weight < parameters.least_weight) weight = 0;
            if (visit(chunk, weight)) return;
        }
    };
    u64 mine = 0;
    walk([&](u32, u64 weight) {
        mine += weight;
        return false;
    });
    mine = warp_total(mine);
    if (lane() == 0) shared.scratch[warp()] = mine;
    barrier();
    u64 total = 0, before = 0;
#pragma unroll 1
    for (u32 index = 0; index < warps(); index++) {
        if (index < warp()) before += shared.scratch[index];
        total += shared.scratch[index];
    }
    u64 point = multiply_high(random, total);
    if (before <= point && point - before < mine) {
        walk([&](u32 chunk, u64 weight) {
            u64 up_to = weight;
            for (u32 step = 1; step < WARP; step *= 2) {
                u64 lower = from_lane(up_to, lane() - step & (WARP - 1));
                if (lane() >= step) up_to += lower;
            }
            if (weight > 0 && before + up_to - weight <= point && point < before + up_to) shared.token = chunk + lane();
            before += from_lane(up_to, WARP - 1);
            return before > point;
        });
    }
    barrier();
}

// Where nothing but the temperature shapes the distribution: the token in shared.token, from the groups' weights.
OUTLINED void choose_from_groups(const Scores &scores, const SamplingParameters &parameters, const u64 *weights,
                                 u32 groups, u32 vocabulary, float highest, u64 total, u64 random) {
    u64 point = multiply_high(random, total);
    // A thread takes neighbouring groups, so that sums go along the row.
    u32 each = (groups + threads() - 1) / threads(), first = thread() * each, end = smaller(first + each, groups);
    u64 own = 0;
#pragma unroll 1
    for (u32 group = first; group < end; group++) own += weights[group];
    u64 up_to = own;
    for (u32 step = 1; step < WARP; step *= 2) {
        u64 lower = from_lane(up_to, lane() - step & (WARP - 1));
        if (lane() >= step) up_to += lower;
    }
    barrier();
    if (lane() == WARP - 1) shared.scratch[warp()] = up_to;
    barrier();
    u64 before = up_to - own;
#pragma unroll 1
    for (u32 index = 0; index < warp(); index++) before += shared.scratch[index];
    if (before <= point && point - before < own) {
        u32 group = first;
        while (before + weights[group] <= point) before += weights[group++];
        shared.listed = group;
        shared.above = before;
    }
    barrier();
    if (warp() != 0) return;
    before = shared.above;
    for (u32 part = 0; part < GROUP / WARP; part++) {
        u32 token = shared.listed * GROUP + part * WARP + lane();
        own = token < vocabulary ? weight_of(scores.at(token), highest, parameters.weight_bits) : 0;
        up_to = own;
        for (u32 step = 1; step < WARP; step *= 2) {
            u64 lower = from_lane(up_to, lane() - step & (WARP - 1));
            if (lane() >= step) up_to += lower;
        }
        if (own > 0 && before + up_to - own <= point && point < before + up_to) shared.token = token;
        before += from_lane(up_to, WARP - 1);
    }
}

// grid: rows. weights is null where sampling_weigh was not launched. maxima and partial are what sampling_scan left,
// parts its blocks a row. Steps are counted for each row: random (capacity, rows) holds a random number of 64 bits for
// each, and the token and its log-probability are appended to chosen and log_probabilities (capacity, rows), both around
// a ring. The token becomes tokens[row], positions[row] grows by one, and the token is marked in seen. Logits that are no
// numbers, or all negative infinity, give the token NO_TOKEN and a log-probability that is no number.
KERNEL void BOUNDS(1024, 1)
    sampling_choose(const float *logits, const SamplingParameters *all_parameters, u32 *seen, const u32 *slots,
                    const float *all_maxima, const float *partial, const u64 *all_weights, const u64 *random,
                    u32 *steps, u32 *tokens, u32 *positions, u32 *chosen, float *log_probabilities, u32 vocabulary,
                    u32 words, u32 parts, u32 capacity, u32 rows, u32 slot_count) {
    SHARED float tops[32], totals[32], bests[32];
    wait_for_producers();
    start_consumers();
    u32 row = block(), slot = slots[row], groups = (vocabulary + GROUP - 1) / GROUP, step = steps[row];
    SamplingParameters parameters = all_parameters[row];
    const float *maxima = all_maxima + (u64)row * groups;
    if (slot >= slot_count) return;
    Scores scores = {logits + (u64)row * vocabulary, seen ? seen + (u64)slot * words : nullptr,
                     parameters.repetition_penalty, parameters.temperature};
    // Where the likeliest token is chosen, a warp is enough: barriers would cost more than a few hundred reads.
    bool likeliest = parameters.temperature == 0.0f;
    if (likeliest && warp() != 0) return;
    u32 together = likeliest ? WARP : threads();
    u64 place = (u64)(step % capacity) * rows + row;
    float top = -INFINITE, sum = 0.0f;
#pragma unroll 1
    for (u32 part = thread(); part < parts; part += together) {
        top = maximum(top, partial[((u64)row * parts + part) * 2]);
    }
    top = likeliest ? warp_max(top) : block_max(top, tops);
#pragma unroll 1
    for (u32 part = thread(); part < parts; part += together) {
        const float *source = partial + ((u64)row * parts + part) * 2;
        if (source[1] > 0.0f) sum += source[1] * exponential(source[0] - top);
    }
    sum = likeliest ? warp_sum(sum) : block_sum(sum, totals);

    bool valid = top > -INFINITE && top < INFINITE;
    if (valid && likeliest) {
        first_highest(scores, maxima, groups, vocabulary);
    } else if (valid) {
        float best = -INFINITE;
#pragma unroll 1
        for (u32 group = thread(); group < groups; group += threads()) best = maximum(best, maxima[group]);
        float highest = scores.warm(block_max(best, bests));
        if (!(highest > -INFINITE && highest < INFINITE)) {
            // A temperature near zero.
            if (warp() == 0) first_highest(scores, maxima, groups, vocabulary);
        } else {
            u64 drawn = random ? random[place] : 0;
            bool whole = parameters.top_k == 0 || parameters.top_k >= vocabulary;
            bool listable = !whole || parameters.removable > 0.0 || parameters.least_weight > 0;
            const u64 *weights = all_weights && whole ? all_weights + (u64)row * groups : nullptr;
            u64 total = 0;
            if (weights) {
#pragma unroll 1
                for (u32 group = thread(); group < groups; group += threads()) total += weights[group];
                total = block_total(total);
            } else if (whole && listable && parameters.removable > 0.0) {
#pragma unroll 1
                for (u32 token = thread(); token < vocabulary; token += threads()) {
                    total += weight_of(scores.at(token), highest, parameters.weight_bits);
                }
                total = block_total(total);
            }
            if (weights && !listable) {
                choose_from_groups(scores, parameters, weights, groups, vocabulary, highest, total, drawn);
                barrier();
            } else {
                u32 k = whole ? smaller(SHORT_LIST, groups) : parameters.top_k;
                bool decided = listable && choose_from_list(scores, parameters, maxima, groups, vocabulary, k, whole,
                                                            total, highest, drawn);
                barrier();
                if (!decided) choose_from_row(scores, parameters, vocabulary, highest, drawn);
            }
        }
    }
    if (thread() != 0) return;
    u32 token = valid ? shared.token : NO_TOKEN;
    float log_probability = valid ? scores.logits[token] - top - logarithm(sum) : INFINITE - INFINITE;
    if (valid && seen) seen[(u64)slot * words + token / 32] |= 1u << token % 32;
    tokens[row] = token;
    positions[row]++;
    chosen[place] = token;
    log_probabilities[place] = log_probability;
    steps[row] = step + 1;
}

// Marks the tokens of prompts as seen: tokens, slots (count); those outside the vocabulary are passed over.
KERNEL void sampling_mark(const u32 *tokens, const u32 *slots, u32 *seen, u32 count, u32 vocabulary, u32 words,
                          u32 slot_count) {
    wait_for_producers();
    start_consumers();
#pragma unroll 1
    for (u32 index = block() * threads() + thread(); index < count; index += blocks() * threads()) {
        u32 token = tokens[index], slot = slots[index];
        if (token >= vocabulary || slot >= slot_count) continue;
        u32 *word = seen + (u64)slot * words + token / 32;
#if AMD
        __hip_atomic_fetch_or(word, 1u << token % 32, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
#else
        atomicOr(word, 1u << token % 32);
#endif
    }
}
