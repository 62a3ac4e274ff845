// bitsandbytes nf4 and fp4: `table[code] * absmax[block]`, the first of two codes in the high bits of a byte. Blocks run
// over the flattened weight.
// Source: bitsandbytes 0.50 `functional.dequantize_4bit`, and for what is encoded src/quant/bnb4/encode.rs.
#include "encode.cuh"

// table: 0 the values of the 16 codes, 1 absmax; number: 0 the power of two that a block's values are.
struct Bnb4 {
  enum : u32 { SHARED = 16 };
  DEV u32 held(const Layer&) { return SHARED; }
  DEV u64 begin(const Layer&, u64 first, u64) { return first; }
  DEV void eight(u64 first, const Layer& layer, const f32* table, const u8* codes, u64 at, u32 count, f32* value) {
    const f32* absmax = (const f32*)layer.table[1];
    u32 power = (u32)layer.number[0];
    u64 element = first + at;
    if (count == 8 && first % 2 == 0 && element >> power == (element + 7) >> power) {
      u32 word = ((const u32*)codes)[at / 8];
      f32 scale = absmax[element >> power];
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        u32 byte = word >> (8 * (k / 2)) & 0xffu;
        value[k] = table[k % 2 ? byte & 15u : byte >> 4] * scale;
      }
      return;
    }
    for (u32 k = 0; k < count; ++k) {
      u64 is = element + k;
      u8 byte = codes[is / 2 - first / 2];
      value[k] = table[is % 2 ? byte & 15u : byte >> 4] * absmax[is >> power];
    }
  }
};
ROWS(bnb4, Bnb4)

// Encoding: strands 0 codes, 1 absmax. Each value is multiplied by `1 / absmax`, those of a last block that is not whole
// are divided; of a value's code the place is how many of 15 sorted bounds lie below it.
// table: 0 the bounds; number: 0 the power of two that a block's values are (5 or more), 1 the codes of the 16 places, four
// bits each.
//
// Blocks of up to 256 values are of as many lanes as they have eights, several blocks a warp; a longer block has a warp.
ENCODER(bnb4_encode) {
  static __shared__ f32 bounds[16];
  if (threadIdx.x < 15) bounds[threadIdx.x] = ((const f32*)layer.table[0])[threadIdx.x];
  __syncthreads();
  u32 power = (u32)layer.number[0], size = 1u << power;
  u64 codes = layer.number[1], count = rows * columns, blocks = (count + size - 1) >> power;
  u32 lanes = power < 8 ? 1u << (power - 3) : 32, together = 32 / lanes;
  u32 lane = threadIdx.x % lanes, which = threadIdx.x % 32 / lanes;
  f32 middle = bounds[7];
  u32 refused = 0;
  for (u64 first = thread_of_all() / 32 * together; first < blocks; first += all_threads() / 32 * together) {
    u64 start = (first + which) << power, end = start + size < count ? start + size : count;
    f32 value[8], most = 0.0f;
    for (u32 at = lane * 8; at < size; at += lanes * 8) {
      load_eight(values, start + at, end, value);
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        f32 is = magnitude(value[k]);
        refused += !is_finite(is);
        most = is > most ? is : most;
      }
    }
    for (u32 other = lanes / 2; other > 0; other /= 2) {
      f32 is = SHFL_XOR(most, other);
      most = is > most ? is : most;
    }
    f32 least = 1e-38f, by = most > least ? most : least;
    bool is_whole = start + size <= count;
    f32 factor = 1.0f / by;
    if (start < count && lane == 0) ((f32*)strands.strand[1])[first + which] = is_whole ? most : by;
    for (u32 at = lane * 8; at < size; at += lanes * 8) {
      if (size > 256) load_eight(values, start + at, end, value);
      u32 word = 0;
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        f32 scaled = is_whole ? value[k] * factor : value[k] / by;
        u32 place = scaled > middle ? 8 : 0;
        place += scaled > bounds[place + 3] ? 4 : 0;
        place += scaled > bounds[place + 1] ? 2 : 0;
        place += scaled > bounds[place] ? 1 : 0;
        // The first of two is in the high bits of their byte.
        word |= ((u32)(codes >> (4 * place)) & 15u) << (8 * (k / 2) + 4 * (1 - k % 2));
      }
      u64 from = start + at;
      if (from + 8 <= end) {
        ((u32*)strands.strand[0])[from / 8] = word;
      } else {
        for (u32 k = 0; k < 8 && from + k < end; k += 2) strands.strand[0][(from + k) / 2] = (u8)(word >> (4 * k));
      }
    }
  }
  tell_refused(refused, all);
}
