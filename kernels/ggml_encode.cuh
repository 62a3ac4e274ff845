// Encoding to blocks of ggml: no block hangs on another, and a row is whole blocks.
//
// A thread has a part of a block, its sub-block where the type has such, so that sums go through it in the processor's
// order; threads of a block tell each other what they found by shuffles. Values come through shared memory, where searches
// go through them many times; codes and scales go there, and from there all threads write the bytes. A format has
// - `BYTES` and `VALUES` of a block, `LANES` threads for it, a power of two;
// - `FLOATS`, how many floats of `table[0]` are put in shared memory first;
// - `Block`, what is put in shared memory;
// - `make`, which finds scales and codes of a part, `VALUES / LANES` values; whole warps call it together. It adds to
//   `refused` what is not finite;
// - `byte`, which makes a byte of a block.
#pragma once
#include "encode.cuh"

struct Block32 {
  u8 code[32];
  u16 half[2];
};

struct Block256 {
  u8 code[256];
  u8 scale[16], min[16];
  u16 half[2];
};

template <class Format>
DEV void encode_blocks(const Layer& layer, const f32* values, u64 count, u8* out, u32* all) {
  enum : u32 { PART = Format::VALUES / Format::LANES, TOGETHER = 256 / Format::LANES, BYTES = Format::BYTES };
  // Parts lie an odd number of words apart, so that each thread's next value is in another bank.
  static __shared__ f32 parts[256 * (PART + 1)];
  static __shared__ typename Format::Block held[TOGETHER];
  static __shared__ f32 table[Format::FLOATS > 0 ? Format::FLOATS : 1];
  if constexpr (Format::FLOATS > 0) {
    if (threadIdx.x < (u32)Format::FLOATS) table[threadIdx.x] = ((const f32*)layer.table[0])[threadIdx.x];
    __syncthreads();
  }
  u32 which = threadIdx.x / Format::LANES, lane = threadIdx.x % Format::LANES, refused = 0;
  u64 blocks = count / Format::VALUES;
  for (u64 base = (u64)blockIdx.x * TOGETHER; base < blocks; base += (u64)gridDim.x * TOGETHER) {
    u32 here = blocks - base < TOGETHER ? (u32)(blocks - base) : TOGETHER;
    const Four* from = (const Four*)(values + base * Format::VALUES);
#pragma unroll 4
    for (u32 four = threadIdx.x; four < 256 * PART / 4; four += 256) {
      Four is = {};
      if (four < here * (Format::VALUES / 4)) is = from[four];
      f32* to = parts + four / (PART / 4) * (PART + 1) + four % (PART / 4) * 4;
#pragma unroll
      for (u32 k = 0; k < 4; ++k) {
        to[k] = of_bits(is.word[k]);
        refused += !is_finite(to[k]);
      }
    }
    __syncthreads();
    Format::make(layer, table, parts + threadIdx.x * (PART + 1), lane, held[which], refused);
    __syncthreads();
    for (u32 at = threadIdx.x; at < here * BYTES; at += 256)
      out[base * BYTES + at] = Format::byte(held[at / BYTES], at % BYTES);
    __syncthreads();
  }
  tell_refused(refused, all);
}

// The kernel of a format: strand 0 is the blocks.
#define BLOCKS_OF(name, ...)                                                             \
  ENCODER(name##_encode) {                                                               \
    encode_blocks<__VA_ARGS__>(layer, values, rows * columns, strands.strand[0], all);   \
  }

// What the bits of a NaN are hangs on the processor, and ggml's rounding looks at them: those that x86 and Arm make count
// as 0, a GPU's would not.
DEV i32 nearest_int(f32 value) {
  f32 sum = value + 12582912.0f;
  return is_nan(sum) ? 0 : (i32)(bits_of(sum) & 0x7fffffu) - 0x400000;
}

DEV i32 clamped(i32 value, i32 least, i32 most) { return value < least ? least : value > most ? most : value; }

// Cut off as processors do: what is no number of 32 bits, and what is none, becomes the smallest one.
DEV i32 cut_off(f32 value) { return magnitude(value) < 2147483648.0f ? (i32)value : -2147483647 - 1; }

// The inverse of a scale, 0 of none.
DEV f32 inverse_of(f32 scale) { return scale == 0.0f ? 0.0f : 1.0f / scale; }

// Puts a number as a half, which all lanes of a block know and the first one puts; returns what readers find.
DEV f32 put_half(u16& to, f32 value, u32 lane, u32& refused) {
  u16 half = f16_of(value);
  if (lane == 0) {
    to = half;
    refused += (half & 0x7c00u) == 0x7c00u;
  }
  return f16_value(half);
}

DEV u8 half_byte(const u16* halves, u32 at) { return (u8)(halves[at / 2] >> (at % 2 * 8)); }

// Byte `at` of nibbles: of each `2 * apart` codes the first half low, the second high.
DEV u8 nibbles(const u8* codes, u32 at, u32 apart) {
  const u8* low = codes + at / apart * 2 * apart + at % apart;
  return (u8)((low[0] & 15u) | (u32)low[apart] << 4);
}

// Byte `at` of codes of two bits in four planes of each half.
DEV u8 pairs(const u8* codes, u32 at) {
  u32 bits = 0;
#pragma unroll
  for (u32 k = 0; k < 4; ++k) bits |= (codes[at / 32 * 128 + at % 32 + 32 * k] & 3u) << (2 * k);
  return (u8)bits;
}

// Byte `at` of one bit of each code, eight planes.
DEV u8 planes(const u8* codes, u32 at, u32 bit) {
  u32 bits = 0;
#pragma unroll
  for (u32 k = 0; k < 8; ++k) bits |= (codes[32 * k + at] >> bit & 1u) << k;
  return (u8)bits;
}

// A part of which this is the largest magnitude counts as zeros where types are searched for.
DEV bool is_nothing(f32 value) { return magnitude(value) < 1e-15f; }

// The number of the largest magnitude among `LANES` parts, the first of equal ones; 0 of what is none.
template <u32 LANES>
DEV f32 widest_of(f32 value, u32 lane) {
  value = magnitude(value) > 0.0f ? value : 0.0f;
#pragma unroll
  for (u32 apart = 1; apart < LANES; apart *= 2) {
    f32 other = SHFL_XOR(value, apart);
    f32 first = lane & apart ? other : value, second = lane & apart ? value : other;
    value = magnitude(second) > magnitude(first) ? second : first;
  }
  return value;
}
