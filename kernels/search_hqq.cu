// Encoding integers on scales that are searched for (`--search hqq`): as tiles.cu does it, by range, and then by half-quadratic
// splitting of each group.
// Source: src/quant/search/hqq.rs.
#include "power.cuh"
#include "search.cuh"

enum : u32 { STEPS = 20 };

// How errors are shrunken in a step; those up to `bound` to nothing.
struct Shrinkage {
  f32 beta, bound;
  // table 0: those of all steps.
  DEV Shrinkage of(const Layer& layer, u32 step) {
    const f32* numbers = (const f32*)layer.table[0] + 2 * step;
    return {numbers[0], numbers[1]};
  }
  // What is left of an error is an outlier's own.
  DEV f32 wanted(Shrinkage how, f32 value, f32 decoded) {
    f32 error = value - decoded, size = magnitude(error);
    if (size <= how.bound) return value;
    f32 left = larger(size - power(size, 0.7f - 1.0f) / how.beta, 0.0f);
    return value - of_bits(bits_of(left) | (bits_of(error) & 0x80000000u));
  }
};

// The grid with which the codes of another one come nearest to what is wanted, by least squares.
template <class Lattice>
DEV Grid fitted(const Layer& layer, const Group& group, Grid grid, Shrinkage how) {
  Sums is = sums_of<Lattice>(layer, group, grid, how);
  f64 count = (f64)group.count, above = is.products, below = is.squares;
  f64 spread = count * is.squares - is.codes * is.codes, slope = count * is.products - is.codes * is.wanted;
  if (!Lattice::is_fixed(layer) && spread > 0.0 && slope > 0.0) {
    f32 zero = (f32)((is.codes - is.wanted * spread / slope) / count + (f64)grid.zero), top = Lattice::top(layer);
    zero = zero < Lattice::least_zero(layer) ? Lattice::least_zero(layer) : zero;
    zero = whole(zero > top ? top : zero);
    // The scale that is best with the whole zero point.
    f64 shift = (f64)(grid.zero - zero);
    above = is.products + shift * is.wanted;
    below = is.squares + 2.0 * shift * is.codes + count * shift * shift;
    grid.zero = zero;
  }
  return {Lattice::store(layer, (f32)(above / below)), grid.zero};
}

// What is needed between long sums, for each thread, as none waits for the others: registers are few.
struct Kept {
  f32 start_scale, start_zero, scale, zero;
  f64 most, least;
};

template <class Lattice>
struct Hqq {
  static constexpr bool IS = true;
  DEV Step better(const Layer& layer, Group group, Step step, Range) {
    static __shared__ volatile Kept of_threads[256];
    volatile Kept& kept = of_threads[threadIdx.x];
    Grid grid = {step.stored, step.zero + middle_of<Lattice>(layer)};
    kept.start_scale = kept.scale = grid.scale;
    kept.start_zero = kept.zero = grid.zero;
    kept.least = 1.0 / 0.0;
#pragma unroll 1
    for (u32 k = 0; k <= STEPS; ++k) {
      f64 is = lost<Lattice>(layer, group, grid, threadIdx.x % 32 < LANES);
      f64 squares = SHFL(is, 0), magnitudes = SHFL(is, LANES);
      if (k == 0) kept.most = squares;
      if (squares <= kept.most && magnitudes < kept.least * (1.0 - 1e-5)) {
        kept.scale = grid.scale;
        kept.zero = grid.zero;
        kept.least = magnitudes;
      }
      if (k == STEPS) break;
      Grid next = fitted<Lattice>(layer, group, grid, Shrinkage::of(layer, k));
      if (same(next, grid) || !is_finite(next.scale) || !(next.scale > 0.0f)) break;
      grid = next;
    }
    Grid start = {kept.start_scale, kept.start_zero}, best = {kept.scale, kept.zero};
    return better_of<Lattice>(layer, group, start, best, step.is_refused);
  }
};

SEARCH_OF(gptq_hqq, Hqq, Gptq, OfGptq)
SEARCH_OF(awq_hqq, Hqq, Awq, OfAwq)
SEARCH_OF(int_hqq, Hqq, Int, OfInts)
