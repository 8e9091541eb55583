// What every kernel starts with: one dialect over NVIDIA's and AMD's compilers, without toolkit headers.
//
// A kernel says WARP for the number of lanes that run together (32 or 64), thread() for its place in the block, and
// uses the functions below for all that differs: shuffles, barriers, atomics, exponentials, 16-bit floats, copies
// into shared memory. Nothing here allocates or has state.

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;

#if defined(__HIP_PLATFORM_AMD__) || defined(__AMDGCN__) || defined(__HIP__)
#define AMD 1
#else
#define AMD 0
#endif

// The number formats whose kernels are compiled, a bit each: f32, bf16, f16. The runtime asks for one at a time, or for
// none to get the kernels that have no format in their names.
#ifndef FORMATS
#define FORMATS 7
#endif
#if FORMATS & 1
#define FOR_F32(...) __VA_ARGS__
#else
#define FOR_F32(...)
#endif
#if FORMATS & 2
#define FOR_BF16(...) __VA_ARGS__
#else
#define FOR_BF16(...)
#endif
#if FORMATS & 4
#define FOR_F16(...) __VA_ARGS__
#else
#define FOR_F16(...)
#endif

#if AMD
#define KERNEL extern "C" __attribute__((global))
#define DEVICE static __attribute__((device)) inline __attribute__((always_inline))
#define DEVICE_MEMBER __attribute__((device)) inline __attribute__((always_inline))
#define OUTLINED static __attribute__((device, noinline))
#define SHARED __attribute__((shared))
#define BOUNDS(threads, blocks) __attribute__((amdgpu_flat_work_group_size(1, threads)))
#if defined(__AMDGCN_WAVEFRONT_SIZE)
#define WARP __AMDGCN_WAVEFRONT_SIZE
#elif defined(__gfx90a__) || defined(__gfx908__) || defined(__gfx942__) || defined(__gfx950__) || defined(__GFX9__)
#define WARP 64
#else
#define WARP 32
#endif
#else
#define KERNEL extern "C" __global__
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define OUTLINED static __device__ __noinline__
#define SHARED __shared__
#define BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
// A test build says 64: two of NVIDIA's warps then act as one, as wide as CDNA's, through barriers and the last 4 KiB of
// the shared memory that the launch asks for. It takes the portable way wherever kernels ask for NVIDIA's instructions.
#if !defined(WARP)
#define WARP 32
#elif WARP == 64
#undef __CUDA_ARCH__
#define __CUDA_ARCH__ 0
#endif
#endif

// DEVICE functions become part of their callers; OUTLINED ones do not, where the callers' size matters more.

// Shared memory whose size the launch gives.
#define DYNAMIC_SHARED(name) extern SHARED __attribute__((aligned(128))) u8 name[]

#define INFINITE from_bits(0x7f800000u)
#define LOG2E 1.4426950408889634f

// ---- places -----------------------------------------------------------------------------------------------------

#if AMD
DEVICE u32 thread() { return __builtin_amdgcn_workitem_id_x(); }
DEVICE u32 threads() { return __builtin_amdgcn_workgroup_size_x(); }
DEVICE u32 block() { return __builtin_amdgcn_workgroup_id_x(); }
DEVICE u32 block_y() { return __builtin_amdgcn_workgroup_id_y(); }
DEVICE u32 block_z() { return __builtin_amdgcn_workgroup_id_z(); }
DEVICE u32 blocks() { return __builtin_amdgcn_grid_size_x() / __builtin_amdgcn_workgroup_size_x(); }
DEVICE u32 blocks_y() { return __builtin_amdgcn_grid_size_y() / __builtin_amdgcn_workgroup_size_y(); }
#else
DEVICE u32 thread() { return threadIdx.x; }
DEVICE u32 threads() { return blockDim.x; }
DEVICE u32 block() { return blockIdx.x; }
DEVICE u32 block_y() { return blockIdx.y; }
DEVICE u32 block_z() { return blockIdx.z; }
DEVICE u32 blocks() { return gridDim.x; }
DEVICE u32 blocks_y() { return gridDim.y; }
#endif
DEVICE u32 lane() { return thread() % WARP; }
DEVICE u32 warp() { return thread() / WARP; }
DEVICE u32 warps() { return (threads() + WARP - 1) / WARP; }

// ---- order ------------------------------------------------------------------------------------------------------

