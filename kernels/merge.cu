// Merging: what an adapter does to rows of a weight, in the processor's order of operations.
#include "values.cuh"

enum : u32 { TILE = 64, DEEP = 16 };

template <class Do>
DEV void each(f32 (&sums)[4][4], const Do& what) {
#pragma unroll
  for (u32 y = 0; y < 4; ++y) {
#pragma unroll
    for (u32 x = 0; x < 4; ++x) what(sums[y][x], y, x);
  }
}

// `W + s (L R)`: each element of the product is one chain of fused multiply-adds over the rank, ascending, from 0; then
// it is multiplied by `scale`, rounded to `delta`, added, and the sum is rounded to `sum`.
// `left` [rows, rank] begins with the rows that are given, `right` is [rank, columns].
// A block makes tiles of 64 x 64, each thread 4 x 4 of them.
template <u32 IN, u32 OUT>
DEV void low_rank(const u8* in, u8* out, const f32* left, const f32* right, u64 rows, u64 columns, u64 rank,
                  f32 scale, u32 delta, u32 sum, u32* all) {
  static __shared__ f32 lefts[DEEP][TILE + 1];
  static __shared__ Four rights[DEEP][TILE / 4];
  u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  u64 wide = (columns + TILE - 1) / TILE, tiles = wide * ((rows + TILE - 1) / TILE);
  Seen seen = {0, 0};
  for (u64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    u64 row0 = tile / wide * TILE, column0 = tile % wide * TILE;
    f32 sums[4][4] = {};
    for (u64 from = 0; from < rank; from += DEEP) {
      u32 deep = rank - from < DEEP ? (u32)(rank - from) : DEEP;
#pragma unroll 1
      for (u32 k = threadIdx.x; k < DEEP * TILE; k += blockDim.x) {
        u32 r = k % DEEP, row = k / DEEP;
        lefts[r][row] = r < deep && row0 + row < rows ? left[(row0 + row) * rank + from + r] : 0.0f;
        u32 column = k % TILE, line = k / TILE;
        f32 value = line < deep && column0 + column < columns ? right[(from + line) * columns + column0 + column] : 0.0f;
        rights[line][column / 4].word[column % 4] = bits_of(value);
      }
      __syncthreads();
#pragma unroll 2
      for (u32 r = 0; r < deep; ++r) {
        Four line = rights[r][tx];
#pragma unroll
        for (u32 y = 0; y < 4; ++y) {
          f32 factor = lefts[r][ty * 4 + y];
#pragma unroll
          for (u32 x = 0; x < 4; ++x) sums[y][x] = fma32(factor, of_bits(line.word[x]), sums[y][x]);
        }
      }
      __syncthreads();
    }
    each(sums, [&](f32& value, u32, u32) { value = value * scale; });
    if (delta != F32) each(sums, [&](f32& value, u32, u32) { value = rounded(delta, value); });
    u64 row = row0 + ty * 4, column = column0 + tx * 4;
    each(sums, [&](f32& value, u32 y, u32 x) {
      if (row + y < rows && column + x < columns) value = loaded(IN, in, (row + y) * columns + column + x) + value;
    });
    if (sum != F32) each(sums, [&](f32& value, u32, u32) { value = rounded(sum, value); });
    each(sums, [&](f32& value, u32 y, u32 x) {
      if (row + y >= rows || column + x >= columns) return;
      u64 at = (row + y) * columns + column + x;
      seen.nans += is_nan(value);
      if constexpr (OUT == F32) {
        ((f32*)out)[at] = value;
      } else {
        u16 half = OUT == BF16 ? bf16_of(value) : f16_of(value);
        if (OUT == F16) seen.overflows += (half & 0x7fffu) == 0x7c00u && is_finite(value);
        ((u16*)out)[at] = half;
      }
    });
  }
  tell(seen, all);
}

#define LOW_RANK(from, to, in_dtype, out_dtype)                                                                    \
  KERNEL(low_rank_##from##_##to, const u8* in, u8* out, const f32* left, const f32* right, u64 rows, u64 columns, \
         u64 rank, f32 scale, u32 delta, u32 sum, u32* all) {                                                       \
    low_rank<in_dtype, out_dtype>(in, out, left, right, rows, columns, rank, scale, delta, sum, all);               \
  }
LOW_RANK(f32, f32, F32, F32)
LOW_RANK(f16, f16, F16, F16)
LOW_RANK(bf16, bf16, BF16, BF16)
LOW_RANK(f32, f16, F32, F16)
LOW_RANK(f32, bf16, F32, BF16)
