// Weights in ggml's block formats, and products with activations that are quantised to 8 bits.
//
// ggml's blocks are taken apart, so that the quants of a row are whole cache lines: first the quants of all blocks, row by
// row, then what scales them, of all blocks.
//
// Q4_K: 256 weights are 128 bytes of quants, of which bytes 32 j to 32 j + 31 hold block 2 j in their lower and block
// 2 j + 1 in their upper halves, and 16 bytes of header: f16 d, f16 dmin, 12 bytes of 6-bit scales and minima for 8 blocks
// of 32. weight = d scale q - dmin minimum.
//
// Q8_0: 32 weights are 32 bytes of quants (i8) and an f16 scale d. weight = d q.
//
// A piece is what a lane reads at once: 16 bytes of quants.

constexpr u32 Q4_K_WEIGHTS = 256;

// The quants of a block of Q4_K, and the header of one of so many weights.
DEVICE const u8 *q4_k_quants(const u8 *weight, u64 block) { return weight + block * (Q4_K_WEIGHTS / 2); }
DEVICE const u8 *q4_k_header(const u8 *weight, u64 weights, u64 block) { return weight + weights / 2 + block * 16; }

// Activations x = scale q, a scale for 32 neighbours.
struct QuantizedRows {
    const i8 *values;    // (rows, in)
    const float *scales; // (rows, in / 32)
    const float *sums;   // (rows, in / 16): scale times the sum of 16 q, for the minima of Q4_K
    u32 in;
};

// Bytes that a row of them takes.
DEVICE u32 quantized_row_bytes(u32 in) { return in + in / 32 * 4 + in / 16 * 4; }

// sum + a b over four signed bytes
DEVICE i32 dot4(u32 a, u32 b, i32 sum) {
#if !AMD && (WARP == 64 || __CUDA_ARCH__ >= 610)
    i32 result;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
#elif defined(__gfx1100__) || defined(__gfx1101__) || defined(__gfx1102__) || defined(__gfx1200__) || defined(__gfx1201__)
    return __builtin_amdgcn_sudot4(true, (i32)a, true, (i32)b, sum, false);
#elif defined(__gfx906__) || defined(__gfx908__) || defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx1030__)
    return __builtin_amdgcn_sdot4((i32)a, (i32)b, sum, false);
#else
    for (u32 shift = 0; shift < 32; shift += 8) sum += (i32)(i8)(a >> shift) * (i32)(i8)(b >> shift);
    return sum;
#endif
}

DEVICE i32 dot16(const words4 &a, const words4 &b) {
    return dot4(a.w, b.w, dot4(a.z, b.z, dot4(a.y, b.y, dot4(a.x, b.x, 0))));
}

// Four numbers to 8 bits: factor times each, rounded.
DEVICE u32 quantize4(const float *values, float factor) {
    u32 packed = 0;
#pragma unroll
    for (u32 index = 0; index < 4; index++) {
        // The sum has the rounded number in its lowest bits.
        packed |= (bits(plus(times(values[index], factor), 12582912.0f)) & 0xffu) << (8 * index);
    }
    return packed;
}

// ---- Q4_K ---------------------------------------------------------------------------------------------------------

// What two blocks of 32 weights are multiplied with, and what is taken from them.
struct BlockScales {
    float scale[2], minimum[2];
};

// The same as whole numbers, to be multiplied with d and dmin.
struct WholeScales {
    i32 scale[2], minimum[2];
};

// Of the two blocks that bytes 32 j to 32 j + 31 hold.
DEVICE WholeScales q4_k_whole_scales(const words4 &header, u32 j) {
    const u32 shift = j % 2 * 16, first = header.y >> shift, second = header.z >> shift, third = header.w >> shift;
    // The last four blocks have four bits of each behind the others, and the upper two where those of the first have room.
    const bool late = j >= 2;
    const u32 own = late ? 0x0f0fu : 0x3f3fu, upper = late ? 0x3030u : 0;
    const u32 scales = ((late ? third : first) & own) | (first >> 2 & upper);
    const u32 minima = ((late ? third >> 4 : second) & own) | (second >> 2 & upper);
    return {{(i32)(scales & 0xffu), (i32)(scales >> 8 & 0xffu)}, {(i32)(minima & 0xffu), (i32)(minima >> 8 & 0xffu)}};
}
DEVICE BlockScales q4_k_scales(const words4 &header, u32 j) {
    const WholeScales whole = q4_k_whole_scales(header, j);
    const float d = low(header.x, f16{}), dmin = high(header.x, f16{});
    return {{d * (float)whole.scale[0], d * (float)whole.scale[1]},
            {dmin * (float)whole.minimum[0], dmin * (float)whole.minimum[1]}};
}

// The product of piece 0 to 7 of a block of 256 weights, which begins at element `first`, with a row of x.
DEVICE float q4_k_product(const words4 &quants, const BlockScales &scales, u32 piece, const QuantizedRows &x, u32 row,
                          u32 first) {
    // 16 weights of one block in the lower halves, 16 of the next in the upper.
    u32 place = first + piece / 2 * 64 + piece % 2 * 16;
    const i8 *values = x.values + row * x.in + place;
    const float *x_scales = x.scales + row * (x.in / 32) + place / 32;
    const float *x_sums = x.sums + row * (x.in / 16) + place / 16;
    words4 lower = {quants.x & 0x0f0f0f0fu, quants.y & 0x0f0f0f0fu, quants.z & 0x0f0f0f0fu, quants.w & 0x0f0f0f0fu};
    words4 upper = {quants.x >> 4 & 0x0f0f0f0fu, quants.y >> 4 & 0x0f0f0f0fu, quants.z >> 4 & 0x0f0f0f0fu,
                    quants.w >> 4 & 0x0f0f0f0fu};
    float products = scales.scale[0] * x_scales[0] * (float)dot16(lower, load16(values)) +
                     scales.scale[1] * x_scales[1] * (float)dot16(upper, load16(values + 32));
    return products - scales.minimum[0] * x_sums[0] - scales.minimum[1] * x_sums[2];
}

// ---- Q8_0 ---------------------------------------------------------------------------------------------------------

// The product of 16 weights from element `place` on with a row of x. scale is that of their block.
DEVICE float q8_0_product(const words4 &quants, float scale, const QuantizedRows &x, u32 row, u32 place) {
    i32 products = dot16(quants, load16(x.values + row * x.in + place));
    return scale * x.scales[row * (x.in / 32) + place / 32] * (float)products;
}
