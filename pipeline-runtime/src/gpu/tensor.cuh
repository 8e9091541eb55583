// NVIDIA's tensor cores and asynchronous copies.

#if !AMD && __CUDA_ARCH__ >= 800
#define TENSOR_CORES 1

// One instruction where maximum() has two: a number where the other is none.
DEVICE float higher(float a, float b) {
    float result;
    asm("max.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
    return result;
}

// sums (16, 8) += a (16, 16) b (16, 8): a lane has four of the sums
DEVICE void multiply_add(float *sums, const u32 (&a)[4], u32 b0, u32 b1, bf16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEVICE void multiply_add(float *sums, const u32 (&a)[4], u32 b0, u32 b1, f16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four matrices of 8 x 8 from shared memory; each lane gives the address of one row.
DEVICE void load_matrices(u32 (&words)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
}
DEVICE void load_matrices_transposed(u32 (&words)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
}

// Waits for the other warps of a part of the block: number 1 to 15, threads that meet.
DEVICE void part_barrier(u32 number, u32 count) {
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(count) : "memory");
}

// Arrivals in shared memory: a phase ends when so many have arrived, and the bytes announced have come.
DEVICE void init_arrivals(u64 *arrivals, u32 count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(arrivals)), "r"(count) : "memory");
}
DEVICE void arrive(u64 *arrivals) {
    asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared::cta.b64 state, [%0];\n}" ::"r"(shared_address(arrivals))
                 : "memory");
}
// Waits for the end of the phase of that parity.
DEVICE void await(u64 *arrivals, u32 parity) {
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
#if __CUDA_ARCH__ >= 900
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
#else
                 "mbarrier.test_wait.parity.shared::cta.b64 done, [%0], %1;\n"
#endif
                 "@!done bra again;\n"
                 "}" ::"r"(shared_address(arrivals)),
                 "r"(parity)
                 : "memory");
}
// This thread arrives when the copies that it began have come.
DEVICE void arrive_after_copies(u64 *arrivals) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(arrivals)) : "memory");
}

#if __CUDA_ARCH__ >= 900
#define BULK_COPIES 1

// After initialisation, before the barrier that shows it to the block.
DEVICE void fence_arrivals() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// Arrives, and announces bytes that copies will bring.
DEVICE void arrive_expecting(u64 *arrivals, u32 bytes) {
    asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1;\n}" ::"r"(
                     shared_address(arrivals)),
                 "r"(bytes)
                 : "memory");
}
// Copies bytes, a multiple of 16, from 16-byte aligned global memory.
DEVICE void copy_bulk(void *shared, const void *global, u32 bytes, u64 *arrivals) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(shared)),
                 "l"(global), "r"(bytes), "r"(shared_address(arrivals))
                 : "memory");
}
// Copies a box of a tensor map, its first column and row given, as the map lays it out.
DEVICE void copy_box(u32 target, const void *map, u32 column, u32 row, u64 *arrivals) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
                 "[%4];" ::"r"(target),
                 "l"(map), "r"(column), "r"(row), "r"(shared_address(arrivals))
                 : "memory");
}
// Orders this thread's own accesses to shared memory before those of copies and wgmma that follow a barrier.
DEVICE void fence_asynchronous() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
#else
#define BULK_COPIES 0
DEVICE void fence_arrivals() {}
DEVICE void fence_asynchronous() {}
#endif
#else
#define TENSOR_CORES 0
#define BULK_COPIES 0
#endif
