// The kernels of prompts, for each format and depth.

#define PROMPT_PARAMETERS(T)                                                                                           \
    T *output, const T *query, const Sequence *sequences, u32 count, const u64 *pages, u32 max_pages, u32 layer,       \
        u32 heads, u32 kv_heads, u32 head_dim, float scale, u32 window, const u8 *key_mask, u32 mask_stride
#define PROMPT                                                                                                         \
    Prompt { sequences, count, Cache{pages, max_pages, layer, kv_heads, head_dim}, heads, scale *LOG2E, window,        \
             key_mask, mask_stride }

// Named by the head_dim that each is for, at most: _64, _128, _256.
#define PREFILL(T, suffix, DEPTH)                                                                                      \
    KERNEL void BOUNDS(256, 1) prefill_attention_##DEPTH##_##suffix(PROMPT_PARAMETERS(T)) {                            \
        prefill<DEPTH>(output, query, PROMPT);                                                                         \
    }
FOR_F32(PREFILL(float, f32, 64))
FOR_F32(PREFILL(float, f32, 128))
FOR_F32(PREFILL(float, f32, 256))
FOR_BF16(PREFILL(bf16, bf16, 64))
FOR_BF16(PREFILL(bf16, bf16, 128))
FOR_BF16(PREFILL(bf16, bf16, 256))
FOR_F16(PREFILL(f16, f16, 64))
FOR_F16(PREFILL(f16, f16, 128))
FOR_F16(PREFILL(f16, f16, 256))

#if TENSOR_CORES
#define PREFILL_TENSOR(T, suffix, D)                                                                                   \
    KERNEL void BOUNDS((TensorPrompt<T, D>::warps * 32), 1)                                                            \
        prefill_attention_tensor_##D##_##suffix(PROMPT_PARAMETERS(T)) {                                                \
        wait_for_producers();                                                                                          \
        start_consumers();                                                                                             \
        prefill_tensor<T, D>(output, query, PROMPT);                                                                   \
    }
FOR_BF16(PREFILL_TENSOR(bf16, bf16, 64))
FOR_BF16(PREFILL_TENSOR(bf16, bf16, 128))
FOR_BF16(PREFILL_TENSOR(bf16, bf16, 256))
FOR_F16(PREFILL_TENSOR(f16, f16, 64))
FOR_F16(PREFILL_TENSOR(f16, f16, 128))
FOR_F16(PREFILL_TENSOR(f16, f16, 256))
#endif

#if GROUP_PRODUCTS
#define PREFILL_HOPPER(T, suffix, D)                                                                                   \
    KERNEL void BOUNDS(384, 1) prefill_attention_hopper_##D##_##suffix(PROMPT_PARAMETERS(T)) {                         \
        prefill_hopper<T, D>(output, query, PROMPT);                                                                   \
    }
FOR_BF16(PREFILL_HOPPER(bf16, bf16, 64))
FOR_BF16(PREFILL_HOPPER(bf16, bf16, 128))
FOR_F16(PREFILL_HOPPER(f16, f16, 64))
FOR_F16(PREFILL_HOPPER(f16, f16, 128))
#endif
