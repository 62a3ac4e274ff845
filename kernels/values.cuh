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

// The 16 bits of a value that is no NaN, as bf16, in the upper half; the lower means nothing.
DEV u32 over_bf16(f32 value) {
  u32 bits = bits_of(value);
  return (bits | (bits >> 16 & 1u)) + 0x7fffu;
}

// A finite value that becomes infinite as a half: from 65520 on.
DEV bool is_beyond_half(f32 value) { return (bits_of(value) & 0x7fffffffu) - 0x477ff000u < 0x7f800000u - 0x477ff000u; }

// True if one of COUNT values, a multiple of four, is NaN. Of their sum one sees it at once, but for infinities of both
// signs; and sums are done by units that rounding leaves free.
template <u32 COUNT>
DEV bool has_nan(const f32* value) {
  f32 sum = 0.0f;
#pragma unroll
  for (u32 k = 0; k < COUNT; k += 4) sum = sum + ((value[k] + value[k + 1]) + (value[k + 2] + value[k + 3]));
  if (sum == sum) return false;
  bool is_any = false;
#pragma unroll
  for (u32 k = 0; k < COUNT; ++k) is_any |= value[k] != value[k];
  return is_any;
}

// Rounds values of which none is NaN to `native`, unless writing them as OUT does that too.
template <u32 OUT, u32 COUNT>
DEV void round_native(u32 native, f32* value) {
  if (native == F16) {
#pragma unroll
    for (u32 k = 0; k < COUNT; ++k) value[k] = f16_value(f16_of(value[k]));
  } else if (OUT != BF16 && native == BF16) {
#pragma unroll
    for (u32 k = 0; k < COUNT; ++k) value[k] = of_bits(over_bf16(value[k]) & 0xffff0000u);
  }
}

// Two values as OUT, the first in the low half; a NaN becomes anything, as a result with one is not used.
template <u32 OUT>
DEV u32 pair_of(f32 a, f32 b, Seen& seen) {
  if constexpr (OUT == BF16) return permuted(over_bf16(a), over_bf16(b), 0x7632u);
  seen.overflows += is_beyond_half(a);
  seen.overflows += is_beyond_half(b);
  return f16_of(a) | (u32)f16_of(b) << 16;
}

// Writes COUNT values, 4 or 8, from element `at` on, a multiple of COUNT, of an array that is aligned to 16 bytes.
template <u32 OUT, u32 COUNT>
DEV void put(u8* out, u64 at, const f32* value, Seen& seen) {
  if constexpr (OUT == F32) {
#pragma unroll
    for (u32 k = 0; k < COUNT / 4; ++k) {
      Four four;
#pragma unroll
      for (u32 n = 0; n < 4; ++n) four.word[n] = bits_of(value[4 * k + n]);
      ((Four*)out)[at / 4 + k] = four;
    }
  } else {
    Four four;
#pragma unroll
    for (u32 n = 0; n < COUNT / 2; ++n) four.word[n] = pair_of<OUT>(value[2 * n], value[2 * n + 1], seen);
    if constexpr (COUNT == 8) ((Four*)out)[at / 8] = four;
    if constexpr (COUNT == 4) ((Two*)out)[at / 4] = {four.word[0], four.word[1]};
  }
}

// Writes one value.
template <u32 OUT>
DEV void put_one(u8* out, u64 at, f32 value, Seen& seen) {
  seen.nans += is_nan(value);
  if constexpr (OUT == F32) {
    ((f32*)out)[at] = value;
  } else {
    if (OUT == F16) seen.overflows += is_beyond_half(value);
    ((u16*)out)[at] = OUT == BF16 ? bf16_of(value) : f16_of(value);
  }
}

// Rounds eight values to `native` (fewer at the end) and writes them from element `at` on, a multiple of 8 where they are
// eight.
template <u32 OUT>
DEV void store_eight(u8* out, u64 at, u32 count, u32 native, f32* value, Seen& seen) {
  if (count == 8) {
    seen.nans += has_nan<8>(value);
    round_native<OUT, 8>(native, value);
    put<OUT, 8>(out, at, value, seen);
    return;
  }
#pragma unroll 1
  for (u32 k = 0; k < count; ++k) {
    f32 first = value[0];
#pragma unroll
    for (u32 j = 0; j < 7; ++j) value[j] = value[j + 1];
    put_one<OUT>(out, at + k, rounded(native, first), seen);
  }
}

// The same of sixteen values: eight, and eight that begin `apart` behind them. If they are tame, none is NaN.
template <u32 OUT>
DEV void store_sixteen(u8* out, u64 at, u32 apart, bool is_tame, u32 native, f32* value, Seen& seen) {
  if (!is_tame) seen.nans += has_nan<16>(value);
  round_native<OUT, 16>(native, value);
  put<OUT, 8>(out, at, value, seen);
  put<OUT, 8>(out, at + apart, value + 8, seen);
}

DEV u64 thread_of_all() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }
DEV u64 all_threads() { return (u64)gridDim.x * blockDim.x; }

// Rounds values, of which some may be NaN, to a dtype.
template <u32 COUNT>
DEV void round_all(u32 dtype, f32* value) {
  if (dtype == F32) return;
#pragma unroll
  for (u32 k = 0; k < COUNT; ++k) value[k] = rounded(dtype, value[k]);
}

// A decoder of a format whose neighbors in the weight are neighbors in its codes, of 2^30 values a launch at most
// (`VALUES_MAX` in src/engine/cuda.rs): `Format::begin` is what a thread knows of the layer, and `Format::eight` gives
// eight values (fewer at the end) from element `first + at` on, `Format::sixteen`, if SIXTEEN is not 0, these and the
// eight 64 behind them at once and says whether none can be NaN, or returns false; `codes` begins with the byte that src/quant names for
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
  // Sixteen values a time: eight, and the eight 64 behind them, so that neighbors in a warp write neighboring bytes.
  u32 units = (u32)((count + 127) / 128) * 8, threads = (u32)all_threads(), all_values = (u32)count;
#pragma unroll 1
  for (u32 unit = (u32)thread_of_all(); unit < units; unit += threads) {
    u32 at = unit / 8 * 128 + unit % 8 * 8;
    if constexpr (Format::SIXTEEN) {
      f32 value[16];
      bool is_tame = false;
      if (at + 72 <= all_values && Format::sixteen(rows, layer, shared, codes, at, value, is_tame)) {
        store_sixteen<OUT>(out, at, 64, is_tame, native, value, seen);
        continue;
      }
    }
#pragma unroll 1
    for (u32 end = at + 128; at < end && at < all_values; at += 64) {
      u32 here = all_values - at < 8 ? all_values - at : 8;
      f32 value[8] = {};
      Format::eight(rows, layer, shared, codes, at, here, value);
      store_eight<OUT>(out, at, here, native, value, seen);
    }
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
