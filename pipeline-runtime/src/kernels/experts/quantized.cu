// Experts in ggml's block formats for few tokens: the products of gpu.cu on quantised weights and quantised inputs.
//
// gate_up: (experts, 2, intermediate, hidden), down: (experts, hidden, intermediate), in a format of quantized.cuh, rows
// in whole blocks. Inputs are quantised once by a kernel of their own, to 8 bits with a scale for 32 neighbours.

// Quantised rows in memory: values, then scales, then sums, each of all rows.
DEVICE QuantizedRows quantized_in(u8 *memory, u32 rows, u32 in) {
    float *scales = (float *)(memory + (u64)rows * in);
    return {(const i8 *)memory, scales, scales + (u64)rows * (in / 32), in};
}

// x: (rows, in) T, in a multiple of 32. Any grid of whole warps: a lane takes 8 neighbours, four lanes a scale.
template <typename T> DEVICE void quantize_inputs(const T *x, u8 *memory, u32 rows, u32 in) {
    wait_for_producers();
    start_consumers();
    QuantizedRows result = quantized_in(memory, rows, in);
    u32 items = rows * (in / 8), last = (items + WARP - 1) / WARP * WARP;
    for (u32 item = block() * threads() + thread(); item < last; item += blocks() * threads()) {
        float numbers[8] = {}, highest = 0.0f;
        if (item < items) load8(x + (u64)item * 8, numbers);
#pragma unroll
        for (u32 index = 0; index < 8; index++) {
            highest = maximum(highest, maximum(numbers[index], -numbers[index]));
        }
        highest = max_lanes<4>(highest);
        float factor = highest > 0.0f ? 127.0f / highest : 0.0f, scale = highest / 127.0f;
        u32 lower = quantize4(numbers, factor), upper = quantize4(numbers + 4, factor);
        float sum = sum_lanes<2>(scale * (float)dot4(lower, 0x01010101u, dot4(upper, 0x01010101u, 0)));
        if (item >= items) continue;
        u32 *target = (u32 *)(memory + (u64)item * 8);
        target[0] = lower;
        target[1] = upper;
        if (item % 4 == 0) ((float *)result.scales)[item / 4] = scale;
        if (item % 2 == 0) ((float *)result.sums)[item / 2] = sum;
    }
}

// What a lane reads of one weight row at once, and its product with a row of x.
struct Q4K {
    static constexpr u32 PIECE = 32;  // weights
    words4 quants, header;

    DEVICE_MEMBER void load(const u8 *weight, u64 weights, u64 row, u32 in, u32 piece) {
        const u64 block = row * (in / Q4_K_WEIGHTS) + piece / 8;
        quants = stream16(q4_k_quants(weight, block) + piece % 8 * 16);
        header = ahead16(q4_k_header(weight, weights, block));
    }
    template <u32 ROWS>
    DEVICE_MEMBER void add(const QuantizedRows &x, u32 piece, const u32 (&inputs)[ROWS], float (&sums)[ROWS]) const {
        BlockScales scales = q4_k_scales(header, piece % 8 / 2);
#pragma unroll
        for (u32 row = 0; row < ROWS; row++) {
            sums[row] += q4_k_product(quants, scales, piece % 8, x, inputs[row], piece / 8 * Q4_K_WEIGHTS);
        }
    }
};

struct Q80 {
    static constexpr u32 PIECE = 16;
    words4 quants;
    u16 scale;

    DEVICE_MEMBER void load(const u8 *weight, u64 weights, u64 row, u32 in, u32 piece) {
        quants = stream16(weight + row * in + piece * 16);
        scale = ahead2((const u16 *)(weight + weights) + row * (in / 32) + piece / 2);
    }
    template <u32 ROWS>
    DEVICE_MEMBER void add(const QuantizedRows &x, u32 piece, const u32 (&inputs)[ROWS], float (&sums)[ROWS]) const {
        float wide = widen(f16{scale});
#pragma unroll
        for (u32 row = 0; row < ROWS; row++) sums[row] += q8_0_product(quants, wide, x, inputs[row], piece * 16);
    }
};

// The next rows of a mask, at most ROWS: where there are fewer, the first again. How many there were.
template <u32 ROWS> DEVICE u32 take_rows(u32 &mask, u32 (&rows)[ROWS]) {
    u32 count = 0;
#pragma unroll
    for (u32 index = 0; index < ROWS; index++) {
        rows[index] = mask ? count_bits((mask & (0 - mask)) - 1) : rows[0];
        count += mask ? 1 : 0;
        mask &= mask - 1;
    }
    return count;
}

