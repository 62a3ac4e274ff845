// Rows: where elements of a weight stand, and what becomes of a code with its scale and offset.
#pragma once
#include "values.cuh"

// A number below 2^31 by a divisor below 2^32, as src/quant/decode/grid.rs packs it: the low half of
// 2^32 * 2^bits / divisor, rounded up, and the bits of the divisor less one.
DEV u32 quotient(u32 value, u64 divisor) {
  u32 high = (u32)((u64)(u32)divisor * value >> 32);
  return (high + value) >> (u32)(divisor >> 32);
}

// The row of an element of a weight, of which there are fewer than 2^31. Where elements are more, bit by bit: a division
// of 64 bits is a call, for which registers are put aside.
DEV u32 row_of(u64 element, u32 columns, u64 packed) {
  if (element >> 31 == 0) return quotient((u32)element, packed);
  u64 rest = 0;
  u32 row = 0;
#pragma unroll 1
  for (int bit = 63; bit >= 0; --bit) {
    rest = rest << 1 | (element >> bit & 1);
    row <<= 1;
    if (rest >= columns) rest -= columns, row |= 1;
  }
  return row;
}

// What becomes of a code; `Formula` in src/quant/decode/formula.rs has the same numbers.
enum : u32 { PRODUCT = 0, QUOTIENT = 1, SUM = 2, CENTERED = 3, CENTERED_QUOTIENT = 4, TWICE = 5 };

struct Formula {
  u32 what;
  u32 inner;
  u32 outer;
  f32 factor;
};

DEV Formula formula_of(u64 number, u64 factor) {
  return {(u32)(number & 0xff), (u32)(number >> 8 & 0xff), (u32)(number >> 16 & 0xff), of_bits((u32)factor)};
}

// Turns COUNT codes into values, each with its scale and offset; the last rounding, to `outer`, is left to do. Divisions
// are long, and only there where they are asked for.
template <bool DIVIDES, u32 COUNT = 8>
DEV void apply(const Formula& formula, f32* value, const f32* scale, const f32* offset) {
  u32 what = formula.what;
  if (what == CENTERED || (DIVIDES && what == CENTERED_QUOTIENT)) {
#pragma unroll
    for (u32 k = 0; k < COUNT; ++k) value[k] = value[k] - offset[k];
    if (what == CENTERED) round_all<COUNT>(formula.inner, value);
  }
  if (DIVIDES && (what == QUOTIENT || what == CENTERED_QUOTIENT)) {
#pragma unroll
    for (u32 k = 0; k < COUNT; ++k) value[k] = value[k] / scale[k];
  } else {
#pragma unroll
    for (u32 k = 0; k < COUNT; ++k) value[k] = value[k] * scale[k];
  }
  if (what == SUM) {
    round_all<COUNT>(formula.inner, value);
#pragma unroll
    for (u32 k = 0; k < COUNT; ++k) value[k] = value[k] + offset[k];
  }
  if (what == TWICE) {
#pragma unroll
    for (u32 k = 0; k < COUNT; ++k) value[k] = value[k] * formula.factor;
  }
}
