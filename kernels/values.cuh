// Values: what a layer's kernels are given, and the dtypes that they read and write.
#pragma once
#include "port.cuh"

// What all rows of a layer share, as src/quant/kernel.rs fills it: arrays on the device, and numbers.
struct Layer {
  const u8* table[6];
  u64 number[10];
};

// Dtypes of plain values; src/quant/kernel.rs has the same numbers.
enum : u32 { F32 = 0, F16 = 1, BF16 = 2 };

DEV f32 bf16_value(u16 bits) { return of_bits((u32)bits << 16); }

DEV u16 bf16_of(f32 value) {
  u32 bits = bits_of(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (u16)((bits >> 16) | 0x40u);
  return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

DEV f32 magnitude(f32 value) { return of_bits(bits_of(value) & 0x7fffffffu); }
DEV bool is_nan(f32 value) { return (bits_of(value) & 0x7fffffffu) > 0x7f800000u; }
DEV bool is_finite(f32 value) { return (bits_of(value) & 0x7fffffffu) < 0x7f800000u; }

// A value rounded to a dtype, as f32 again.
DEV f32 rounded(u32 dtype, f32 value) {
  if (dtype == BF16) return bf16_value(bf16_of(value));
  if (dtype == F16) return f16_value(f16_of(value));
  return value;
}

DEV f32 loaded(u32 dtype, const u8* from, u64 at) {
  if (dtype == BF16) return bf16_value(((const u16*)from)[at]);
  if (dtype == F16) return f16_value(((const u16*)from)[at]);
  return ((const f32*)from)[at];
}

// What a kernel saw, counted for the whole launch: a NaN has one form on a GPU and many on a processor, so that a
// result with one is made by the processor instead.
struct Seen {
  u32 overflows;
  u32 nans;
};

DEV void tell(Seen seen, u32* all) {
  if (seen.overflows) atomicAdd(&all[0], seen.overflows);
  if (seen.nans) atomicAdd(&all[1], seen.nans);
}

// Writes eight values (fewer at the end) from element `at` on, a multiple of 8, of an array that is aligned to 16 bytes.
template <u32 OUT>
DEV void store_eight(u8* out, u64 at, u32 count, const f32* value, Seen& seen) {
#pragma unroll
  for (u32 k = 0; k < 8; ++k) seen.nans += k < count && is_nan(value[k]);
  if constexpr (OUT == F32) {
    Four four[2];
#pragma unroll
    for (u32 k = 0; k < 8; ++k) four[k / 4].word[k % 4] = bits_of(value[k]);
    if (count == 8) {
      ((Four*)out)[at / 4] = four[0];
      ((Four*)out)[at / 4 + 1] = four[1];
    } else {
      for (u32 k = 0; k < count; ++k) ((f32*)out)[at + k] = value[k];
    }
  } else {
    u16 half[8];
#pragma unroll
    for (u32 k = 0; k < 8; ++k) {
      half[k] = OUT == BF16 ? bf16_of(value[k]) : f16_of(value[k]);
      if (OUT == F16) seen.overflows += k < count && (half[k] & 0x7fffu) == 0x7c00u && is_finite(value[k]);
    }
    if (count == 8) {
      Four four;
#pragma unroll
      for (u32 k = 0; k < 4; ++k) four.word[k] = (u32)half[2 * k] | (u32)half[2 * k + 1] << 16;
      ((Four*)out)[at / 8] = four;
    } else {
      for (u32 k = 0; k < count; ++k) ((u16*)out)[at + k] = half[k];
    }
  }
}

DEV u64 thread_of_all() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }
DEV u64 all_threads() { return (u64)gridDim.x * blockDim.x; }

DEV void round_eight(u32 dtype, f32* value) {
  if (dtype == BF16) {
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = bf16_value(bf16_of(value[k]));
  } else if (dtype == F16) {
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = f16_value(f16_of(value[k]));
  }
}

// A decoder of a format whose neighbors in the weight are neighbors in its codes, of fewer than 2^32 values a launch
// (`VALUES_MAX` in src/engine/cuda.rs): `Format::begin` is what a thread knows of the layer, and `Format::eight` gives
// eight values (fewer at the end) from element `first + at` on; `codes` begins with the byte that src/quant names for
// `first`. The first floats of `table[0]`, `Format::held` of them and `Format::SHARED` at most, are put in shared memory
// first.
template <class Format, u32 OUT>
DEV void decode_rows(const Layer& layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) {
  static __shared__ f32 shared[Format::SHARED > 0 ? Format::SHARED : 1];
  if constexpr (Format::SHARED > 0) {
    for (u32 k = threadIdx.x; k < Format::held(layer); k += blockDim.x) shared[k] = ((const f32*)layer.table[0])[k];
    __syncthreads();
  }
  auto rows = Format::begin(layer, first, count);
  Seen seen = {0, 0};
  u64 units = (count + 7) / 8;
  for (u64 unit = thread_of_all(); unit < units; unit += all_threads()) {
    u64 at = unit * 8;
    u32 here = count - at < 8 ? (u32)(count - at) : 8;
    f32 value[8] = {};
    Format::eight(rows, layer, shared, codes, at, here, value);
    round_eight(native, value);
    store_eight<OUT>(out, at, here, value, seen);
  }
  tell(seen, all);
}

// The three kernels of a decoder: `first` is the first element of the weight that is asked for, `count` how many are,
// `codes` begins with the bytes that the format names for them; each value is rounded to `native` first. `kernel` declares
// them, `decode` is a function template of the format, which stands last as it may have commas, and the dtype.
#define DECODER_TO(name, ending, dtype, kernel, decode, ...)                                                       \
  kernel(name##_##ending, const Layer layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) { \
    decode<__VA_ARGS__, dtype>(layer, codes, first, count, native, out, all);                                      \
  }
#define DECODER(kernel, name, decode, ...)                    \
  DECODER_TO(name, f32, F32, kernel, decode, __VA_ARGS__)     \
  DECODER_TO(name, f16, F16, kernel, decode, __VA_ARGS__)     \
  DECODER_TO(name, bf16, BF16, kernel, decode, __VA_ARGS__)
#define ROWS(name, ...) DECODER(KERNEL, name, decode_rows, __VA_ARGS__)
