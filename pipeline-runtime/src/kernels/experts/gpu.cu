// Σ weight · down(silu(gate · x) · (up · x)) over the experts that each token visits.
//
// gate_up: T (experts, 2, intermediate, hidden), down: T (experts, hidden, intermediate); chosen: (rows, k), weights:
// (rows, k). An index that is not below the number of experts stands for none.
//
// Up to FEW_ROWS tokens: the product is bound by the bytes of the weights, which go from memory straight into the
// registers of the matrix units, each expert's once for all tokens that chose it. No sorting, no atomics.
// More: index maps are sorted by expert, rows gathered on their way into shared memory.

// ---- few tokens -------------------------------------------------------------------------------------------------

// Without matrix units, for f32 and for rows that are not aligned: a warp takes a row of weights, four tokens at a time.
template <typename T>
DEVICE void gate_up_plain(const chosen_experts &found, const T *x, const T *gate_up, const u32 *chosen, u32 k,
                          u32 hidden, u32 intermediate, T *activated) {
    u32 pieces = (hidden + 7) / 8;
    for (u32 unit = block() * warps() + warp(); unit < found.count * intermediate; unit += blocks() * warps()) {
        u32 expert = found.list[unit / intermediate], place = unit % intermediate;
        const T *gate = gate_up + ((u64)expert * 2 * intermediate + place) * hidden;
        const T *up = gate + (u64)intermediate * hidden;
        u32 mask = found.rows[expert];
        while (mask) {
            u32 rows[4], count = 0;
#pragma unroll
            for (u32 index = 0; index < 4; index++) {
                rows[index] = mask ? count_bits((mask & (0 - mask)) - 1) : 0;
                count += mask ? 1 : 0;
                mask &= mask - 1;
            }
            float gates[4] = {0.0f, 0.0f, 0.0f, 0.0f}, ups[4] = {0.0f, 0.0f, 0.0f, 0.0f};
            for (u32 index = lane(); index < pieces; index += WARP) {
                float gate_values[8], up_values[8];
                unpack(load_piece(gate, 8 * index, hidden, true), gate_values);
                unpack(load_piece(up, 8 * index, hidden, true), up_values);
#pragma unroll
                for (u32 row = 0; row < 4; row++) {
                    if (row < count) {
                        float values[8];
                        unpack(load_piece(x + (u64)rows[row] * hidden, 8 * index, hidden, true), values);
#pragma unroll
                        for (u32 i = 0; i < 8; i++) {
                            gates[row] += gate_values[i] * values[i];
                            ups[row] += up_values[i] * values[i];
                        }
                    }
                }
            }
#pragma unroll
            for (u32 row = 0; row < 4; row++) {
                float gate_sum = warp_sum(gates[row]), up_sum = warp_sum(ups[row]);
                if (row < count && lane() == 0) {
                    store_activated(activated, silu(gate_sum) * up_sum, chosen, k, rows[row], expert, place,
                                    intermediate);
                }
            }
        }
    }
}

template <typename T>
DEVICE void down_plain(const chosen_experts &found, const T *activated, const T *down, const u32 *chosen,
                       const float *weights, u32 rows, u32 k, u32 hidden, u32 intermediate, float *output) {
    u32 pieces = (intermediate + 7) / 8;
    for (u32 place = block() * warps() + warp(); place < hidden; place += blocks() * warps()) {
        float total = 0.0f;
        for (u32 index = 0; index < found.count; index++) {
            u32 expert = found.list[index];
            const T *matrix = down + ((u64)expert * hidden + place) * intermediate;
            u32 mask = found.rows[expert];
            while (mask) {
                const T *inputs[4];
                u32 members[4], count = 0;
                float factors[4], sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
                for (u32 member = 0; member < 4; member++) {
                    u32 row = mask ? count_bits((mask & (0 - mask)) - 1) : 0, slot;
                    members[member] = row;
                    factors[member] = slot_weight(chosen, weights, k, row, expert, slot);
                    inputs[member] = activated + (u64)(row * k + slot) * intermediate;
                    count += mask ? 1 : 0;
                    mask &= mask - 1;
                }
                for (u32 piece = lane(); piece < pieces; piece += WARP) {
                    float down_values[8];
                    unpack(load_piece(matrix, 8 * piece, intermediate, true), down_values);
#pragma unroll
                    for (u32 member = 0; member < 4; member++) {
                        if (member < count) {
                            float values[8];
                            unpack(load_piece(inputs[member], 8 * piece, intermediate, true), values);
#pragma unroll
                            for (u32 i = 0; i < 8; i++) sums[member] += down_values[i] * values[i];
                        }
                    }
                }
#pragma unroll
                for (u32 member = 0; member < 4; member++) {
                    float sum = warp_sum(sums[member]);
                    if (member < count && lane() == members[member]) total += factors[member] * sum;
                }
            }
        }
        if (lane() < rows) output[(u64)lane() * hidden + place] += total;
    }
}

