// Plain values: f32, f16 and bf16 to each other.
#include "values.cuh"

// number: 0 dtype of the stored values.
struct Plain {
  enum : u32 { SHARED = 0 };
  DEV u32 begin(const Layer& layer, u64, u64) { return (u32)layer.number[0]; }
  DEV void eight(u32 dtype, const Layer&, const f32*, const u8* codes, u64 at, u32 count, f32* value) {
    if (count == 8 && dtype != F32) {
      Four four = ((const Four*)codes)[at / 8];
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        u16 half = (u16)(four.word[k / 2] >> (16 * (k % 2)));
        value[k] = dtype == BF16 ? bf16_value(half) : f16_value(half);
      }
      return;
    }
    for (u32 k = 0; k < count; ++k) value[k] = loaded(dtype, codes, at + k);
  }
};
ROWS(plain, Plain)
