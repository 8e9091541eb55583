// Products of small tiles on the matrix units, in one shape for all chips: sums(16, 16) += a(16, 32) b(16, 32)^T.
//
// Both operands lie along their depth (row-major (rows, depth), as weights and activations do), and a lane takes its
// part of a tile as whole 16-byte pieces: piece p is 8 neighbours along the depth, of row operand_row(p), beginning at
// operand_depth(p). The matrix units ask for another order along the depth, but a sum does not: both operands are
// permuted alike, so that nothing is shuffled between memory and the product.
//
// On NVIDIA these are products of tensor.cuh, which comes before; a test build with warps of 64 has CDNA's layout.
//
// MATRIX_UNITS is 0 where a chip has none (gfx1030): multiply() is then right and slow, and kernels that can do
// without it should.

#if !AMD && WARP == 64 || AMD && (defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx950__))
#define MATRIX_UNITS 1
#define PIECES 1
#define SUMS 4
#elif AMD && (defined(__GFX12__) || defined(__gfx1200__) || defined(__gfx1201__))
#define MATRIX_UNITS 1
#define PIECES 2
#define SUMS 8
#elif AMD && (defined(__GFX11__) || defined(__gfx1100__) || defined(__gfx1101__) || defined(__gfx1102__))
#define MATRIX_UNITS 1
#define PIECES 4
#define SUMS 8
#else
#define MATRIX_UNITS !AMD
#define PIECES 2
#define SUMS 8
#endif

#define TILE 16
#define TILE_DEPTH 32

// The row and the depth of a piece within the tile.
DEVICE u32 operand_row(u32 piece) {
#if PIECES != 2
    return lane() % 16;
#elif AMD && SUMS == 8 && MATRIX_UNITS
    return lane() % 16;
#else
    return lane() / 4 + 8 * piece;
#endif
}
DEVICE u32 operand_depth(u32 piece) {
#if PIECES == 1
    return 8 * (lane() / 16);
#elif AMD && PIECES == 4
    return 8 * piece;
#elif AMD && MATRIX_UNITS
    return 16 * piece + 8 * (lane() / 16);
#else
    return 8 * (lane() % 4);
#endif
}

// The place in the result of a lane's sum: rows are those of a, columns the rows of b.
DEVICE u32 sum_row(u32 index) {
#if PIECES == 1
    return 4 * (lane() / 16) + index;
#elif AMD && PIECES == 4
    return 2 * index + lane() / 16;
#elif AMD && MATRIX_UNITS
    return 8 * (lane() / 16) + index;
#else
    return lane() / 4 + 8 * (index / 2 % 2);
#endif
}
DEVICE u32 sum_column(u32 index) {
#if MATRIX_UNITS && (AMD || WARP == 64)
    return lane() % 16;
#else
    return 8 * (index / 4) + 2 * (lane() % 4) + index % 2;
#endif
}

// A lane's part of a tile of 16 rows, 32 deep, of 16-bit numbers.
struct operand {
    words4 piece[PIECES];
};

#if AMD && MATRIX_UNITS
typedef short short4v __attribute__((ext_vector_type(4)));
typedef short short8v __attribute__((ext_vector_type(8)));
typedef short short16v __attribute__((ext_vector_type(16)));
typedef _Float16 half4v __attribute__((ext_vector_type(4)));
typedef _Float16 half8v __attribute__((ext_vector_type(8)));
typedef _Float16 half16v __attribute__((ext_vector_type(16)));
typedef float float4v __attribute__((ext_vector_type(4)));
typedef float float8v __attribute__((ext_vector_type(8)));

struct __attribute__((aligned(8))) words2 {
    u32 x, y;
};
struct __attribute__((aligned(32))) words8 {
    words4 low, high;
};
#endif

#if !MATRIX_UNITS || !AMD && WARP == 64
DEVICE u32 word(const words4 &value, u32 index) {
    return index == 0 ? value.x : index == 1 ? value.y : index == 2 ? value.z : value.w;
}
#endif