// A warp's way through tiles of 16 rows of weights, ahead of the products by one step: `TILES` matrices of one shape,
// `DEPTHS` pieces of 32 along the depth at a step, the warps of the block side by side along the depth.
template <typename T, u32 TILES, u32 DEPTHS> struct weight_stream {
    const T *row[PIECES];

    DEVICE_MEMBER void begin(const T *matrix, u32 first, u32 rows, u32 depth) {
#pragma unroll
        for (u32 piece = 0; piece < PIECES; piece++) {
            row[piece] = matrix + (u64)smaller(first + operand_row(piece), rows - 1) * depth;
        }
    }
    DEVICE_MEMBER static u32 place(u32 step, u32 part, u32 piece) {
        return ((step * FEW_WARPS + warp()) * DEPTHS + part) * TILE_DEPTH + operand_depth(piece);
    }
    DEVICE_MEMBER void load(operand (&into)[TILES][DEPTHS], u32 step, u32 depth, u64 apart) const {
#pragma unroll
        for (u32 part = 0; part < DEPTHS; part++) {
#pragma unroll
            for (u32 piece = 0; piece < PIECES; piece++) {
                u32 at = place(step, part, piece);
#pragma unroll
                for (u32 tile = 0; tile < TILES; tile++) {
                    words4 value = {0, 0, 0, 0};
                    if (at < depth) value = stream16(row[piece] + tile * apart + at);
                    into[tile][part].piece[piece] = value;
                }
            }
        }
    }
};

// sums[tile][set] += weights of a step times the inputs of 16 rows each.
template <typename T, u32 TILES, u32 DEPTHS, u32 SETS>
DEVICE void multiply_step(float (&sums)[TILES][SETS][SUMS], const operand (&weights)[TILES][DEPTHS],
                          const T *const (&inputs)[SETS][PIECES], u32 step, u32 depth) {
#pragma unroll
    for (u32 part = 0; part < DEPTHS; part++) {
#pragma unroll
        for (u32 set = 0; set < SETS; set++) {
            operand x;
#pragma unroll
            for (u32 piece = 0; piece < PIECES; piece++) {
                u32 at = weight_stream<T, TILES, DEPTHS>::place(step, part, piece);
                x.piece[piece] = words4{0, 0, 0, 0};
                if (inputs[set][piece] && at < depth) x.piece[piece] = load16(inputs[set][piece] + at);
            }
#pragma unroll
            for (u32 tile = 0; tile < TILES; tile++) multiply<T>(sums[tile][set], weights[tile][part], x);
        }
    }
}

// Rows of a tile's sums lie apart by this much, so that no two lanes meet in a bank.
#define SUM_STRIDE 20

template <u32 TILES, u32 SETS>
DEVICE void share_sums(float (*shared)[SETS][TILE][SUM_STRIDE], const float (&sums)[TILES][SETS][SUMS]) {
#pragma unroll
    for (u32 tile = 0; tile < TILES; tile++) {
#pragma unroll
        for (u32 set = 0; set < SETS; set++) {
#pragma unroll
            for (u32 index = 0; index < SUMS; index++) {
                shared[tile][set][sum_column(index)][sum_row(index)] = sums[tile][set][index];
            }
        }
    }
}

template <u32 TILES, u32 SETS> DEVICE void clear_sums(float (&sums)[TILES][SETS][SUMS]) {
#pragma unroll
    for (u32 tile = 0; tile < TILES; tile++) {
#pragma unroll
        for (u32 set = 0; set < SETS; set++) {
#pragma unroll
            for (u32 index = 0; index < SUMS; index++) sums[tile][set][index] = 0.0f;
        }
    }
}

