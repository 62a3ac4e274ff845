// Searching for scales: what a group loses on a grid, and which scale its codes fit best. For search.cu and search_hqq.cu.
// A warp has a group; its halves compute two things of it at a time.
// Source: src/quant/search.rs.
#pragma once
#include "strips.cuh"

// Sums of errors run beside each other in so many lanes, in f32 up to so many values.
enum : u32 { LANES = 16, PIECE = 256 };

struct Grid {
  f32 scale, zero;
};
DEV bool same(Grid a, Grid b) { return a.scale == b.scale && a.zero == b.zero; }

// What a format can store of a grid: `src/quant/gptq/grid.rs`, `awq/grid.rs`, `compressed/rules.rs`. Codes and zero points
// are counted from 0.
struct OfGptq {
  static constexpr bool IS_COMPARED = true;
  DEV f32 top(const Layer& layer) { return (f32)((1u << (u32)layer.number[5]) - 1); }
  DEV bool is_fixed(const Layer& layer) { return layer.number[7] != 0; }
  DEV f32 fixed_zero(const Layer& layer) { return (f32)(1u << ((u32)layer.number[5] - 1)); }
  DEV f32 least_zero(const Layer& layer) { return (f32)(u32)layer.number[8]; }
  DEV f32 store(const Layer& layer, f32 scale) { return gptq_scale((u32)layer.number[6], scale); }
  DEV f32 code(const Layer& layer, f32 value, Grid grid) {
    f32 is = (value + grid.zero * grid.scale) / grid.scale;
    return nearest(smaller(larger(is, 0.0f), top(layer)));
  }
};
struct OfAwq {
  static constexpr bool IS_COMPARED = true;
  DEV f32 top(const Layer&) { return 15.0f; }
  DEV bool is_fixed(const Layer&) { return false; }
  DEV f32 fixed_zero(const Layer&) { return 0.0f; }
  DEV f32 least_zero(const Layer&) { return 0.0f; }
  DEV f32 store(const Layer& layer, f32 scale) { return rounded((u32)layer.number[6], scale); }
  DEV f32 code(const Layer& layer, f32 value, Grid grid) {
    f32 is = value / grid.scale;
    if ((u32)layer.number[6] == F16) is = of_bits((bits_of(is) + 0xfffu + (bits_of(is) >> 13 & 1u)) & ~0x1fffu);
    return nearest(smaller(larger(is, -grid.zero), 15.0f - grid.zero)) + grid.zero;
  }
};
struct OfInts {
  static constexpr bool IS_COMPARED = false;
  DEV f32 top(const Layer& layer) { return (f32)((1u << (u32)layer.number[5]) - 1); }
  DEV bool is_fixed(const Layer& layer) { return layer.number[7] != 0; }
  DEV f32 fixed_zero(const Layer& layer) { return (f32)(1u << ((u32)layer.number[5] - 1)); }
  DEV f32 least_zero(const Layer&) { return 0.0f; }
  DEV f32 store(const Layer& layer, f32 scale) {
    return usable((u32)layer.number[6], rounded((u32)layer.number[6], scale));
  }
  DEV f32 code(const Layer& layer, f32 value, Grid grid) {
    u32 dtype = (u32)layer.number[6];
    f32 middle = fixed_zero(layer), is = rounded(dtype, rounded(dtype, value / grid.scale) + (grid.zero - middle));
    return nearest(smaller(larger(is, -middle), middle - 1.0f)) + middle;
  }
};

// The sum of 16 lanes in order, of this half of the warp.
template <class Float>
DEV f64 in_order(Float sum) {
  f64 all = 0.0;
#pragma unroll 1
  for (u32 k = 0; k < LANES; ++k) all += (f64)SHFL(sum, threadIdx.x % 32 / LANES * LANES + k);
  return all;
}