// A warp takes two weight rows of an expert at a time, gate and up or two neighbours of down, and reads DEPTH pieces of
// each ahead. For down it goes through all experts before it takes other rows, so that sums have one order.
template <typename Format, typename T, u32 ROWS, bool UP>
DEVICE void quantized_experts(const u8 *weight, u8 *inputs, const u32 *chosen, const float *weights, u32 rows, u32 k,
                              u32 experts, u32 outputs, u32 in, T *activated, float *output) {
    constexpr u32 DEPTH = ROWS > 2 ? 2 : 4;
    SHARED chosen_experts found;
    if (UP) {
        wait_for_producers();
        start_consumers();
    }
    find_chosen(found, chosen, rows, k, experts);
    const QuantizedRows x = quantized_in(inputs, UP ? rows : rows * k, in);
    const u64 all = (u64)experts * (UP ? 2 : 1) * outputs * in;
    const u32 pairs = UP ? outputs : (outputs + 1) / 2, units = UP ? found.count * pairs : pairs;
    const u32 each = UP ? 1 : found.count, walkers = blocks() * warps(), walker = block() * warps() + warp();
    const u32 tasks = walker < units ? ((units - walker - 1) / walkers + 1) * each : 0;
    const u32 pieces = in / Format::PIECE, turns = (pieces + DEPTH * WARP - 1) / (DEPTH * WARP);

    struct place {
        u32 expert, pair;
    };
    auto find = [&](u32 task) {
        u32 unit = walker + task / each * walkers;
        return UP ? place{found.list[unit / pairs], unit % pairs} : place{found.list[task % each], unit};
    };
    // Pieces beyond the last are the last again; they are not added.
    auto load = [&](Format(&stage)[2], place at, u32 turn) {
        u32 piece = smaller(turn * WARP + lane(), pieces - 1);
#pragma unroll
        for (u32 set = 0; set < 2; set++) {
            u64 row = UP ? ((u64)at.expert * 2 + set) * outputs + at.pair
                         : (u64)at.expert * outputs + smaller(2 * at.pair + set, outputs - 1);
            stage[set].load(weight, all, row, in, piece);
        }
    };
    Format ahead[DEPTH][2];
    if (tasks > 0) {
        place at = find(0);
#pragma unroll
        for (u32 depth = 0; depth < DEPTH; depth++) load(ahead[depth], at, depth);
    }
    if (!UP) {
        wait_for_producers();
        start_consumers();
    }
    float totals[2] = {0.0f, 0.0f};
    for (u32 task = 0; task < tasks; task++) {
        place at = find(task);
        place next = task + 1 < tasks ? find(task + 1) : at;
        u32 mask = found.rows[at.expert];
        bool first = true;
        do {
            u32 members[ROWS], sources[ROWS], count;
            float factors[ROWS], sums[2][ROWS] = {};
            members[0] = 0;
            count = take_rows(mask, members);
#pragma unroll
            for (u32 row = 0; row < ROWS; row++) {
                u32 slot = 0;
                factors[row] = UP ? 1.0f : slot_weight(chosen, weights, k, members[row], at.expert, slot);
                sources[row] = UP ? members[row] : members[row] * k + slot;
            }
            for (u32 turn = 0; turn < turns; turn++) {
                bool last = turn + 1 == turns;
#pragma unroll
                for (u32 depth = 0; depth < DEPTH; depth++) {
                    u32 piece = (turn * DEPTH + depth) * WARP + lane();
                    // What was read ahead serves the first rows; more rows of the expert read it once more.
                    if (!first) load(ahead[depth], at, turn * DEPTH + depth);
                    if (piece < pieces) {
                        ahead[depth][0].template add<ROWS>(x, piece, sources, sums[0]);
                        ahead[depth][1].template add<ROWS>(x, piece, sources, sums[1]);
                    }
                    if (first && !last) load(ahead[depth], at, (turn + 1) * DEPTH + depth);
                    if (last && !mask && task + 1 < tasks) load(ahead[depth], next, depth);
                }
            }
#pragma unroll
            for (u32 row = 0; row < ROWS; row++) {
                float one = warp_sum(sums[0][row]), two = warp_sum(sums[1][row]);
                if (row >= count) continue;
                if (UP) {
                    if (lane() == 0) {
                        store_activated(activated, silu(one) * two, chosen, k, members[row], at.expert, at.pair, outputs);
                    }
                } else if (lane() == members[row]) {
                    totals[0] += factors[row] * one;
                    totals[1] += factors[row] * two;
                }
            }
            first = false;
        } while (mask);
        if (!UP && task % each == each - 1) {
            if (lane() < rows) {
                float *target = output + (u64)lane() * outputs + 2 * at.pair;
                target[0] += totals[0];
                if (2 * at.pair + 1 < outputs) target[1] += totals[1];
            }
            totals[0] = totals[1] = 0.0f;
        }
    }
}