// All threads of the block have come here, and see what the others wrote to shared and global memory.
DEVICE void barrier() {
#if AMD
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
#else
    __syncthreads();
#endif
}

#if !AMD && WARP == 64
// The turns that the last warp's halves have taken, for 2^14 blocks.
static __device__ u32 turns_of_halves[1 << 14][2];

// The two halves wait for each other. NVIDIA has 16 barriers: one for the block and 15 for pairs of warps, so that the
// last pair of 1024 threads has none, and counts in global memory. A part of a warp that came alone would count as all of
// it.
static __device__ __noinline__ void join_halves() {
    __syncwarp();
    if (warp() < 15) {
        u32 lanes = threads() - warp() * WARP <= 32 ? 32 : 64;
        asm volatile("barrier.sync %0, %1;" ::"r"(warp() + 1), "r"(lanes) : "memory");
        return;
    }
    u32 half = lane() / 32, *turns = turns_of_halves[(block() + blocks() * (block_y() + blocks_y() * block_z())) % (1 << 14)];
    __threadfence();
    __syncwarp();
    if (lane() % 32 == 0) {
        u32 turn = atomicAdd(turns + half, 1u) + 1;
        while ((int)(atomicAdd(turns + (1 - half), 0u) - turn) < 0) {}
    }
    __syncwarp();
    __threadfence();
}
#endif

// The lanes of a warp see what the others wrote to shared memory.
DEVICE void warp_barrier() {
#if AMD
    __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "wavefront");
    __builtin_amdgcn_wave_barrier();
#elif WARP == 64
    join_halves();
#else
    __syncwarp();
#endif
}

// Waits until the kernels before this one have finished, where it was started before they had. Weights, which no
// kernel writes, may be fetched before; nothing else may.
DEVICE void wait_for_producers() {
#if !AMD && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the kernel after this one start its part before wait_for_producers().
DEVICE void start_consumers() {
#if !AMD && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Adds where blocks meet. What a block wrote before it came here, all its threads behind a barrier, is seen by the blocks
// that come later, all their threads behind a barrier and forget_cached().
DEVICE u32 atomic_add_in_order(u32 *address, u32 value) {
#if AMD
    return __hip_atomic_fetch_add(address, value, __ATOMIC_ACQ_REL, __HIP_MEMORY_SCOPE_AGENT);
#else
    u32 before;
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;" : "=r"(before) : "l"(address), "r"(value) : "memory");
    return before;
#endif
}

// A block of AMD's may be on two compute units, each with a first cache.
DEVICE void forget_cached() {
#if AMD
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "agent");
#endif
}

// ---- numbers ----------------------------------------------------------------------------------------------------

DEVICE u32 bits(float value) { return __builtin_bit_cast(u32, value); }
DEVICE float from_bits(u32 value) { return __builtin_bit_cast(float, value); }

struct bf16 {
    u16 raw;
};

struct f16 {
    u16 raw;
};

DEVICE float widen(float value) { return value; }
DEVICE float widen(bf16 value) { return from_bits((u32)value.raw << 16); }
DEVICE float widen(f16 value) {
#if AMD
    return (float)__builtin_bit_cast(_Float16, value.raw);
#else
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.raw));
    return wide;
#endif
}

// Rounds to the nearest, ties to even.
DEVICE float narrow(float value, float) { return value; }
DEVICE bf16 narrow(float value, bf16) {
#if !AMD && __CUDA_ARCH__ >= 800
    bf16 result;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.raw) : "f"(value));
    return result;
#else
    u32 raw = bits(value);
    if ((raw & 0x7fffffffu) > 0x7f800000u) return bf16{(u16)((raw >> 16) | 0x40u)};
    return bf16{(u16)((raw + 0x7fffu + ((raw >> 16) & 1u)) >> 16)};
#endif
}
DEVICE f16 narrow(float value, f16) {
#if AMD
    return f16{__builtin_bit_cast(u16, (_Float16)value)};
#else
    f16 result;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.raw) : "f"(value));
    return result;
#endif
}
template <typename T> DEVICE T narrow(float value) { return narrow(value, T{}); }

// The two halves of a word.
DEVICE float low(u32 pair, bf16) { return from_bits(pair << 16); }
DEVICE float high(u32 pair, bf16) { return from_bits(pair & 0xffff0000u); }
DEVICE float low(u32 pair, f16) { return widen(f16{(u16)pair}); }
DEVICE float high(u32 pair, f16) { return widen(f16{(u16)(pair >> 16)}); }