// A block walks over tiles of 16 gate rows and their 16 up rows, all experts in one sequence; its warps divide the
// depth among them. Loads of the next step, of the next tile too, are under way while a step is multiplied.
template <typename T, u32 SETS>
DEVICE void few_gate_up(const T *x, const T *gate_up, const u32 *chosen, u32 rows, u32 k, u32 experts, u32 hidden,
                        u32 intermediate, T *activated) {
    constexpr u32 DEPTHS = 2;
    SHARED chosen_experts found;
    wait_for_producers();
    start_consumers();
    find_chosen(found, chosen, rows, k, experts);
    if constexpr (sizeof(T) == 2 && MATRIX_UNITS) {
        if (hidden % 8 == 0) {
            SHARED float partial[FEW_WARPS][2][SETS][TILE][SUM_STRIDE];
            const u32 tiles = (intermediate + TILE - 1) / TILE, units = found.count * tiles;
            const u32 steps = (hidden + FEW_WARPS * DEPTHS * TILE_DEPTH - 1) / (FEW_WARPS * DEPTHS * TILE_DEPTH);
            const u64 apart = (u64)intermediate * hidden;
            weight_stream<T, 2, DEPTHS> stream;
            operand ahead[2][2][DEPTHS];
            const T *inputs[SETS][PIECES];
            float sums[2][SETS][SUMS];
            u32 unit = block(), step = 0, load_unit = block(), load_step = 0;
            auto load = [&](operand(&into)[2][DEPTHS]) {
                if (load_unit >= units) return;
                if (load_step == 0) {
                    stream.begin(gate_up + found.list[load_unit / tiles] * 2 * apart, load_unit % tiles * TILE,
                                 intermediate, hidden);
                }
                stream.load(into, load_step, hidden, apart);
                if (++load_step == steps) load_step = 0, load_unit += blocks();
            };
            auto compute = [&](const operand(&weights)[2][DEPTHS]) {
                u32 expert = found.list[unit / tiles], mask = found.rows[expert];
                if (step == 0) {
                    clear_sums(sums);
#pragma unroll
                    for (u32 set = 0; set < SETS; set++) {
#pragma unroll
                        for (u32 piece = 0; piece < PIECES; piece++) {
                            u32 row = set * TILE + operand_row(piece);
                            inputs[set][piece] = mask >> row & 1 ? x + (u64)row * hidden : 0;
                        }
                    }
                }
                multiply_step<T, 2, DEPTHS, SETS>(sums, weights, inputs, step, hidden);
                if (++step < steps) return;
                share_sums<2, SETS>(partial[warp()], sums);
                barrier();
                for (u32 index = thread(); index < SETS * TILE * TILE; index += threads()) {
                    u32 row = index / TILE, inner = index % TILE, place = unit % tiles * TILE + inner;
                    if (mask >> row & 1 && place < intermediate) {
                        float gate = 0.0f, up = 0.0f;
#pragma unroll
                        for (u32 part = 0; part < FEW_WARPS; part++) {
                            gate += partial[part][0][row / TILE][row % TILE][inner];
                            up += partial[part][1][row / TILE][row % TILE][inner];
                        }
                        store_activated(activated, silu(gate) * up, chosen, k, row, expert, place, intermediate);
                    }
                }
                barrier();
                step = 0, unit += blocks();
            };
            load(ahead[0]);
            while (unit < units) {
                load(ahead[1]);
                compute(ahead[0]);
                if (unit >= units) break;
                load(ahead[0]);
                compute(ahead[1]);
            }
            return;
        }
    }
    gate_up_plain(found, x, gate_up, chosen, k, hidden, intermediate, activated);
}

