// bitsandbytes nf4 and fp4: `table[code] * absmax[block]`, the first of two codes in the high bits of a byte. Blocks run
// over the flattened weight.
// Source: bitsandbytes 0.50 `functional.dequantize_4bit`.
#include "values.cuh"

// table: 0 the values of the 16 codes, 1 absmax; number: 0 the power of two that a block's values are.
struct Bnb4 {
  enum : u32 { SHARED = 16 };
  DEV void eight(const Layer& layer, const f32* table, const u8* codes, u64 first, u64 at, u32 count, f32* value) {
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
DECODER(bnb4, Bnb4)