#if !AMD && __CUDA_ARCH__ >= 800
DEVICE u32 pack(float first, float second, bf16) {
    u32 result;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(second), "f"(first));
    return result;
}
DEVICE u32 pack(float first, float second, f16) {
    u32 result;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(second), "f"(first));
    return result;
}
#else
template <typename T> DEVICE u32 pack(float first, float second, T) {
    return (u32)narrow<T>(first).raw | (u32)narrow<T>(second).raw << 16;
}
#endif
template <typename T> DEVICE u32 pack(float first, float second) { return pack(first, second, T{}); }

// Products and sums that the compiler does not fuse into one rounding.
DEVICE float times(float a, float b) {
#if AMD
#pragma clang fp contract(off)
    return a * b;
#else
    return __fmul_rn(a, b);
#endif
}
DEVICE float plus(float a, float b) {
#if AMD
#pragma clang fp contract(off)
    return a + b;
#else
    return __fadd_rn(a, b);
#endif
}

DEVICE float maximum(float a, float b) { return a > b ? a : b; }
DEVICE float minimum(float a, float b) { return a < b ? a : b; }
DEVICE u32 smaller(u32 a, u32 b) { return a < b ? a : b; }
DEVICE u32 larger(u32 a, u32 b) { return a > b ? a : b; }

// Two to the power of value, to a few units in the last place; 0 at minus infinity.
DEVICE float fast_exp2(float value) {
    float result;
#if AMD
    asm("v_exp_f32 %0, %1" : "=v"(result) : "v"(value));
#else
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
#endif
    return result;
}

DEVICE float fast_log2(float value) {
    float result;
#if AMD
    asm("v_log_f32 %0, %1" : "=v"(result) : "v"(value));
#else
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
#endif
    return result;
}

DEVICE float exponential(float value) { return fast_exp2(value * LOG2E); }
DEVICE float logarithm(float value) { return fast_log2(value) * 0.6931471805599453f; }

DEVICE float reciprocal_root(float value) {
#if AMD
    return __builtin_amdgcn_rsqf(value);
#else
    float result;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
    return result;
#endif
}

// x / (1 + e^-x)
DEVICE float silu(float value) { return value / (1.0f + exponential(-value)); }

// ---- lanes ------------------------------------------------------------------------------------------------------

#if !AMD && WARP == 64
// What the lanes of a warp hold, for all of them to read until the next warp_barrier().
DEVICE const u32 *of_lanes(u32 value) {
    extern SHARED __attribute__((aligned(128))) u32 launched_for_lanes[];
    u32 bytes;
    asm("mov.u32 %0, %%dynamic_smem_size;" : "=r"(bytes));
    u32 *values = launched_for_lanes + bytes / 4 - (16 - warp()) * WARP;
    values[lane()] = value;
    warp_barrier();
    return values;
}
#endif

DEVICE u32 from_lane(u32 value, u32 source) {
#if AMD
    return (u32)__builtin_amdgcn_ds_bpermute((int)(source * 4), (int)value);
#elif WARP == 64
    u32 result = of_lanes(value)[source % WARP];
    warp_barrier();
    return result;
#else
    return __shfl_sync(0xffffffffu, value, source);
#endif
}
DEVICE float from_lane(float value, u32 source) { return from_bits(from_lane(bits(value), source)); }

DEVICE u32 across(u32 value, u32 mask) {
#if AMD
    return from_lane(value, lane() ^ mask);
#elif WARP == 64
    return mask < 32 ? __shfl_xor_sync(0xffffffffu, value, mask) : from_lane(value, lane() ^ mask);
#else
    return __shfl_xor_sync(0xffffffffu, value, mask);
#endif
}
DEVICE float across(float value, u32 mask) { return from_bits(across(bits(value), mask)); }

// A bit for each lane whose value is true.
DEVICE u64 lanes_where(bool value) {
#if AMD
    return (u64)__builtin_amdgcn_uicmp((u32)value, 0u, 33);  // 33: not equal
#elif WARP == 64
    u32 own = __ballot_sync(0xffffffffu, value), other = threads() - warp() * WARP <= 32 ? 0 : across(own, 32);
    return lane() < 32 ? (u64)other << 32 | own : (u64)own << 32 | other;
#else
    return __ballot_sync(0xffffffffu, value);
#endif
}
DEVICE u32 count_bits(u64 value) {
#if AMD
    return (u32)__builtin_popcountll(value);
#else
    return (u32)__popcll(value);
#endif
}