// A block owns 16 columns of the output and walks through all experts for them, so that sums have one order. The
// routing is older than the kernel before this one (which waited for it): it is read, and the first weights with it,
// while that one finishes.
template <typename T, u32 SETS>
DEVICE void few_down(const T *activated, const T *down, const u32 *chosen, const float *weights, u32 rows, u32 k,
                     u32 experts, u32 hidden, u32 intermediate, float *output) {
    constexpr u32 DEPTHS = 4;
    SHARED chosen_experts found;
    find_chosen(found, chosen, rows, k, experts);
    if constexpr (sizeof(T) == 2 && MATRIX_UNITS) {
        if (intermediate % 8 == 0) {
            SHARED float partial[FEW_WARPS][1][SETS][TILE][SUM_STRIDE];
            const u32 tiles = (hidden + TILE - 1) / TILE;
            const u32 steps = (intermediate + FEW_WARPS * DEPTHS * TILE_DEPTH - 1) / (FEW_WARPS * DEPTHS * TILE_DEPTH);
            const u64 apart = (u64)intermediate * hidden;
            weight_stream<T, 1, DEPTHS> stream;
            operand ahead[2][1][DEPTHS];
            const T *inputs[SETS][PIECES];
            float sums[1][SETS][SUMS], totals[1][SETS][SUMS], factor = 0.0f;
            bool waited = false;
            for (u32 tile = block(); tile < tiles; tile += blocks()) {
                u32 index = 0, step = 0, load_index = 0, load_step = 0;
                auto load = [&](operand(&into)[1][DEPTHS]) {
                    if (load_index >= found.count) return;
                    if (load_step == 0) {
                        stream.begin(down + found.list[load_index] * apart, tile * TILE, hidden, intermediate);
                    }
                    stream.load(into, load_step, intermediate, 0);
                    if (++load_step == steps) load_step = 0, load_index++;
                };
                auto compute = [&](const operand(&loaded)[1][DEPTHS]) {
                    u32 expert = found.list[index], mask = found.rows[expert];
                    if (step == 0) {
                        clear_sums(sums);
                        u32 slot = 0;
                        if (lane() < rows) factor = slot_weight(chosen, weights, k, lane(), expert, slot);
#pragma unroll
                        for (u32 set = 0; set < SETS; set++) {
#pragma unroll
                            for (u32 piece = 0; piece < PIECES; piece++) {
                                u32 row = set * TILE + operand_row(piece);
                                u64 input = (u64)(row * k + from_lane(slot, row)) * intermediate;
                                inputs[set][piece] = mask >> row & 1 ? activated + input : 0;
                            }
                        }
                    }
                    multiply_step<T, 1, DEPTHS, SETS>(sums, loaded, inputs, step, intermediate);
                    if (++step < steps) return;
#pragma unroll
                    for (u32 set = 0; set < SETS; set++) {
#pragma unroll
                        for (u32 i = 0; i < SUMS; i++) {
                            u32 row = set * TILE + sum_column(i);
                            float weight = from_lane(factor, row);
                            if (mask >> row & 1) totals[0][set][i] += weight * sums[0][set][i];
                        }
                    }
                    step = 0, index++;
                };
                load(ahead[0]);
                if (!waited) {
                    wait_for_producers();
                    start_consumers();
                    waited = true;
                }
                clear_sums(totals);
                while (index < found.count) {
                    load(ahead[1]);
                    compute(ahead[0]);
                    if (index >= found.count) break;
                    load(ahead[0]);
                    compute(ahead[1]);
                }
                share_sums<1, SETS>(partial[warp()], totals);
                barrier();
                for (u32 place = thread(); place < SETS * TILE * TILE; place += threads()) {
                    u32 row = place / TILE, column = tile * TILE + place % TILE;
                    if (row < rows && column < hidden) {
                        float total = 0.0f;
#pragma unroll
                        for (u32 part = 0; part < FEW_WARPS; part++) {
                            total += partial[part][0][row / TILE][row % TILE][place % TILE];
                        }
                        output[(u64)row * hidden + column] += total;
                    }
                }
                barrier();
            }
            return;
        }
    }
    wait_for_producers();
    start_consumers();
    down_plain(found, activated, down, chosen, weights, rows, k, hidden, intermediate, output);
}

// ---- sorting ----------------------------------------------------------------------------------------------------

#define SORT_THREADS 1024
#define SORT_COUNTS 8192

// Rows of a tile of the products for many tokens.
#define TILE_ROWS 128

// A tile of places in the sorted order: all of one expert.
struct __attribute__((aligned(16))) row_tile {
    u32 expert, first, end, unused;
};

// Lanes whose valid key equals this lane's.
DEVICE u64 lanes_alike(u32 key, bool valid) {
    u64 alike = lanes_where(valid);
#pragma unroll
    for (u32 bit = 1; bit < MOST_EXPERTS; bit *= 2) {
        u64 set = lanes_where(key & bit);
        alike &= key & bit ? set : ~set;
    }
    return alike;
}

