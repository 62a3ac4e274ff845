// Blocks of ggml: a row is whole blocks, each of codes and their scales, and no block hangs on another.
//
// A thread makes sixteen values of a block: eight neighbors, and the eight that lie `APART` behind them, whose codes are
// other bits of the same bytes. A format has
// - `BYTES` and `VALUES` of a block; the first block is aligned to 256 bytes, so that all are to what divides `BYTES`;
// - `APART`; values `run * 2 * APART + lane` and on, and `APART` behind, are asked for together;
// - `FLOATS`, how many floats of `table[1]` are put in shared memory first;
// - `sixteen`, which returns true if no value can be NaN: that is so where the block's scales are finite.
// table: 0 the scales beside the tensor, 1 what the format looks up; number: 0 how many groups of 32 elements each scale
// is for, or 0 if there are none.
#pragma once
#include "values.cuh"

struct Eight {
  u32 word[2];
};

DEV u32 short_at(const u8* from) { return *(const u16*)from; }
DEV f32 half_at(const u8* from) { return f16_value(*(const u16*)from); }
DEV bool is_finite_half(u32 bits) { return (bits & 0x7c00u) != 0x7c00u; }

// Eight bytes from an address of this alignment on: by the aligned words that have them, so that none is read which has
// no byte of them. Codes end with a whole word of their memory.
template <u32 ALIGNED>
DEV Eight eight_at(const u8* from) {
  if constexpr (ALIGNED % 8 == 0) {
    u64 both = *(const u64*)from;
    return {{(u32)both, (u32)(both >> 32)}};
  } else if constexpr (ALIGNED % 4 == 0) {
    const u32* words = (const u32*)from;
    return {{words[0], words[1]}};
  } else {
    u32 shift = ((u32)(u64)from & 3u) * 8;
    const u32* words = (const u32*)(from - shift / 8);
    u64 low = words[0], middle = words[1], high = shift ? words[2] : 0;
    return {{(u32)((middle << 32 | low) >> shift), (u32)((high << 32 | middle) >> shift)}};
  }
}

// The 32-bit number at an even address.
DEV u32 word_at(const u8* from) { return short_at(from) | short_at(from + 2) << 16; }

// A byte as a float less `less`, without a conversion: exact for whole numbers of this size.
DEV f32 byte_value(u32 word, u32 k, f32 less) { return of_bits(permuted(word, 0x4b000000u, 0x7440u + k)) - (8388608.0f + less); }

// Four codes of a byte each, moved by `less`, times a scale.
DEV void scaled_bytes(u32 word, f32 less, f32 scale, f32* value) {
#pragma unroll
  for (u32 k = 0; k < 4; ++k) value[k] = scale * byte_value(word, k, less);
}

// Four codes of a byte each times a scale, and something added. No product has more than 24 bits: fused or not, the sum
// is the same.
DEV void sums_of_bytes(u32 word, f32 scale, f32 plus, f32* value) {
#pragma unroll
  for (u32 k = 0; k < 4; ++k) value[k] = fma32(scale, byte_value(word, k, 0), plus);
}

// `at`: the element of the weight.
DEV f32 scale_beside(const Layer& layer, u64 at) {
  return ((const f32*)layer.table[0])[(u32)(at / 32) / (u32)layer.number[0]];
}

template <class Format, u32 OUT>
DEV void decode_blocks(const Layer& layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) {
  enum : u32 { LANES = Format::APART / 8, PARTS = Format::VALUES / 16 };
  static __shared__ f32 table[Format::FLOATS > 0 ? Format::FLOATS : 1];
  if constexpr (Format::FLOATS > 0) {
    if (threadIdx.x < (u32)Format::FLOATS) table[threadIdx.x] = ((const f32*)layer.table[1])[threadIdx.x];
    __syncthreads();
  }
  Seen seen = {0, 0};
  u64 units = count / 16;
  for (u64 unit = thread_of_all(); unit < units; unit += all_threads()) {
    // No GPU holds 2^32 blocks.
    u32 block = (u32)(unit / PARTS), part = (u32)unit % PARTS;
    u32 run = part / LANES, lane = part % LANES * 8;
    f32 value[16];
    bool is_tame = Format::sixteen(layer, table, codes + (u64)block * Format::BYTES, run, lane, value);
    u64 at = (u64)block * Format::VALUES + run * 2 * Format::APART + lane;
    if (layer.number[0]) {
      f32 scale = scale_beside(layer, first + at);
#pragma unroll
      for (u32 k = 0; k < 16; ++k) value[k] = value[k] * scale;
      is_tame = false;
    }
    store_sixteen<OUT>(out, at, Format::APART, is_tame, native, value, seen);
  }
  tell(seen, all);
}

#define BLOCKS(name, format) DECODER(KERNEL, name, decode_blocks, format)