// ---- one token on tensor cores ------------------------------------------------------------------------------------

#if STRIPS
constexpr u32 MOST_SLOTS = 64;

// What one token chose: shared memory that is read while weights are on their way.
struct Slots {
    u32 expert[MOST_SLOTS];
    float weight[MOST_SLOTS];

    DEVICE_MEMBER void read(const u32 *chosen, const float *weights, u32 k) {
        for (u32 slot = thread(); slot < k; slot += threads()) {
            expert[slot] = chosen[slot];
            weight[slot] = weights ? weights[slot] : 1.0f;
        }
        barrier();
    }
};

// A tile is 8 gate rows and the 8 up rows that belong to them, of the expert of a slot.
template <typename T> struct UpTiles {
    u32 tiles, turns, strips, of_slot, outputs, experts;
    const Slots &slots;
    T *activated;

    DEVICE_MEMBER bool find(u32 tile, u32 turn, u64 (&rows)[2], u32 &strip) const {
        const u32 expert = slots.expert[tile / of_slot];
        rows[0] = (u64)expert * 2 * outputs + smaller(tile % of_slot * 8 + lane() / 4, outputs - 1);
        rows[1] = rows[0] + outputs;
        strip = turn * warps() + warp();
        return expert < experts && strip < strips;
    }
    DEVICE_MEMBER u32 x_row(u32) const { return 0; }
    DEVICE_MEMBER float factor(u32) const { return 1.0f; }
    template <typename Total> DEVICE_MEMBER void write(u32 tile, u32, u32 place, Total total) const {
        const u32 output = tile % of_slot * 8 + place;
        if (place >= 8 || output >= outputs) return;
        activated[(u64)(tile / of_slot) * outputs + output] = narrow<T>(silu(total(place)) * total(place + 8));
    }
};

// A tile is 16 rows of down, of the experts of all slots.
struct DownTiles {
    u32 tiles, turns, strips, of_slot, outputs, experts;
    const Slots &slots;
    float *output;

    DEVICE_MEMBER bool find(u32 tile, u32 turn, u64 (&rows)[2], u32 &strip) const {
        const u32 expert = slots.expert[turn / of_slot], first = tile * 16 + lane() / 4;
        rows[0] = (u64)expert * outputs + smaller(first, outputs - 1);
        rows[1] = (u64)expert * outputs + smaller(first + 8, outputs - 1);
        strip = turn % of_slot * warps() + warp();
        return expert < experts && strip < strips;
    }
    DEVICE_MEMBER u32 x_row(u32 turn) const { return turn / of_slot; }
    DEVICE_MEMBER float factor(u32 turn) const { return slots.weight[turn / of_slot]; }
    template <typename Total> DEVICE_MEMBER void write(u32 tile, u32, u32 place, Total total) const {
        if (tile * 16 + place < outputs) output[tile * 16 + place] += total(place);
    }
};

template <typename Strip, typename T>
DEVICE void one_gate_up(const T *x, const u8 *gate_up, const u32 *chosen, u32 k, u32 experts, u32 hidden,
                        u32 intermediate, T *activated) {
    DYNAMIC_SHARED(shared);
    SHARED Slots slots;
    wait_for_producers();
    start_consumers();
    slots.read(chosen, 0, k);
    const u32 of_slot = (intermediate + 7) / 8, strips = hidden / STRIP;
    const UpTiles<T> work = {k * of_slot, (strips + warps() - 1) / warps(), strips, of_slot, intermediate, experts,
                             slots, activated};
    multiply_tiles<Strip, 1>(gate_up, (u64)experts * 2 * intermediate * hidden, hidden, 1, work,
                             [&] { return quantize_rows<T, false, 1, 2>(x, 0, 0.0f, shared, 1, hidden); });
}

template <typename Strip, typename T>
DEVICE void one_down(const T *activated, const u8 *down, const u32 *chosen, const float *weights, u32 k, u32 experts,
                     u32 hidden, u32 intermediate, float *output) {
    DYNAMIC_SHARED(shared);
    SHARED Slots slots;
    slots.read(chosen, weights, k);
    const u32 strips = intermediate / STRIP, of_slot = (strips + warps() - 1) / warps();
    const DownTiles work = {(hidden + 15) / 16, k * of_slot, strips, of_slot, hidden, experts, slots, output};
    multiply_tiles<Strip, 1>(down, (u64)experts * hidden * intermediate, intermediate, 1, work, [&] {
        wait_for_producers();
        start_consumers();
        return quantize_rows<T, false, 8, 2>(activated, 0, 0.0f, shared, k, intermediate);
    });
}