// Sorts the numbers of (row, slot) pairs by their expert, in their own order within an expert; dropped ones are left
// out. `tiles` has room for `most_tiles`; *tile_count says how many there are. One block of 1024 threads.
KERNEL void BOUNDS(SORT_THREADS, 1) experts_sort(const u32 *chosen, u32 pairs, u32 experts, u32 *order, row_tile *tiles,
                                                  u32 *tile_count) {
    SHARED u32 counts[SORT_COUNTS];
    SHARED u32 first_places[MOST_EXPERTS + 1];
    SHARED u32 first_tiles[MOST_EXPERTS + 1];
    wait_for_producers();
    start_consumers();
    // Each of `parts` warps takes a run of pairs and counts for itself.
    const u32 parts = smaller(warps(), SORT_COUNTS / experts);
    const u32 run = (pairs + parts * WARP - 1) / (parts * WARP) * WARP;
    const u32 begin = smaller(warp() * run, pairs), end = smaller(begin + run, pairs);
    u32 *own = counts + warp() * experts;
    for (u32 index = thread(); index < parts * experts; index += threads()) counts[index] = 0;
    barrier();
    if (warp() < parts) {
        for (u32 base = begin; base < end; base += WARP) {
            u32 index = base + lane();
            u32 expert = index < end ? chosen[index] : ~0u;
            bool valid = expert < experts;
            u64 alike = lanes_alike(expert, valid);
            if (valid && (alike & (((u64)1 << lane()) - 1)) == 0) own[expert] += count_bits(alike);
            warp_barrier();
        }
    }
    barrier();
    for (u32 expert = thread(); expert < experts; expert += threads()) {
        u32 total = 0;
        for (u32 part = 0; part < parts; part++) total += counts[part * experts + expert];
        first_places[expert] = total;
    }
    barrier();
    if (warp() == 0) {
        u32 places = 0, all_tiles = 0;
        for (u32 base = 0; base < experts; base += WARP) {
            u32 expert = base + lane();
            u32 count = expert < experts ? first_places[expert] : 0, tiled = (count + TILE_ROWS - 1) / TILE_ROWS;
            u32 sum = count, tile_sum = tiled;
#pragma unroll
            for (u32 distance = 1; distance < WARP; distance *= 2) {
                u32 source = lane() >= distance ? lane() - distance : lane();
                u32 other = from_lane(sum, source), other_tiles = from_lane(tile_sum, source);
                if (lane() >= distance) sum += other, tile_sum += other_tiles;
            }
            if (expert < experts) {
                first_places[expert] = places + sum - count;
                first_tiles[expert] = all_tiles + tile_sum - tiled;
            }
            places += from_lane(sum, WARP - 1);
            all_tiles += from_lane(tile_sum, WARP - 1);
        }
        if (lane() == 0) {
            first_places[experts] = places;
            first_tiles[experts] = all_tiles;
            *tile_count = all_tiles;
        }
    }
    barrier();
    for (u32 expert = thread(); expert < experts; expert += threads()) {
        u32 place = first_places[expert], next = first_places[expert + 1];
        for (u32 tile = first_tiles[expert]; tile < first_tiles[expert + 1]; tile++, place += TILE_ROWS) {
            tiles[tile] = row_tile{expert, place, smaller(place + TILE_ROWS, next), 0};
        }
        u32 running = first_places[expert];
        for (u32 part = 0; part < parts; part++) {
            u32 count = counts[part * experts + expert];
            counts[part * experts + expert] = running;
            running += count;
        }
    }
    barrier();
    if (warp() < parts) {
        for (u32 base = begin; base < end; base += WARP) {
            u32 index = base + lane();
            u32 expert = index < end ? chosen[index] : ~0u;
            bool valid = expert < experts;
            u64 alike = lanes_alike(expert, valid), before = alike & (((u64)1 << lane()) - 1);
            u32 place = valid ? own[expert] : 0;
            warp_barrier();
            if (valid) {
                order[place + count_bits(before)] = index;
                if (before == 0) own[expert] = place + count_bits(alike);
            }
            warp_barrier();
        }
    }
}

// ---- many tokens ------------------------------------------------------------------------------------------------

#define MANY_THREADS 256
#if !AMD && WARP == 64
#define STAGES 2  // that build of NVIDIA's needs shared memory for itself
#else
#define STAGES 3
#endif

// What a grouped product reads and where its results go. UP: x (rows, depth) gathered by order[place] / k, two sets of
// 64 weight rows (gate and up), activated (places, outputs). Otherwise: activated (places, depth), two neighbouring
// sets of 64 rows of down, and weight times result to (pairs, outputs).
template <typename T> struct grouped {
    const T *x, *matrix;
    const u32 *order;
    const float *weights;
    u32 k, outputs, depth;
    T *result;

    template <bool UP> DEVICE_MEMBER const T *input(u32 place) const {
        return x + (u64)(UP ? order[place] / k : place) * depth;
    }
    // The row of the matrix of an expert that is member `member` (below 128) of a tile; past the end, the last one.
    template <bool UP> DEVICE_MEMBER const T *weight(u32 expert, u32 tile, u32 member) const {
        u32 set = member / 64;
        u32 row = UP ? tile * 64 + member % 64 : tile * 128 + member;
        u64 first = UP ? ((u64)expert * 2 + set) * outputs : (u64)expert * outputs;
        return matrix + (first + smaller(row, outputs - 1)) * depth;
    }
};

