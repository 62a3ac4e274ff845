// Encoding: rows of values in f32 to the strands of a format.
#pragma once
#include "values.cuh"

// Where the strands of the rows that are given begin, each aligned to 256 bytes; src/quant/kernel.rs has the same number.
struct Strands {
  u8* strand[6];
};

// An encoder: `rows` whole rows of `columns` values, of which the first is row `first_row` of the layer.
#define ENCODER_OF(kernel, name)                                                                                 \
  kernel(name, const Layer layer, const f32* values, u64 first_row, u64 rows, u64 columns, const Strands strands, \
         u32* all)
#define ENCODER(name) ENCODER_OF(KERNEL, name)

// Tells how many values have no code: what is infinite, NaN, or beyond the format. The processor is asked then.
DEV void tell_refused(u32 refused, u32* all) {
  if (refused) atomicAdd(&all[1], refused);
}

// Loads eight values from `at` on, a multiple of 4, zeros from `end` on.
DEV void load_eight(const f32* values, u64 at, u64 end, f32* value) {
  if (at + 8 <= end) {
    Four four[2] = {((const Four*)values)[at / 4], ((const Four*)values)[at / 4 + 1]};
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = of_bits(four[k / 4].word[k % 4]);
  } else {
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = at + k < end ? values[at + k] : 0.0f;
  }
}
