// Rotary embedding of queries and keys, and keys and values into the cache: what a prompt does before its attention.
// (A decoding step does the same inside its attention.)
//
// qkv (rows, (heads + 2 kv_heads) head_dim): queries, keys, values. query (rows, heads head_dim): rotated.
// query_norm, key_norm: weights (head_dim) of an RMS norm over each head, or null.
// Grid: (rows, any); at most 256 threads.

template <u32 COUNT, typename T>
DEVICE void append_rows(T *query, const T *qkv, u32 position, u32 slot, Cache cache, u32 heads, Rotary rotary,
                        u32 angles_row, const float *query_norm, const float *key_norm) {
    u32 head_dim = cache.head_dim, kv_heads = cache.kv_heads;
    u32 all = heads + 2 * kv_heads;
    u32 lanes = lanes_per_head(head_dim, COUNT), member = thread() % lanes, together = threads() / lanes;
    const T *row = qkv + (u64)block() * all * head_dim;
    for (u32 first = block_y() * together; first < all; first += blocks_y() * together) {
        // Lanes beyond the last head work on it too, without storing: the norm needs whole warps.
        u32 head = first + thread() / lanes;
        bool active = head < all;
        if (!active) head = all - 1;
        bool is_query = head < heads, is_key = !is_query && head < heads + kv_heads;
        Rotary angles = rotary;
        if (!is_query && !is_key) angles.dim = 0;
        const float *norm = is_query ? query_norm : is_key ? key_norm : nullptr;
        T *target = is_query ? query + ((u64)block() * heads + head) * head_dim
                             : cache.tile<T>(slot, position / PAGE, !is_key, (head - heads) % kv_heads);
        rotate_head<COUNT>(row + (u64)head * head_dim, head_dim, angles, norm, query_norm || key_norm, angles_row, member,
                           lanes, [&](u32 i, const float(&values)[COUNT]) {
                               u32 offset = is_query ? i : place<T>(position % PAGE, i, head_dim);
                               if (active) store_floats(target + offset, values);
                           });
    }
}

template <typename T>
DEVICE void append(T *query, const T *qkv, const u32 *positions, const u32 *slots, Cache cache, u32 heads,
                   Rotary rotary, const float *query_norm, const float *key_norm) {
    wait_for_producers();
    start_consumers();
    u32 position = positions[block()], slot = slots[block()], angles_row = rotary.rows[block()];
    if (slot == NO_SLOT) return;
    if (whole_vectors(cache.head_dim, rotary.dim, Vector<T>::count)) {
        append_rows<Vector<T>::count>(query, qkv, position, slot, cache, heads, rotary, angles_row, query_norm,
                                      key_norm);
    } else {
        append_rows<1>(query, qkv, position, slot, cache, heads, rotary, angles_row, query_norm, key_norm);
    }
}

#define ROTARY_APPEND(T, suffix)                                                                                       \
    KERNEL void BOUNDS(256, 5) rotary_append_##suffix(                                                                 \
        T *query, const T *qkv, const u32 *positions, const u32 *slots, const u64 *pages, u32 max_pages, u32 layer,    \
        u32 heads, u32 kv_heads, u32 head_dim, u32 rotary_dim, const float *cos, const float *sin,                     \
        const u32 *rotary_rows, const float *query_norm, const float *key_norm, float eps) {                           \
        append<T>(query, qkv, positions, slots, Cache{pages, max_pages, layer, kv_heads, head_dim}, heads,             \
                  Rotary{cos, sin, rotary_rows, rotary_dim, eps}, query_norm, key_norm);                                  \
    }

FOR_F32(ROTARY_APPEND(float, f32))
FOR_BF16(ROTARY_APPEND(bf16, bf16))
FOR_F16(ROTARY_APPEND(f16, f16))
