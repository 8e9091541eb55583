// Hopper's products of four warps (wgmma), which read shared memory by themselves.

#if BULK_COPIES && defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define GROUP_PRODUCTS 1

// A tile in shared memory whose rows are 128 bytes, swizzled: rows are 8 at a time 1024 bytes apart, and a matrix that
// is wider than 64 numbers goes on `next` bytes further. 16 bytes further on it is one more. All lanes take that of the
// first, so that the compiler knows it to be the same: products then follow each other without delay.
DEVICE u64 describe(u32 address, u32 next) {
    const u32 low = from_lane((address >> 4 & 0x3fff) | next >> 4 << 16, 0);
    return (u64)low | (u64)(1024 >> 4) << 32 | (u64)1 << 62;
}

#define TEXT_32                                                                                                        \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "   \
    "%24, %25, %26, %27, %28, %29, %30, %31"
#define TEXT_64                                                                                                        \
    TEXT_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, "   \
            "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define TEXT_128                                                                                                       \
    TEXT_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, "   \
            "%84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, " \
            "%104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, "   \
            "%121, %122, %123, %124, %125, %126, %127"
#define OPERANDS_8(d, i)                                                                                               \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]),        \
        "+f"(d[i + 7])
#define OPERANDS_32(d, i) OPERANDS_8(d, i), OPERANDS_8(d, i + 8), OPERANDS_8(d, i + 16), OPERANDS_8(d, i + 24)
#define OPERANDS_64(d, i) OPERANDS_32(d, i), OPERANDS_32(d, i + 32)
#define OPERANDS_128(d, i) OPERANDS_64(d, i), OPERANDS_64(d, i + 64)

// sums (64, 2 count) = a (64, 16) b (2 count, 16)^T, added to what they are where add is not 0; both in shared memory.
// And sums += a b with a in registers, b (16, 2 count) in shared memory as values lie.
#define GROUP_PRODUCT(T, kind, columns, count, p0, p1, p2, p3, p4, p5)                                                 \
    DEVICE void multiply_group(float(&sums)[count], u64 a, u64 b, u32 add, T) {                                        \
        asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " p2 ", 0;\n"                                               \
                     "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." kind "." kind " {" TEXT_##count            \
                     "}, " p0 ", " p1 ", add, 1, 1, 0, 0;\n}"                                                          \
                     : OPERANDS_##count(sums, 0)                                                                       \
                     : "l"(a), "l"(b), "r"(add));                                                                      \
    }                                                                                                                  \
    DEVICE void multiply_group(float(&sums)[count], const u32(&a)[4], u64 b, T) {                                      \
        asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " p5 ", 0;\n"                                               \
                     "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." kind "." kind " {" TEXT_##count            \
                     "}, {" p0 ", " p1 ", " p2 ", " p3 "}, " p4 ", add, 1, 1, 1;\n}"                                   \
                     : OPERANDS_##count(sums, 0)                                                                       \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));                                    \
    }
GROUP_PRODUCT(bf16, "bf16", "256", 128, "%128", "%129", "%130", "%131", "%132", "%133")
GROUP_PRODUCT(f16, "f16", "256", 128, "%128", "%129", "%130", "%131", "%132", "%133")
GROUP_PRODUCT(bf16, "bf16", "128", 64, "%64", "%65", "%66", "%67", "%68", "%69")
GROUP_PRODUCT(f16, "f16", "128", 64, "%64", "%65", "%66", "%67", "%68", "%69")
GROUP_PRODUCT(bf16, "bf16", "64", 32, "%32", "%33", "%34", "%35", "%36", "%37")
GROUP_PRODUCT(f16, "f16", "64", 32, "%32", "%33", "%34", "%35", "%36", "%37")

// Registers were written before, products follow.
DEVICE void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// At most N groups are under way.
template <u32 N> DEVICE void products_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
// Keeps the compiler from moving accesses to registers that products write.
template <u32 COUNT> DEVICE void hold(float (&values)[COUNT]) {
#pragma unroll
    for (u32 i = 0; i < COUNT; i++) asm volatile("" : "+f"(values[i])::"memory");
}

template <u32 ROWS, u32 COUNT> DEVICE void hold(u32 (&values)[ROWS][COUNT]) {
#pragma unroll
    for (u32 i = 0; i < ROWS * COUNT; i++) asm volatile("" : "+r"(values[i / COUNT][i % COUNT])::"memory");
}

template <u32 COUNT> DEVICE void more_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}
template <u32 COUNT> DEVICE void fewer_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}
DEVICE void part_arrive(u32 number, u32 count) {
    asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(count) : "memory");
}
#else
#define GROUP_PRODUCTS 0
#endif