// sums += a b^T. T is the type of the numbers in the operands.
template <typename T> DEVICE void multiply(float (&sums)[SUMS], const operand &a, const operand &b) {
#if !AMD && WARP == 32
    const words4 &a0 = a.piece[0], &a1 = a.piece[1];
    const u32 first[4] = {a0.x, a1.x, a0.y, a1.y}, second[4] = {a0.z, a1.z, a0.w, a1.w};
    multiply_add(sums, first, b.piece[0].x, b.piece[0].y, T{});
    multiply_add(sums + 4, first, b.piece[1].x, b.piece[1].y, T{});
    multiply_add(sums, second, b.piece[0].z, b.piece[0].w, T{});
    multiply_add(sums + 4, second, b.piece[1].z, b.piece[1].w, T{});
#elif !AMD && WARP == 64
#pragma unroll
    for (u32 pair = 0; pair < 4; pair++) {
        u32 left[SUMS][4], right[4];
        const u32 *lanes = of_lanes(word(b.piece[0], pair));
#pragma unroll
        for (u32 quarter = 0; quarter < 4; quarter++) right[quarter] = lanes[lane() % 16 + 16 * quarter];
        warp_barrier();
        lanes = of_lanes(word(a.piece[0], pair));
#pragma unroll
        for (u32 index = 0; index < SUMS; index++) {
#pragma unroll
            for (u32 quarter = 0; quarter < 4; quarter++) {
                left[index][quarter] = lanes[4 * (lane() / 16) + index + 16 * quarter];
            }
        }
        warp_barrier();
#pragma unroll
        for (u32 index = 0; index < SUMS; index++) {
#pragma unroll
            for (u32 quarter = 0; quarter < 4; quarter++) {
                u32 x = left[index][quarter], y = right[quarter];
                sums[index] += low(x, T{}) * low(y, T{}) + high(x, T{}) * high(y, T{});
            }
        }
    }
#elif PIECES == 1
    float4v total = {sums[0], sums[1], sums[2], sums[3]};
    const words4 &left = a.piece[0], &right = b.piece[0];
#pragma unroll
    for (u32 step = 0; step < 2; step++) {
        words2 first = step ? words2{left.z, left.w} : words2{left.x, left.y};
        words2 second = step ? words2{right.z, right.w} : words2{right.x, right.y};
        if constexpr (__is_same(T, bf16)) {
            total = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(__builtin_bit_cast(short4v, first),
                                                              __builtin_bit_cast(short4v, second), total, 0, 0, 0);
        } else {
            total = __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(half4v, first),
                                                          __builtin_bit_cast(half4v, second), total, 0, 0, 0);
        }
    }
#pragma unroll
    for (u32 index = 0; index < SUMS; index++) sums[index] = total[index];
#elif PIECES == 4
    float8v total = {sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]};
#pragma unroll
    for (u32 step = 0; step < 2; step++) {
        words8 first = {a.piece[2 * step], a.piece[2 * step + 1]};
        words8 second = {b.piece[2 * step], b.piece[2 * step + 1]};
        if constexpr (__is_same(T, bf16)) {
            total = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(__builtin_bit_cast(short16v, first),
                                                                __builtin_bit_cast(short16v, second), total);
        } else {
            total = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(__builtin_bit_cast(half16v, first),
                                                               __builtin_bit_cast(half16v, second), total);
        }
    }
#pragma unroll
    for (u32 index = 0; index < SUMS; index++) sums[index] = total[index];
#elif MATRIX_UNITS
    float8v total = {sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]};
#pragma unroll
    for (u32 step = 0; step < 2; step++) {
        if constexpr (__is_same(T, bf16)) {
            total = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(__builtin_bit_cast(short8v, a.piece[step]),
                                                                      __builtin_bit_cast(short8v, b.piece[step]), total);
        } else {
            total = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(__builtin_bit_cast(half8v, a.piece[step]),
                                                                     __builtin_bit_cast(half8v, b.piece[step]), total);
        }
    }
#pragma unroll
    for (u32 index = 0; index < SUMS; index++) sums[index] = total[index];
#else
    // The lanes hold the operands as on NVIDIA; each fetches what its sums need, a quarter of the depth at a time.
#pragma unroll
    for (u32 quarter = 0; quarter < 4; quarter++) {
#pragma unroll
        for (u32 pair = 0; pair < 4; pair++) {
            u32 own = lane() / 4 * 4 + quarter;
            u32 left[2], right[2][2];
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                left[half] = from_lane(word(a.piece[half], pair), own);
                right[half][0] = from_lane(word(b.piece[half], pair), (2 * (lane() % 4)) * 4 + quarter);
                right[half][1] = from_lane(word(b.piece[half], pair), (2 * (lane() % 4) + 1) * 4 + quarter);
            }
#pragma unroll
            for (u32 index = 0; index < SUMS; index++) {
                u32 x = left[index / 2 % 2], y = right[index / 4][index % 2];
                sums[index] += low(x, T{}) * low(y, T{}) + high(x, T{}) * high(y, T{});
            }
        }
    }
#endif
}
