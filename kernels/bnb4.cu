// bitsandbytes nf4 and fp4: `table[code] * absmax[block]`, the first of two codes in the high bits of a byte. Blocks run
// over the flattened weight.
// Source: bitsandbytes 0.50 `functional.dequantize_4bit`, and for what is encoded src/quant/bnb4/encode.rs.
#include "encode.cuh"

// table: 0 the values of the 16 codes, 1 absmax; number: 0 the power of two that a block's values are, 1 is 0 if not all values
// of codes are finite.
struct Bnb4 {
  enum : u32 { SHARED = 16, SIXTEEN = 1 };
  DEV u32 held(const Layer&) { return SHARED; }
  struct Rows {
    const f32* absmax;
    u32 power, within;
    // True if eight that are asked for together may be of two blocks, or begin within a byte.
    bool is_split, is_finite;
  };

  DEV Rows begin(const Layer& layer, u64 first, u64) {
    u32 power = (u32)layer.number[0];
    return {(const f32*)layer.table[1] + (first >> power), power, (u32)first & ((1u << power) - 1),
            power < 3 || first % 8 != 0, layer.number[1] != 0};
  }

  // Eight codes of a word times a scale.
  DEV void scaled(const f32* table, u32 word, f32 scale, f32* value) {
    // Where the table has the codes of the four bytes: first those in the high bits.
    u32 high = word >> 2 & 0x3c3c3c3cu, low = word << 2 & 0x3c3c3c3cu;
#pragma unroll
    for (u32 k = 0; k < 4; ++k) {
      value[2 * k] = *(const f32*)((const u8*)table + permuted(high, 0, 0x4440u + k)) * scale;
      value[2 * k + 1] = *(const f32*)((const u8*)table + permuted(low, 0, 0x4440u + k)) * scale;
    }
  }

  // From the first block on, elements are fewer than 2^32.
  DEV bool sixteen(const Rows& rows, const Layer&, const f32* table, const u8* codes, u32 at, f32* value,
                   bool& is_tame) {
    u32 element = rows.within + at;
    if (rows.is_split) return false;
    const u32* words = (const u32*)codes + at / 8;
    u32 first = words[0], second = words[8];
    f32 by = rows.absmax[element >> rows.power], other = rows.absmax[(element + 64) >> rows.power];
    scaled(table, first, by, value);
    scaled(table, second, other, value + 8);
    is_tame = rows.is_finite && is_finite(by) && is_finite(other);
    return true;
  }

  DEV void eight(const Rows& rows, const Layer&, const f32* table, const u8* codes, u32 at, u32 count, f32* value) {
    u32 element = rows.within + at;
#pragma unroll 1
    for (u32 k = count; k-- > 0;) {
#pragma unroll
      for (u32 j = 7; j > 0; --j) value[j] = value[j - 1];
      u32 is = element + k, byte = codes[is / 2 - rows.within / 2];
      value[0] = table[is % 2 ? byte & 15u : byte >> 4] * rows.absmax[is >> rows.power];
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
