// Encoding integers on scales that are searched for (`--search mse`): as tiles.cu does it, by range, and then the grid of
// each group that loses least of it. A warp has a group; its halves try two grids at a time.
// Source: src/quant/search.rs.
#include "strips.cuh"

// Sums of errors run beside each other in so many lanes, in f32 up to so many values.
enum : u32 { LANES = 16, PIECE = 256 };

// Ranges that are tried, from the whole one on; every fourth at first.
enum : u32 { SHRINKS = 80, STRIDE = 4, REFITS = 4 };

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
DEV f64 in_order(f32 sum) {
  f64 all = 0.0;
#pragma unroll 1
  for (u32 k = 0; k < LANES; ++k) all += (f64)SHFL(sum, threadIdx.x % 32 / LANES * LANES + k);
  return all;
}

// The sum of squared errors of a group on a grid, which may be another one in each half of the warp.
template <class Lattice>
DEV f64 lost(const Layer& layer, const Group& group, Grid grid) {
  f64 squares = 0.0;
#pragma unroll 1
  for (u32 from = 0; from < group.count; from += PIECE) {
    u32 end = from + PIECE < group.count ? from + PIECE : group.count;
    f32 sum = 0.0f;
#pragma unroll 1
    for (u32 at = from + threadIdx.x % LANES; at < end; at += LANES) {
      f32 value = group.values[at];
      f32 error = grid.scale * (Lattice::code(layer, value, grid) - grid.zero) - value;
      sum += error * error;
    }
    squares += in_order(sum);
  }
  return squares;
}

// The best grid so far, and what it loses.
struct Best {
  Grid grid;
  f64 lost;
};

// Tries two grids, the first before the second; in each half of the warp `grid` is one of them. Returns a bit for each that
// is clearly better than the best before it.
template <class Lattice>
DEV u32 take(const Layer& layer, const Group& group, Best& best, Grid grid) {
  f64 is = lost<Lattice>(layer, group, grid);
  u32 taken = 0;
#pragma unroll 1
  for (u32 half = 0; half < 2; ++half) {
    Grid tried = {SHFL(grid.scale, half * LANES), SHFL(grid.zero, half * LANES)};
    f64 loses = SHFL(is, half * LANES);
    bool is_grid = is_finite(tried.scale) && tried.scale > 0.0f && !same(tried, best.grid);
    if (is_grid && loses < best.lost * (1.0 - 1e-5)) {
      best = {tried, loses};
      taken |= 1u << half;
    }
  }
  return taken;
}

DEV f32 floor_of(f32 value) {
  f32 is = whole(value);
  return is > value ? is - 1.0f : is;
}

// The grid of a range that is shrunken; of one that has no fixed zero point the halves have the whole ones on both sides.
template <class Lattice>
DEV Grid shrunken(const Layer& layer, const volatile Range& range, u32 shrink) {
  f32 top = Lattice::top(layer), share = 1.0f - (f32)shrink * (top > 15.0f ? 0.00125f : 0.01f);
  if (Lattice::is_fixed(layer)) {
    f32 zero = Lattice::fixed_zero(layer);
    f32 needed = larger(-range.least / zero, range.largest / larger(top - zero, 1.0f));
    f32 all = larger(needed, 2.0f * larger(range.largest, -range.least) / top);
    return {Lattice::store(layer, share * all), zero};
  }
  f32 scale = Lattice::store(layer, share * (range.largest - range.least) / top);
  f32 ideal = -share * range.least / scale, zero = floor_of(ideal);
  if (threadIdx.x % 32 >= LANES) zero = -floor_of(-ideal);
  return {scale, smaller(larger(zero, Lattice::least_zero(layer)), top)};
}

// The scale with which the codes of a grid come nearest to the values, by least squares.
template <class Lattice>
DEV f32 fitted(const Layer& layer, const Group& group, Grid grid) {
  f64 squares = 0.0, products = 0.0;
#pragma unroll 1
  for (u32 from = 0; from < group.count; from += LANES) {
    u32 at = from + threadIdx.x % LANES, here = group.count - from < LANES ? group.count - from : LANES;
    f32 value = at < group.count ? group.values[at] : 0.0f;
    f32 code = Lattice::code(layer, value, grid) - grid.zero;
#pragma unroll 1
    for (u32 k = 0; k < here; ++k) {
      f64 other = (f64)SHFL(code, k);
      squares += other * other;
      products += (f64)SHFL(value, k) * other;
    }
  }
  return (f32)(products / squares);
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

template <class Lattice>
struct Mse {
  static constexpr bool IS = true;
  DEV Step better(const Layer& layer, Group group, Step step, Range of_group) {
    if (of_group.least == of_group.largest) return step;
    // What is needed between long sums stands here, for each thread, as none waits for the others: registers are few.
    static __shared__ volatile Range ranges[256];
    static __shared__ volatile Grid starts[256];
    volatile Range& range = ranges[threadIdx.x];
    range.least = of_group.least;
    range.largest = of_group.largest;
    // Codes of compressed-tensors are counted from the middle.
    f32 middle = Lattice::IS_COMPARED ? 0.0f : Lattice::fixed_zero(layer);
    Grid start = {step.stored, step.zero + middle};
    Best best = {start, lost<Lattice>(layer, group, start)};
    starts[threadIdx.x].scale = start.scale;
    starts[threadIdx.x].zero = start.zero;
    bool is_fixed = Lattice::is_fixed(layer);
    u32 second = threadIdx.x % 32 / LANES, found = 0, tries = is_fixed ? 2 : 1;
    // With a fixed zero point a half of the warp has a range of its own.
    u32 own = is_fixed ? second : 0;
#pragma unroll 1
    for (u32 at = 0; at < SHRINKS / STRIDE; at += tries) {
      u32 taken = take<Lattice>(layer, group, best, shrunken<Lattice>(layer, range, (at + own) * STRIDE));
      if (taken) found = (at + (is_fixed ? taken >> 1 : 0)) * STRIDE;
    }
    u32 from = found < STRIDE - 1 ? 0 : found - (STRIDE - 1);
    u32 end = found + STRIDE < SHRINKS ? found + STRIDE : SHRINKS;
#pragma unroll 1
    for (u32 at = from; at + 1 < end; at += tries) {
      u32 shrink = at + own + (at + own >= found);
      Grid grid = shrunken<Lattice>(layer, range, shrink);
      if (shrink >= end) grid.scale = 0.0f;
      take<Lattice>(layer, group, best, grid);
    }
#pragma unroll 1
    for (u32 fit = 0; fit < REFITS; ++fit) {
      Grid grid = {Lattice::store(layer, fitted<Lattice>(layer, group, best.grid)), best.grid.zero};
      if (take<Lattice>(layer, group, best, grid) == 0) break;
    }
    start = {starts[threadIdx.x].scale, starts[threadIdx.x].zero};
    if (Lattice::IS_COMPARED && !same(best.grid, start)) {
      f64 is = lost_when_read<Lattice>(layer, group, second ? best.grid : start);
      f64 nearest = SHFL(is, 0), less = SHFL(is, LANES);
      if (!(less < nearest)) best.grid = start;
    }
    return {best.grid.scale, best.grid.zero - middle, best.grid.scale, step.is_refused};
  }
};

#define SEARCH_OF(name, coder, lattice) \
  ENCODER_OF(LONG_KERNEL, name) { encode_tiles<coder, Mse<lattice>>(layer, values, (u32)rows, (u32)columns, strands, all); }
SEARCH_OF(gptq_search, Gptq, OfGptq)
SEARCH_OF(awq_search, Awq, OfAwq)
SEARCH_OF(int_search, Int, OfInts)
