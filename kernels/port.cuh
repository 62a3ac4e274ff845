// Portable layer: the same sources are compiled by NVRTC for a GPU and by a C++ compiler for the tests, where each
// CUDA thread of a block is a fiber (tests/gpu/sim/cpu.h).
//
// What keeps one source equal on both, and one PTX good for every GPU from Volta on:
// - no header but ours; kernels take pointers, u32, u64, f32 and Layer; `static __shared__` arrays only;
// - whole warps go round loops together, and no thread leaves before a barrier;
// - `a * b + c` is never fused by the compiler (--fmad=false): where the processor's code fuses, `fma` is written;
// - rounding to 16 bits is integer arithmetic, or an instruction that every GPU has.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char i8;
typedef int i32;
typedef float f32;
typedef double f64;

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)

#define KERNEL(name, ...) extern "C" __global__ void __launch_bounds__(256) name(__VA_ARGS__)
// A kernel that takes many registers: as many as leave room for four blocks on a multiprocessor, which is 64.
#define WIDE_KERNEL(name, ...) extern "C" __global__ void __launch_bounds__(256, 4) name(__VA_ARGS__)
// One that computes long on what lies in the caches: three blocks, of 80 registers.
#define LONG_KERNEL(name, ...) extern "C" __global__ void __launch_bounds__(256, 3) name(__VA_ARGS__)
#define DEV static __device__ __forceinline__
#define CONSTANT static __constant__
#define SHFL(value, lane) __shfl_sync(0xffffffffu, value, lane)
#define SHFL_XOR(value, lanes) __shfl_xor_sync(0xffffffffu, value, lanes)

DEV u32 bits_of(f32 value) { return __float_as_uint(value); }
DEV f32 of_bits(u32 bits) { return __uint_as_float(bits); }
DEV u64 bits64_of(f64 value) { return (u64)__double_as_longlong(value); }
DEV f64 of_bits64(u64 bits) { return __longlong_as_double((long long)bits); }
DEV f32 fma32(f32 a, f32 b, f32 c) { return __fmaf_rn(a, b, c); }
DEV f32 square_root(f32 value) { return __fsqrt_rn(value); }
// The bytes that four digits of `which`, the lowest first, name: 0 to 3 of `low`, 4 to 7 of `high`.
DEV u32 permuted(u32 low, u32 high, u32 which) { return __byte_perm(low, high, which); }
DEV f64 square_root(f64 value) { return __dsqrt_rn(value); }
// To nearest, ties to even; what is beyond the largest becomes infinite.
DEV u16 f16_of(f32 value) {
  u16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
DEV f32 f16_value(u16 bits) {
  f32 value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

#else

#include "cpu.h"

#endif

// Vectors that are loaded and stored at once.
struct __attribute__((aligned(8))) Two {
  u32 word[2];
};
struct __attribute__((aligned(16))) Four {
  u32 word[4];
};