// Sum and maximum over WIDTH neighbouring lanes, in each of them.
template <u32 WIDTH> DEVICE float sum_lanes(float value) {
#pragma unroll
    for (u32 mask = WIDTH / 2; mask > 0; mask /= 2) value += across(value, mask);
    return value;
}
template <u32 WIDTH> DEVICE float max_lanes(float value) {
#pragma unroll
    for (u32 mask = WIDTH / 2; mask > 0; mask /= 2) value = maximum(value, across(value, mask));
    return value;
}
DEVICE float warp_sum(float value) { return sum_lanes<WARP>(value); }
DEVICE float warp_max(float value) { return max_lanes<WARP>(value); }

// Sum and maximum over the block, in each thread. scratch holds 32 numbers and is free again after a barrier.
DEVICE float block_sum(float value, float *scratch) {
    value = warp_sum(value);
    if (lane() == 0) scratch[warp()] = value;
    barrier();
    float total = 0.0f;
    for (u32 index = 0; index < warps(); index++) total += scratch[index];
    return total;
}
DEVICE float block_max(float value, float *scratch) {
    value = warp_max(value);
    if (lane() == 0) scratch[warp()] = value;
    barrier();
    float total = -INFINITE;
    for (u32 index = 0; index < warps(); index++) total = maximum(total, scratch[index]);
    return total;
}

// ---- memory -----------------------------------------------------------------------------------------------------

// Sixteen bytes, loaded and stored at once: addresses are multiples of 16.
struct __attribute__((aligned(16))) words4 {
    u32 x, y, z, w;
};

DEVICE words4 load16(const void *address) { return *(const words4 *)address; }
DEVICE void store16(void *address, words4 value) { *(words4 *)address = value; }

// For bytes that are read once, as weights in decoding are: past the first cache.
DEVICE words4 stream16(const void *address) {
#if AMD
    typedef u32 vector __attribute__((ext_vector_type(4)));
    vector value = __builtin_nontemporal_load((const vector *)address);
    return words4{value.x, value.y, value.z, value.w};
#else
    words4 value;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(address));
    return value;
#endif
}

// The same where present is true, and zeros where not.
DEVICE words4 stream16_if(const void *address, bool present) {
#if AMD
    return present ? stream16(address) : words4{0, 0, 0, 0};
#else
    words4 value;
    asm volatile("{\n"
                 ".reg .pred present;\n"
                 "setp.ne.u32 present, %5, 0;\n"
                 "mov.u32 %0, 0;\nmov.u32 %1, 0;\nmov.u32 %2, 0;\nmov.u32 %3, 0;\n"
                 "@present ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];\n"
                 "}"
                 : "=&r"(value.x), "=&r"(value.y), "=&r"(value.z), "=&r"(value.w)
                 : "l"(address), "r"((u32)present));
    return value;
#endif
}

// For what no kernel writes and neighbours read too: loaded where it is written, not where it is first used.
DEVICE words4 ahead16(const void *address) {
#if AMD
    return load16(address);
#else
    words4 value;
    asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(address));
    return value;
#endif
}
DEVICE u32 ahead4(const void *address) {
#if AMD
    return *(const u32 *)address;
#else
    u32 value;
    asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(value) : "l"(address));
    return value;
#endif
}
DEVICE u16 ahead2(const void *address) {
#if AMD
    return *(const u16 *)address;
#else
    u16 value;
    asm volatile("ld.global.nc.u16 %0, [%1];" : "=h"(value) : "l"(address));
    return value;
#endif
}

