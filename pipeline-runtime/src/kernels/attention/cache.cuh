// The paged cache of keys and values, and the rotation of what enters it.
//
// A page holds 64 tokens of one sequence for all layers: (layers, 2, kv_heads) tiles of 64 x head_dim elements. Inside
// a tile the kernels of this folder are among themselves: they write it and they read it. Where the tensor cores read
// it (16 bits, head_dim a multiple of 64) a tile is (head_dim / 64, 64 tokens, 64 elements), and the eight 16-byte
// chunks of a token's 128 bytes change places by its number modulo 8: the pattern in which shared memory has no bank
// conflicts, and which wgmma calls its 128-byte swizzle. A tile is then ready for use as it lies, and one bulk copy
// moves it whole.


#define PAGE 64u
#define NO_SLOT 0xffffffffu

template <typename T> DEVICE u32 place(u32 token, u32 element, u32 head_dim) {
    if (sizeof(T) == 2 && head_dim % 64 == 0) {
        return ((element / 64 * 64) + token) * 64 + ((element / 8 ^ token) % 8) * 8 + element % 8;
    }
    return token * head_dim + element;
}

// The shared memory that the launch asked for, from a multiple of 1024 bytes on: where swizzled tiles may begin. The
// launch asks for 1024 bytes more.
DEVICE u8 *launch_shared() {
    extern SHARED u8 launched[];
#if AMD
    return launched;
#else
    return launched + (1024 - shared_address(launched) % 1024) % 1024;
#endif
}

struct Cache {
    const u64 *pages; // (slots, max_pages): addresses
    u32 max_pages, layer, kv_heads, head_dim;

    // The keys (part 0) or values (part 1) of a head in one page of a sequence.
    template <typename T> DEVICE_MEMBER T *tile(u32 slot, u32 page, u32 part, u32 kv_head) const {
        T *start = (T *)pages[(u64)slot * max_pages + page];
        return start + ((u64)(layer * 2 + part) * kv_heads + kv_head) * PAGE * head_dim;
    }
};

// COUNT elements at once: 1, or as many as 16 bytes hold.
template <typename T> struct Vector {
    static constexpr u32 count = 16 / sizeof(T);
};

template <u32 COUNT> DEVICE void load_floats(const float *address, float (&values)[COUNT]) {
    if constexpr (COUNT == 1) {
        values[0] = *address;
    } else {
#pragma unroll
        for (u32 i = 0; i < COUNT; i += 4) {
            words4 words = load16(address + i);
            values[i] = from_bits(words.x);
            values[i + 1] = from_bits(words.y);
            values[i + 2] = from_bits(words.z);
            values[i + 3] = from_bits(words.w);
        }
    }
}
template <typename T, u32 COUNT> DEVICE void load_floats(const T *address, float (&values)[COUNT]) {
    if constexpr (COUNT == 1) {
        values[0] = widen(*address);
    } else {
        words4 words = load16(address);
        u32 pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            values[2 * i] = low(pairs[i], T{});
            values[2 * i + 1] = high(pairs[i], T{});
        }
    }
}

template <u32 COUNT> DEVICE void store_floats(float *address, const float (&values)[COUNT]) {
    if constexpr (COUNT == 1) {
        *address = values[0];
    } else {
#pragma unroll
        for (u32 i = 0; i < COUNT; i += 4) {
            store16(address + i, words4{bits(values[i]), bits(values[i + 1]), bits(values[i + 2]), bits(values[i + 3])});
        }
    }
}
template <typename T, u32 COUNT> DEVICE void store_floats(T *address, const float (&values)[COUNT]) {
    if constexpr (COUNT == 1) {
        *address = narrow<T>(values[0]);
    } else {
        store16(address, words4{pack<T>(values[0], values[1]), pack<T>(values[2], values[3]),
                                pack<T>(values[4], values[5]), pack<T>(values[6], values[7])});
    }
}

struct Rotary {
    const float *cos, *sin; // (rows of angles, dim / 2)
    const u32 *rows;        // which row each token has
    u32 dim;                // leading elements of a head that are rotated
    float eps;              // of the norms of queries and keys
};

// Norm (where there are weights), rotation by a row of angles, and store(element, values) for each COUNT
// elements. `lanes` neighbouring lanes, a power of two, work on one head. All lanes of the warp must come here, with
// one value of any_norm: whether one of them has weights.
template <u32 COUNT, typename T, typename Store>
DEVICE void rotate_head(const T *head, u32 head_dim, Rotary rotary, const float *norm, bool any_norm, u32 angles,
                        u32 member, u32 lanes, Store store) {
    float scale = 1.0f;
    if (any_norm) {
        float squares = 0.0f;
        for (u32 i = member * COUNT; i < head_dim; i += lanes * COUNT) {
            float values[COUNT];
            load_floats(head + i, values);
#pragma unroll
            for (u32 j = 0; j < COUNT; j++) squares += values[j] * values[j];
        }
        for (u32 mask = lanes / 2; mask > 0; mask /= 2) squares += across(squares, mask);
        scale = reciprocal_root(squares / (float)head_dim + rotary.eps);
    }
    auto load = [&](u32 i, float(&values)[COUNT]) {
        load_floats(head + i, values);
        if (norm) {
            float weights[COUNT];
            load_floats(norm + i, weights);
#pragma unroll
            for (u32 j = 0; j < COUNT; j++) values[j] = values[j] * scale * weights[j];
        }
    };
    u32 half = rotary.dim / 2;
    for (u32 i = member * COUNT; i < half; i += lanes * COUNT) {
        float a[COUNT], b[COUNT], cos[COUNT], sin[COUNT], first[COUNT], second[COUNT];
        load(i, a);
        load(half + i, b);
        load_floats(rotary.cos + (u64)angles * half + i, cos);
        load_floats(rotary.sin + (u64)angles * half + i, sin);
#pragma unroll
        for (u32 j = 0; j < COUNT; j++) {
            first[j] = a[j] * cos[j] - b[j] * sin[j];
            second[j] = b[j] * cos[j] + a[j] * sin[j];
        }
        store(i, first);
        store(half + i, second);
    }
    for (u32 i = rotary.dim + member * COUNT; i < head_dim; i += lanes * COUNT) {
        float values[COUNT];
        load(i, values);
        store(i, values);
    }
}

// Whether heads can be read COUNT elements at a time.
DEVICE bool whole_vectors(u32 head_dim, u32 rotary_dim, u32 count) {
    return head_dim % count == 0 && rotary_dim % (2 * count) == 0;
}

// How many lanes share a head: each has one pair of vectors, where a warp is wide enough.
DEVICE u32 lanes_per_head(u32 head_dim, u32 count) {
    u32 lanes = 1;
    while (lanes < WARP && lanes * 2 * count < head_dim) lanes *= 2;
    return lanes;
}
