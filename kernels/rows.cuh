// Rows: where elements of a weight stand, and what becomes of a code with its scale and offset.
#pragma once
#include "values.cuh"

// A divisor below 2^32 as src/quant/decode/grid.rs packs it: the low half of 2^32 * 2^bits / divisor, rounded up, and
// the bits of the divisor less one.
DEV u32 quotient(u32 value, u64 divisor) {
  u32 bits = (u32)(divisor >> 32);
  u32 high = (u32)((u64)(u32)divisor * value >> 32);
  return bits == 0 ? value : (high + ((value - high) >> 1)) >> (bits - 1);
}

// The row of an element of a weight, of which there are fewer than 2^32. Where elements are more, bit by bit: a division
// of 64 bits is a call, for which registers are put aside.
DEV u32 row_of(u64 element, u32 columns, u64 packed) {
  if (element >> 32 == 0) return quotient((u32)element, packed);
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

DEV void round_eight(u32 dtype, f32* value) {
  if (dtype == BF16) {
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = bf16_value(bf16_of(value[k]));
  } else if (dtype == F16) {
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = f16_value(f16_of(value[k]));
  }
}

// Turns eight codes into values, each with its scale and offset; the last rounding, to `outer`, is left to do. Divisions
// are long, and only there where they are asked for.
template <bool DIVIDES>
DEV void apply(const Formula& formula, f32* value, const f32* scale, const f32* offset) {
  u32 what = formula.what;
  if (what == CENTERED || (DIVIDES && what == CENTERED_QUOTIENT)) {
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = value[k] - offset[k];
    if (what == CENTERED) round_eight(formula.inner, value);
  }
  if (DIVIDES && (what == QUOTIENT || what == CENTERED_QUOTIENT)) {
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = value[k] / scale[k];
  } else {
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = value[k] * scale[k];
  }
  if (what == SUM) {
    round_eight(formula.inner, value);
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = value[k] + offset[k];
  }
  if (what == TWICE) {
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = value[k] * formula.factor;
  }
}

// A decoder of rows, of fewer than 2^32 values a launch (`VALUES_MAX` in src/engine/cuda.rs): `Format::begin` is what a thread knows of the layer, and `Format::eight` gives eight values (fewer at
// the end) from element `first + at` on. The first floats of `table[0]`, `Format::held` of them and `Format::SHARED` at
// most, are put in shared memory first.
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

#define ROWS_TO(name, ending, dtype, ...)                                                                          \
  KERNEL(name##_##ending, const Layer layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) { \
    decode_rows<__VA_ARGS__, dtype>(layer, codes, first, count, native, out, all);                                 \
  }
// The three kernels of a decoder of rows, the format last: it may have commas.
#define ROWS(name, ...)                \
  ROWS_TO(name, f32, F32, __VA_ARGS__) \
  ROWS_TO(name, f16, F16, __VA_ARGS__) \
  ROWS_TO(name, bf16, BF16, __VA_ARGS__)
