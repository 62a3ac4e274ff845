// The other half of kernels/port.cuh: CUDA kernels as C++. A block runs on one thread of the system, each of its CUDA
// threads is a fiber with a stack of its own (cpu.cpp).
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>

#include "launch.h"

extern thread_local Index threadIdx, blockIdx, blockDim, gridDim;

namespace sim {
void barrier();
uint32_t shuffle_xor(uint32_t value, int lanes);
uint32_t shuffle(uint32_t value, int lane);

// A launch: all blocks of a grid, on all cores.
void run(Index grid, Index block, const std::function<void()>& body);

template <class... A, size_t... I>
std::function<void()> bound(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  std::tuple<std::remove_const_t<A>...> copied{*static_cast<std::remove_const_t<A>*>(arguments[I])...};
  return [=] { std::apply(kernel, copied); };
}

struct Kernel {
  template <class... A>
  Kernel(const char* name, void (*kernel)(A...)) {
    add(name, [=](void** arguments, Index grid, Index block) {
      return [=, body = bound(kernel, arguments, std::index_sequence_for<A...>{})] { run(grid, block, body); };
    });
  }
};
}  // namespace sim

#define KERNEL(name, ...)              \
  static void name(__VA_ARGS__);       \
  static sim::Kernel known_##name(#name, name); \
  static void name(__VA_ARGS__)
#define WIDE_KERNEL KERNEL
#define LONG_KERNEL KERNEL
#define DEV static inline
#define CONSTANT static const
#define __shared__ thread_local
#define __syncthreads() sim::barrier()

// A GPU has one NaN, whose bits are others than those that processors make.
DEV uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return value != value ? 0x7fffffffu : bits;
}
DEV float of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
DEV unsigned long long bits64_of(double value) {
  unsigned long long bits;
  memcpy(&bits, &value, 8);
  return value != value ? 0x7fffffffffffffffull : bits;
}
DEV double of_bits64(unsigned long long bits) {
  double value;
  memcpy(&value, &bits, 8);
  return value;
}
DEV float fma32(float a, float b, float c) { return fmaf(a, b, c); }
DEV float square_root(float value) { return sqrtf(value); }
DEV uint32_t permuted(uint32_t low, uint32_t high, uint32_t which) {
  uint64_t all = (uint64_t)high << 32 | low;
  uint32_t bytes = 0;
  for (int k = 0; k < 4; k++) bytes |= (uint32_t)(all >> (8 * (which >> (4 * k) & 7)) & 0xff) << (8 * k);
  return bytes;
}
DEV double square_root(double value) { return sqrt(value); }
DEV unsigned short f16_of(float value) {
  _Float16 half = (_Float16)value;
  unsigned short bits;
  memcpy(&bits, &half, 2);
  return bits;
}
DEV float f16_value(unsigned short bits) {
  _Float16 half;
  memcpy(&half, &bits, 2);
  return (float)half;
}
DEV float SHFL(float value, int lane) { return of_bits(sim::shuffle(bits_of(value), lane)); }
DEV double SHFL(double value, int lane) {
  uint32_t words[2];
  memcpy(words, &value, 8);
  for (uint32_t& word : words) word = sim::shuffle(word, lane);
  memcpy(&value, words, 8);
  return value;
}
DEV uint32_t SHFL_XOR(uint32_t value, int lanes) { return sim::shuffle_xor(value, lanes); }
DEV float SHFL_XOR(float value, int lanes) { return of_bits(sim::shuffle_xor(bits_of(value), lanes)); }
template <class T>
static inline T atomicAdd(T* to, T value) {
  return __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
}
DEV uint32_t atomicMax(uint32_t* to, uint32_t value) {
  uint32_t is = __atomic_load_n(to, __ATOMIC_RELAXED);
  while (is < value && !__atomic_compare_exchange_n(to, &is, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return is;
}