// 128 places by 2 x 64 weight rows on the matrix units. Planes of 32 along the depth: a lane's pieces lie so that eight
// lanes read 128 neighbouring bytes.
template <typename T, bool UP> DEVICE void grouped_tile(const grouped<T> &work, const row_tile &rows, u32 tile, u8 *shared) {
    constexpr u32 PLANE = TILE_ROWS * TILE_DEPTH;
    constexpr u32 ACROSS = MANY_THREADS / WARP / 4;      // warps side by side along the weight rows
    constexpr u32 COLUMNS = 64 / ACROSS / TILE;          // tiles of a warp in each set
    constexpr u32 COPIES = TILE_ROWS * 4 / MANY_THREADS; // 16-byte copies of a thread for each operand
    T(*stages)[2][PLANE] = (T(*)[2][PLANE])shared;
    const u32 depth = work.depth, steps = (depth + TILE_DEPTH - 1) / TILE_DEPTH;
    const T *inputs[COPIES], *matrix[COPIES];
    bool present[COPIES];
#pragma unroll
    for (u32 copy = 0; copy < COPIES; copy++) {
        u32 member = (thread() + copy * MANY_THREADS) / 4, place = rows.first + member;
        present[copy] = place < rows.end;
        inputs[copy] = work.template input<UP>(present[copy] ? place : rows.first);
        matrix[copy] = work.template weight<UP>(rows.expert, tile, member);
    }
    auto load = [&](u32 step) {
        if (step < steps) {
            u32 at = step * TILE_DEPTH + thread() % 4 * 8;
#pragma unroll
            for (u32 copy = 0; copy < COPIES; copy++) {
                u32 place = (thread() + copy * MANY_THREADS) * 8;
                bool inside = at < depth;
                copy16(stages[step % STAGES][0] + place, inputs[copy] + (inside ? at : 0), inside && present[copy]);
                copy16(stages[step % STAGES][1] + place, matrix[copy] + (inside ? at : 0), inside);
            }
        }
        copies_commit();
    };
    const u32 down = warp() % 4 * 32, right = warp() / 4 * (64 / ACROSS);
    float sums[2][2][COLUMNS][SUMS];
#pragma unroll
    for (u32 index = 0; index < 2 * 2 * COLUMNS * SUMS; index++) (&sums[0][0][0][0])[index] = 0.0f;
#pragma unroll
    for (u32 step = 0; step < STAGES - 1; step++) load(step);
    for (u32 step = 0; step < steps; step++) {
        copies_wait<STAGES - 2>();
        barrier();
        load(step + STAGES - 1);
        const T *a = stages[step % STAGES][0], *b = stages[step % STAGES][1];
        operand left[2];
#pragma unroll
        for (u32 i = 0; i < 2; i++) {
#pragma unroll
            for (u32 piece = 0; piece < PIECES; piece++) {
                left[i].piece[piece] =
                    load16(a + (down + i * TILE + operand_row(piece)) * TILE_DEPTH + operand_depth(piece));
            }
        }
#pragma unroll
        for (u32 set = 0; set < 2; set++) {
#pragma unroll
            for (u32 j = 0; j < COLUMNS; j++) {
                operand weights;
#pragma unroll
                for (u32 piece = 0; piece < PIECES; piece++) {
                    u32 row = set * 64 + right + j * TILE + operand_row(piece);
                    weights.piece[piece] = load16(b + row * TILE_DEPTH + operand_depth(piece));
                }
#pragma unroll
                for (u32 i = 0; i < 2; i++) multiply<T>(sums[set][i][j], left[i], weights);
            }
        }
    }
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
#pragma unroll
        for (u32 index = 0; index < SUMS; index++) {
            u32 place = rows.first + down + i * TILE + sum_row(index);
            if (place >= rows.end) continue;
            u32 pair = UP ? place : work.order[place];
            float factor = UP ? 1.0f : work.weights[pair];
            T *result = work.result + (u64)pair * work.outputs;
#pragma unroll
            for (u32 j = 0; j < COLUMNS; j++) {
                u32 column = right + j * TILE + sum_column(index);
                if constexpr (UP) {
                    column += tile * 64;
                    float value = silu(sums[0][i][j][index]) * sums[1][i][j][index];
                    if (column < work.outputs) result[column] = narrow<T>(value);
                } else {
                    column += tile * 128;
                    if (column < work.outputs) result[column] = narrow<T>(factor * sums[0][i][j][index]);
                    if (column + 64 < work.outputs) result[column + 64] = narrow<T>(factor * sums[1][i][j][index]);
                }
            }
        }
    }
}