// The sum of errors of a group on a grid: in each half of the warp of a grid of its own, and of squares or magnitudes.
template <class Lattice>
DEV f64 lost(const Layer& layer, const Group& group, Grid grid, bool is_squared) {
  f64 all = 0.0;
#pragma unroll 1
  for (u32 from = 0; from < group.count; from += PIECE) {
    u32 end = from + PIECE < group.count ? from + PIECE : group.count;
    f32 sum = 0.0f;
#pragma unroll 1
    for (u32 at = from + threadIdx.x % LANES; at < end; at += LANES) {
      f32 value = group.values[at];
      f32 error = grid.scale * (Lattice::code(layer, value, grid) - grid.zero) - value;
      sum += is_squared ? error * error : magnitude(error);
    }
    all += in_order(sum);
  }
  return all;
}

// Sums over a group, of which least squares are made: of codes counted from the zero point and of their squares, of the
// values that are wanted and of their products with codes.
struct Sums {
  f64 codes, squares, wanted, products;
};

// What is wanted are the values.
struct Values {
  DEV f32 wanted(Values, f32 value, f32) { return value; }
};

// The sums of a group on a grid; `Wanted` says what a value that is decoded to another one should be. The second half of the
// warp sums what is multiplied by codes.
template <class Lattice, class Wanted>
DEV Sums sums_of(const Layer& layer, const Group& group, Grid grid, Wanted how) {
  f64 codes = 0.0, all = 0.0;
#pragma unroll 1
  for (u32 at = threadIdx.x % LANES; at < group.count; at += LANES) {
    f32 value = group.values[at], code = Lattice::code(layer, value, grid) - grid.zero;
    value = Wanted::wanted(how, value, grid.scale * code);
    f64 by = threadIdx.x % 32 >= LANES ? (f64)code : 1.0;
    codes += by * (f64)code;
    all += by * (f64)value;
  }
  codes = in_order(codes);
  all = in_order(all);
  return {SHFL(codes, 0), SHFL(codes, LANES), SHFL(all, 0), SHFL(all, LANES)};
}

// The sum of squared errors once values are read, as src/quant/regroup.rs has it: in eight lanes, of the grid of each half.
template <class Lattice>
DEV f64 lost_when_read(const Layer& layer, const Group& group, Grid grid) {
  f64 all = 0.0;
#pragma unroll 1
  for (u32 from = 0; from < group.count; from += PIECE) {
    u32 end = from + PIECE < group.count ? from + PIECE : group.count;
    f64 sum = 0.0, squares = 0.0;
#pragma unroll 1
    for (u32 at = from + threadIdx.x % 8; at < end; at += 8) {
      f32 value = group.values[at];
      f32 read = rounded((u32)layer.number[6], grid.scale * (Lattice::code(layer, value, grid) - grid.zero));
      f64 error = (f64)value - (f64)read;
      sum += error * error;
    }
#pragma unroll 1
    for (u32 k = 0; k < 8; ++k) squares += SHFL(sum, threadIdx.x % 32 / LANES * LANES + k);
    all += squares;
  }
  return all;
}

// What is added to the zero points of a format: those of compressed-tensors are counted from the middle of the codes.
template <class Lattice>
DEV f32 middle_of(const Layer& layer) { return Lattice::IS_COMPARED ? 0.0f : Lattice::fixed_zero(layer); }

// What becomes of a group: the grid that was found; of a format that is compared the first one, where that loses no more
// once values are read.
template <class Lattice>
DEV Step better_of(const Layer& layer, const Group& group, Grid start, Grid found, bool is_refused) {
  if (Lattice::IS_COMPARED && !same(found, start)) {
    f64 is = lost_when_read<Lattice>(layer, group, threadIdx.x % 32 / LANES ? found : start);
    f64 nearest = SHFL(is, 0), less = SHFL(is, LANES);
    if (!(less < nearest)) found = start;
  }
  return {found.scale, found.zero - middle_of<Lattice>(layer), found.scale, is_refused};
}

// A kernel that encodes on scales that a search finds.
#define SEARCH_OF(name, search, coder, lattice)                                                          \
  ENCODER_OF(LONG_KERNEL, name) {                                                                        \
    encode_tiles<coder, search<lattice>>(layer, values, (u32)rows, (u32)columns, strands, all);          \
  }
