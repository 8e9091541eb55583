// A vector per token, as the residual stream begins.
//
// table: (vocabulary, width) T; tokens: (rows) u32; hidden: (rows, width) f32. One block a row. A token outside the
// vocabulary, as the sampler writes where the logits were no numbers, gives zeros.

template <typename T>
DEVICE void embedding(const T *table, const u32 *tokens, float *hidden, u32 vocabulary, u32 width) {
    wait_for_producers();
    start_consumers();
    u32 token = tokens[block()];
    bool known = token < vocabulary;
    const T *row = table + (known ? (u64)token * width : 0);
    hidden += (u64)block() * width;
    if (width % 8 == 0) {
        for (u32 index = thread() * 8; index < width; index += threads() * 8) {
            float values[8] = {};
            if (known) load8(row + index, values);
            store8(hidden + index, values);
        }
    } else {
        for (u32 index = thread(); index < width; index += threads()) {
            hidden[index] = known ? widen(row[index]) : 0.0f;
        }
    }
}

#define EMBEDDING(T, suffix)                                                                                           \
    KERNEL void embedding_##suffix(const T *table, const u32 *tokens, float *hidden, u32 vocabulary, u32 width) {     \
        embedding<T>(table, tokens, hidden, vocabulary, width);                                                        \
    }

FOR_F32(EMBEDDING(float, f32))
FOR_BF16(EMBEDDING(bf16, bf16))
FOR_F16(EMBEDDING(f16, f16))