// The same on plain multiply-adds, for f32 and rows that are not aligned. A thread has 8 places and 4 weight rows of
// each set.
template <typename T, bool UP>
DEVICE void grouped_tile_plain(const grouped<T> &work, const row_tile &rows, u32 tile, u8 *shared) {
    constexpr u32 DEPTH = 8, STRIDE = TILE_ROWS + 4;
    float(*a)[DEPTH][STRIDE] = (float(*)[DEPTH][STRIDE])shared;
    float(*b)[DEPTH][STRIDE] = a + 2;
    const u32 depth = work.depth, steps = (depth + DEPTH - 1) / DEPTH;
    // Half of the threads bring inputs, half weights: a thread 8 numbers of a row.
    const u32 member = thread() % TILE_ROWS, place = rows.first + member;
    const bool weights = thread() >= TILE_ROWS, present = weights || place < rows.end;
    const T *row = weights ? work.template weight<UP>(rows.expert, tile, member)
                           : work.template input<UP>(present ? place : rows.first);
    const u32 down = thread() / 16 * 8, right = thread() % 16 * 4;
    float sums[2][8][4], values[8];
#pragma unroll
    for (u32 index = 0; index < 64; index++) (&sums[0][0][0])[index] = 0.0f;
    unpack(load_piece(row, 0, depth, present), values);
    for (u32 step = 0; step < steps; step++) {
        float(*target)[STRIDE] = weights ? b[step % 2] : a[step % 2];
#pragma unroll
        for (u32 i = 0; i < DEPTH; i++) target[i][member] = values[i];
        barrier();
        if (step + 1 < steps) unpack(load_piece(row, (step + 1) * DEPTH, depth, present), values);
#pragma unroll
        for (u32 inner = 0; inner < DEPTH; inner++) {
            const float *left = a[step % 2][inner] + down, *first = b[step % 2][inner] + right;
            words4 x[2] = {load16(left), load16(left + 4)}, y[2] = {load16(first), load16(first + 64)};
            float inputs[8], factors[2][4];
            unpack_words(x[0], inputs, 0.0f);
            unpack_words(x[1], inputs + 4, 0.0f);
            unpack_words(y[0], factors[0], 0.0f);
            unpack_words(y[1], factors[1], 0.0f);
#pragma unroll
            for (u32 set = 0; set < 2; set++) {
#pragma unroll
                for (u32 i = 0; i < 8; i++) {
#pragma unroll
                    for (u32 j = 0; j < 4; j++) sums[set][i][j] += inputs[i] * factors[set][j];
                }
            }
        }
    }
#pragma unroll
    for (u32 i = 0; i < 8; i++) {
        u32 place = rows.first + down + i;
        if (place >= rows.end) continue;
        u32 pair = UP ? place : work.order[place];
        float factor = UP ? 1.0f : work.weights[pair];
        T *result = work.result + (u64)pair * work.outputs;
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            u32 column = tile * (UP ? 64 : 128) + right + j;
            if constexpr (UP) {
                if (column < work.outputs) result[column] = narrow<T>(silu(sums[0][i][j]) * sums[1][i][j]);
            } else {
                if (column < work.outputs) result[column] = narrow<T>(factor * sums[0][i][j]);
                if (column + 64 < work.outputs) result[column + 64] = narrow<T>(factor * sums[1][i][j]);
            }
        }
    }
}

template <typename T, bool UP>
DEVICE void grouped_product(const grouped<T> &work, const row_tile *tiles, const u32 *tile_count) {
    SHARED __attribute__((aligned(128))) u8 shared[STAGES * 2 * TILE_ROWS * TILE_DEPTH * 2];
    wait_for_producers();
    start_consumers();
    if (block_y() >= *tile_count) return;
    const row_tile rows = tiles[block_y()];
    if constexpr (sizeof(T) == 2 && MATRIX_UNITS) {
        if (work.depth % 8 == 0) return grouped_tile<T, UP>(work, rows, block(), shared);
    }
    grouped_tile_plain<T, UP>(work, rows, block(), shared);
}

