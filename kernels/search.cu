// Encoding integers on scales that are searched for (`--search mse`): as tiles.cu does it, by range, and then the grid of
// each group that loses least of it; the halves of a warp try two grids at a time.
// Source: src/quant/search.rs.
#include "search.cuh"

// Ranges that are tried, from the whole one on; every fourth at first.
enum : u32 { SHRINKS = 80, STRIDE = 4, REFITS = 4 };

// The best grid so far, and what it loses.
struct Best {
  Grid grid;
  f64 lost;
};

// Tries two grids, the first before the second; in each half of the warp `grid` is one of them. Returns a bit for each that
// is clearly better than the best before it.
template <class Lattice>
DEV u32 take(const Layer& layer, const Group& group, Best& best, Grid grid) {
  f64 is = lost<Lattice>(layer, group, grid, true);
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
    Grid start = {step.stored, step.zero + middle_of<Lattice>(layer)};
    Best best = {start, lost<Lattice>(layer, group, start, true)};
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
      Sums sums = sums_of<Lattice>(layer, group, best.grid, Values{});
      Grid grid = {Lattice::store(layer, (f32)(sums.products / sums.squares)), best.grid.zero};
      if (take<Lattice>(layer, group, best, grid) == 0) break;
    }
    start = {starts[threadIdx.x].scale, starts[threadIdx.x].zero};
    return better_of<Lattice>(layer, group, start, best.grid, step.is_refused);
  }
};

SEARCH_OF(gptq_search, Mse, Gptq, OfGptq)
SEARCH_OF(awq_search, Mse, Awq, OfAwq)
SEARCH_OF(int_search, Mse, Int, OfInts)