// Eight numbers from and to an address that is a multiple of 16.
DEVICE void load8(const float *address, float (&values)[8]) {
    words4 first = load16(address), second = load16(address + 4);
    values[0] = from_bits(first.x), values[1] = from_bits(first.y);
    values[2] = from_bits(first.z), values[3] = from_bits(first.w);
    values[4] = from_bits(second.x), values[5] = from_bits(second.y);
    values[6] = from_bits(second.z), values[7] = from_bits(second.w);
}
template <typename T> DEVICE void widen8(words4 words, float (&values)[8]) {
    values[0] = low(words.x, T{}), values[1] = high(words.x, T{});
    values[2] = low(words.y, T{}), values[3] = high(words.y, T{});
    values[4] = low(words.z, T{}), values[5] = high(words.z, T{});
    values[6] = low(words.w, T{}), values[7] = high(words.w, T{});
}
template <typename T> DEVICE void load8(const T *address, float (&values)[8]) { widen8<T>(load16(address), values); }
DEVICE void store8(float *address, const float (&values)[8]) {
    store16(address, words4{bits(values[0]), bits(values[1]), bits(values[2]), bits(values[3])});
    store16(address + 4, words4{bits(values[4]), bits(values[5]), bits(values[6]), bits(values[7])});
}
template <typename T> DEVICE void store8(T *address, const float (&values)[8]) {
    store16(address, words4{pack<T>(values[0], values[1]), pack<T>(values[2], values[3]),
                            pack<T>(values[4], values[5]), pack<T>(values[6], values[7])});
}

// Asks for the cache line of an address to be in the second cache soon.
DEVICE void prefetch(const void *address) {
#if !AMD
    asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
#endif
}

#if !AMD
DEVICE u32 shared_address(const void *pointer) { return (u32)__cvta_generic_to_shared(pointer); }
#endif

// Copies 16 bytes to shared memory without waiting; where present is false, zeros. copies_commit() ends a group;
// copies_wait<N>() waits until at most N groups of this thread are under way. A barrier makes them seen by the block.
DEVICE void copy16(void *shared, const void *global, bool present) {
#if !AMD && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(present ? 16 : 0)
                 : "memory");
#else
    words4 value = {0, 0, 0, 0};
    if (present) value = load16(global);
    store16(shared, value);
#endif
}
DEVICE void copies_commit() {
#if !AMD && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <u32 N> DEVICE void copies_wait() {
#if !AMD && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

// ---- rows -------------------------------------------------------------------------------------------------------

// Eight neighbours along a row.
template <typename T> struct piece {
    words4 part[sizeof(T) / 2];
};

DEVICE void unpack_words(const words4 &words, float *values, float) {
    values[0] = from_bits(words.x);
    values[1] = from_bits(words.y);
    values[2] = from_bits(words.z);
    values[3] = from_bits(words.w);
}
template <typename T> DEVICE void unpack_words(const words4 &words, float *values, T) {
    values[0] = low(words.x, T{});
    values[1] = high(words.x, T{});
    values[2] = low(words.y, T{});
    values[3] = high(words.y, T{});
    values[4] = low(words.z, T{});
    values[5] = high(words.z, T{});
    values[6] = low(words.w, T{});
    values[7] = high(words.w, T{});
}
template <typename T> DEVICE void unpack(const piece<T> &from, float (&values)[8]) {
#pragma unroll
    for (u32 part = 0; part < sizeof(T) / 2; part++) unpack_words(from.part[part], values + 8 / (sizeof(T) / 2) * part, T{});
}

DEVICE u32 raw_bits(float value) { return bits(value); }
DEVICE u32 raw_bits(bf16 value) { return value.raw; }
DEVICE u32 raw_bits(f16 value) { return value.raw; }

// The piece of a row that begins at column; zeros past its end and where the row is absent.
template <typename T> DEVICE piece<T> load_piece(const T *row, u32 column, u32 width, bool present) {
    constexpr u32 PARTS = sizeof(T) / 2, EACH = 8 / PARTS, PER_WORD = 4 / sizeof(T);
    piece<T> result;
#pragma unroll
    for (u32 part = 0; part < PARTS; part++) {
        u32 words[4] = {0, 0, 0, 0};
        u32 first = column + part * EACH;
        if (width % 8 == 0) {
            if (present && first < width) {
                words4 loaded = load16(row + first);
                words[0] = loaded.x, words[1] = loaded.y, words[2] = loaded.z, words[3] = loaded.w;
            }
        } else {
#pragma unroll
            for (u32 index = 0; index < EACH; index++) {
                u32 value = present && first + index < width ? raw_bits(row[first + index]) : 0;
                words[index / PER_WORD] |= value << (index % PER_WORD * 16);
            }
        }
        result.part[part] = words4{words[0], words[1], words[2], words[3]};
    }
    return result;
}