// output (rows, width) += the sum over its slots of results (rows, k, width).
template <typename T>
DEVICE void add_slots(const T *results, const u32 *chosen, u32 k, u32 experts, u32 width, float *output) {
    wait_for_producers();
    start_consumers();
    const u32 row = block();
    for (u32 first = 8 * (block_y() * threads() + thread()); first < width; first += 8 * threads() * blocks_y()) {
        float totals[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
        for (u32 slot = 0; slot < k; slot++) {
            if (chosen[row * k + slot] >= experts) continue;
            float values[8];
            unpack(load_piece(results + (u64)(row * k + slot) * width, first, width, true), values);
#pragma unroll
            for (u32 i = 0; i < 8; i++) totals[i] += values[i];
        }
        float *place = output + (u64)row * width + first;
        if (width % 8 == 0) {
            float values[8];
            unpack(load_piece(place, 0, 8, true), values);
#pragma unroll
            for (u32 i = 0; i < 8; i += 4) {
                store16(place + i, words4{bits(values[i] + totals[i]), bits(values[i + 1] + totals[i + 1]),
                                          bits(values[i + 2] + totals[i + 2]), bits(values[i + 3] + totals[i + 3])});
            }
        } else {
            for (u32 i = 0; i < 8 && first + i < width; i++) place[i] += totals[i];
        }
    }
}

// experts_few_*: up to 16 rows, experts_some_*: up to 32. gate_up: any number of blocks; down: any number, best one for
// 16 columns of the output; 256 threads. activated: (rows, k, intermediate).
// experts_many_*: blocks (outputs / 64 or 128 rounded up, most tiles), 256 threads. activated: (places, intermediate);
// results: (rows, k, hidden). experts_add: blocks (rows, any).
#define EXPERTS(T, NAME)                                                                                              \
    KERNEL void BOUNDS(FEW_THREADS, 2)                                                                                \
        experts_few_gate_up_##NAME(const T *x, const T *gate_up, const u32 *chosen, u32 rows, u32 k, u32 experts,     \
                                   u32 hidden, u32 intermediate, T *activated) {                                      \
        few_gate_up<T, 1>(x, gate_up, chosen, rows, k, experts, hidden, intermediate, activated);                     \
    }                                                                                                                 \
    KERNEL void BOUNDS(FEW_THREADS, 2)                                                                                \
        experts_few_down_##NAME(const T *activated, const T *down, const u32 *chosen, const float *weights, u32 rows, \
                                u32 k, u32 experts, u32 hidden, u32 intermediate, float *output) {                    \
        few_down<T, 1>(activated, down, chosen, weights, rows, k, experts, hidden, intermediate, output);             \
    }                                                                                                                 \
    KERNEL void BOUNDS(FEW_THREADS, 2)                                                                                \
        experts_some_gate_up_##NAME(const T *x, const T *gate_up, const u32 *chosen, u32 rows, u32 k, u32 experts,    \
                                    u32 hidden, u32 intermediate, T *activated) {                                     \
        few_gate_up<T, 2>(x, gate_up, chosen, rows, k, experts, hidden, intermediate, activated);                     \
    }                                                                                                                 \
    KERNEL void BOUNDS(FEW_THREADS, 2)                                                                                \
        experts_some_down_##NAME(const T *activated, const T *down, const u32 *chosen, const float *weights,          \
                                 u32 rows, u32 k, u32 experts, u32 hidden, u32 intermediate, float *output) {         \
        few_down<T, 2>(activated, down, chosen, weights, rows, k, experts, hidden, intermediate, output);             \
    }                                                                                                                 \
    KERNEL void BOUNDS(MANY_THREADS, 2)                                                                               \
        experts_many_gate_up_##NAME(const T *x, const T *gate_up, const u32 *order, const row_tile *tiles,            \
                                    const u32 *tile_count, u32 k, u32 hidden, u32 intermediate, T *activated) {       \
        grouped<T> work = {x, gate_up, order, 0, k, intermediate, hidden, activated};                                 \
        grouped_product<T, true>(work, tiles, tile_count);                                                            \
    }                                                                                                                 \
    KERNEL void BOUNDS(MANY_THREADS, 2)                                                                               \
        experts_many_down_##NAME(const T *activated, const T *down, const u32 *order, const float *weights,           \
                                 const row_tile *tiles, const u32 *tile_count, u32 k, u32 hidden, u32 intermediate,   \
                                 T *results) {                                                                        \
        grouped<T> work = {activated, down, order, weights, k, hidden, intermediate, results};                        \
        grouped_product<T, false>(work, tiles, tile_count);                                                           \
    }                                                                                                                 \
    KERNEL void BOUNDS(256, 1) experts_add_##NAME(const T *results, const u32 *chosen, u32 k, u32 experts, u32 width, \
                                                  float *output) {                                                    \
        add_slots(results, chosen, k, experts, width, output);                                                        \
    }

FOR_F32(EXPERTS(float, f32))
FOR_BF16(EXPERTS(bf16, bf16))
FOR_F16(EXPERTS(f16, f16))