// One token, of up to MOST_SLOTS slots: x (hidden), chosen and weights (k), activated (k, intermediate); hidden and
// intermediate are multiples of 256. Any grid of up to 512 threads. Shared memory: the quantised x, or the quantised
// activated. down reads the routing before it waits: it must be older than the kernel before it.
#define ONE(Strip, name, T, suffix)                                                                                   \
    KERNEL void BOUNDS(512, 1)                                                                                        \
        experts_##name##_one_gate_up_##suffix(const T *x, const u8 *gate_up, const u32 *chosen, u32 k, u32 experts,   \
                                              u32 hidden, u32 intermediate, T *activated) {                           \
        one_gate_up<Strip>(x, gate_up, chosen, k, experts, hidden, intermediate, activated);                          \
    }                                                                                                                 \
    KERNEL void BOUNDS(512, 1)                                                                                        \
        experts_##name##_one_down_##suffix(const T *activated, const u8 *down, const u32 *chosen, const float *weights, \
                                           u32 k, u32 experts, u32 hidden, u32 intermediate, float *output) {         \
        one_down<Strip>(activated, down, chosen, weights, k, experts, hidden, intermediate, output);                  \
    }
#else
#define ONE(Strip, name, T, suffix)
#endif

// Any grid of 256 threads; up to 32 rows, ROWS of them at a time. inputs: what experts_quantize wrote, of x (rows,
// hidden) or of activated (rows * k, intermediate). down reads the routing before it waits: it must be older than the
// kernel before it.
#define QUANTIZED_EXPERTS(Format, name, T, suffix, ROWS)                                                              \
    KERNEL void BOUNDS(256, 2)                                                                                        \
        experts_##name##_gate_up##ROWS##_##suffix(u8 *inputs, const u8 *gate_up, const u32 *chosen, u32 rows, u32 k,  \
                                                  u32 experts, u32 hidden, u32 intermediate, T *activated) {          \
        quantized_experts<Format, T, ROWS, true>(gate_up, inputs, chosen, 0, rows, k, experts, intermediate, hidden,  \
                                                 activated, 0);                                                       \
    }
#define QUANTIZED_DOWN(Format, name, ROWS)                                                                            \
    KERNEL void BOUNDS(256, 2)                                                                                        \
        experts_##name##_down##ROWS(u8 *inputs, const u8 *down, const u32 *chosen, const float *weights, u32 rows,    \
                                    u32 k, u32 experts, u32 hidden, u32 intermediate, float *output) {                \
        quantized_experts<Format, float, ROWS, false>(down, inputs, chosen, weights, rows, k, experts, hidden,        \
                                                      intermediate, 0, output);                                       \
    }
#define QUANTIZE(T, suffix)                                                                                           \
    KERNEL void experts_quantize_##suffix(const T *x, u8 *memory, u32 rows, u32 in) {                                 \
        quantize_inputs(x, memory, rows, in);                                                                         \
    }
#define QUANTIZED(T, suffix)                                                                                          \
    QUANTIZE(T, suffix)                                                                                               \
    ONE(Q4KStrip, q4_k, T, suffix)                                                                                    \
    ONE(Q80Strip, q8_0, T, suffix)                                                                                    \
    QUANTIZED_EXPERTS(Q4K, q4_k, T, suffix, 1)                                                                        \
    QUANTIZED_EXPERTS(Q4K, q4_k, T, suffix, 4)                                                                        \
    QUANTIZED_EXPERTS(Q80, q8_0, T, suffix, 1)                                                                        \
    QUANTIZED_EXPERTS(Q80, q8_0, T, suffix, 4)

FOR_F32(QUANTIZED(float, f32))
FOR_BF16(QUANTIZED(bf16, bf16))
FOR_F16(QUANTIZED(f16, f16))

// They serve all number formats: not compiled with each.
#if FORMATS == 0 || FORMATS == 7
QUANTIZED_DOWN(Q4K, q4_k, 1)
QUANTIZED_DOWN(Q4K, q4_k, 4)
QUANTIZED_DOWN(Q80, q8_0, 1)
QUANTIZED_DOWN(Q80, q8_0, 4)
#endif
