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

// A tile of a product: `left` [rows, rank] times `right` [rank, columns], each element one chain of fused multiply-adds
// over the rank, ascending, from 0. All threads of a block make 64 x 64 elements, each 4 x 4 of them.
DEV void product(f32 (&sums)[4][4], const f32* left, const f32* right, u64 rows, u64 columns, u64 rank, u64 row0,
                 u64 column0) {
  static __shared__ f32 lefts[DEEP][TILE + 1];
  static __shared__ Four rights[DEEP][TILE / 4];
  u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
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
}

// `W + s (L R)`: the product is multiplied by `scale`, rounded to `delta`, added, and the sum is rounded to `sum`. `left`
// begins with the rows that are given.
template <u32 IN, u32 OUT>
DEV void low_rank(const u8* in, u8* out, const f32* left, const f32* right, u64 rows, u64 columns, u64 rank,
                  f32 scale, u32 delta, u32 sum, u32* all) {
  u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  u64 wide = (columns + TILE - 1) / TILE, tiles = wide * ((rows + TILE - 1) / TILE);
  Seen seen = {0, 0};
  for (u64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    u64 row0 = tile / wide * TILE, column0 = tile % wide * TILE;
    f32 sums[4][4] = {};
    product(sums, left, right, rows, columns, rank, row0, column0);
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

// What changes f32 values in place: `values` are `rows` rows of `columns`, the first of them row `first` of the edit.
#define EDIT(name) KERNEL(edit_##name, const Layer layer, f32* values, u64 first, u64 rows, u64 columns)

DEV void add_tile(f32 (&deltas)[4][4], f32* values, u64 rows, u64 columns, u64 row0, u64 column0, u32 delta) {
  u64 row = row0 + threadIdx.x / 16 * 4, column = column0 + threadIdx.x % 16 * 4;
  if (delta != F32) each(deltas, [&](f32& value, u32, u32) { value = rounded(delta, value); });
  each(deltas, [&](f32& value, u32 y, u32 x) {
    if (row + y >= rows || column + x >= columns) return;
    u64 at = (row + y) * columns + column + x;
    values[at] = values[at] + value;
  });
}

// `W + s (L R)`. table: 0 L, 1 R; number: 0 rank, 1 s, 2 the dtype of deltas.
EDIT(low_rank) {
  u64 wide = (columns + TILE - 1) / TILE, tiles = wide * ((rows + TILE - 1) / TILE), rank = layer.number[0];
  f32 scale = of_bits((u32)layer.number[1]);
  for (u64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    u64 row0 = tile / wide * TILE, column0 = tile % wide * TILE;
    f32 sums[4][4] = {};
    product(sums, (const f32*)layer.table[0] + first * rank, (const f32*)layer.table[1], rows, columns, rank, row0,
            column0);
    each(sums, [&](f32& value, u32, u32) { value = value * scale; });
    add_tile(sums, values, rows, columns, row0, column0, (u32)layer.number[2]);
  }
}

// `W + s ((L1 R1) o (L2 R2))`. table: 0 L1, 1 R1, 2 L2, 3 R2; number: 0 and 1 the ranks, 2 s, 3 the dtype of deltas.
EDIT(hadamard) {
  u64 wide = (columns + TILE - 1) / TILE, tiles = wide * ((rows + TILE - 1) / TILE);
  f32 scale = of_bits((u32)layer.number[2]);
  for (u64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    u64 row0 = tile / wide * TILE, column0 = tile % wide * TILE;
    f32 sums[4][4] = {}, others[4][4] = {};
#pragma unroll 1
    for (u32 which = 0; which < 2; ++which) {
      u64 rank = layer.number[which];
      each(sums, [&](f32& value, u32 y, u32 x) { others[y][x] = value, value = 0.0f; });
      product(sums, (const f32*)layer.table[2 * which] + first * rank, (const f32*)layer.table[2 * which + 1], rows,
              columns, rank, row0, column0);
    }
    each(sums, [&](f32& value, u32 y, u32 x) { value = others[y][x] * value * scale; });
    add_tile(sums, values, rows, columns, row0, column0, (u32)layer.number[3]);
  }
}

// `W + s kron(A, B)`. table: 0 A, 1 B [high, wide]; number: 0 columns of A, 1 high, 2 wide, 3 s, 4 the dtype of deltas;
// rows and columns of the weight are fewer than 2^32.
EDIT(kronecker) {
  const f32 *a = (const f32*)layer.table[0], *b = (const f32*)layer.table[1];
  u64 across = layer.number[0];
  u32 high = (u32)layer.number[1], wide = (u32)layer.number[2], delta = (u32)layer.number[4];
  f32 scale = of_bits((u32)layer.number[3]);
  for (u64 row = blockIdx.x; row < rows; row += gridDim.x) {
    u32 of = (u32)(first + row);
    const f32 *a_row = a + of / high * across, *b_row = b + (u64)(of % high) * wide;
    for (u32 column = threadIdx.x; column < columns; column += blockDim.x) {
      f32 value = a_row[column / wide] * b_row[column % wide] * scale;
      values[row * columns + column] = values[row * columns + column] + rounded(delta, value);
    }
  }
}

// `W * l`. table: 0 l; number: 0 is 1 for a factor a row, else one a column.
EDIT(scale) {
  const f32* factors = (const f32*)layer.table[0];
  for (u64 row = blockIdx.x; row < rows; row += gridDim.x) {
    for (u64 column = threadIdx.x; column < columns; column += blockDim.x) {
      u64 at = row * columns + column;
      values[at] = values[at] * factors[layer.number[0] ? first + row : column];
    }
  }
}

// Adds a number. number: 0 it.
EDIT(plus) {
  f32 more = of_bits((u32)layer.number[0]);
  for (u64 at = thread_of_all(); at < rows * columns; at += all_threads()) values[at] = values[at] + more;
}

// Rows that are replaced. table: 0 which (u64), 1 their values; number: 0 how many.
EDIT(rows) {
  const u64* which = (const u64*)layer.table[0];
  const f32* from = (const f32*)layer.table[1];
  for (u64 at = blockIdx.x; at < layer.number[0]; at += gridDim.x) {
    u64 row = which[at];
    if (row < first || row - first >= rows) continue;
    for (u64 column = threadIdx.x; column < columns; column += blockDim.x)
      values[(row - first) * columns + column] = from[at * columns + column];
  }
}

// `m / |W| * W`, the norm of each row. table: 0 m. The squares are summed in f64 one after the other, as the processor
// does it: any other order has other bits. So a thread has a row, and warps bring 32 columns of 32 rows at a time.
EDIT(normed) {
  static __shared__ f32 tile[8][32][33];
  static __shared__ f32 factors[256];
  const f32* magnitudes = (const f32*)layer.table[0];
  u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (u64 base = (u64)blockIdx.x * 256; base < rows; base += (u64)gridDim.x * 256) {
    u64 row0 = base + warp * 32;
    f64 sum = -0.0;
    for (u64 from = 0; from < columns; from += 32) {
      for (u32 r = 0; r < 32; ++r) {
        bool is_there = row0 + r < rows && from + lane < columns;
        tile[warp][r][lane] = is_there ? values[(row0 + r) * columns + from + lane] : 0.0f;
      }
      __syncthreads();
      u32 here = columns - from < 32 ? (u32)(columns - from) : 32;
      for (u32 column = 0; column < here; ++column) {
        f64 value = (f64)tile[warp][lane][column];
        sum = sum + value * value;
      }
      __syncthreads();
    }
    factors[threadIdx.x] = row0 + lane < rows ? magnitudes[first + row0 + lane] / (f32)square_root(sum) : 0.0f;
    __syncthreads();
    for (u32 row = 0; row < 256 && base + row < rows; ++row) {
      for (u64 column = threadIdx.x; column < columns; column += blockDim.x) {
        u64 at = (base + row) * columns + column;
        values[at] = values[at] * factors[row];
      }
    }
    __syncthreads();
  }
}

// `W R'` in blocks along the columns, each sum in f64 one term after the other. table: 0 the blocks turned, [blocks, from,
// to] in f64; number: 0 size of a block, at most 4096, 1 is 1 where all blocks are one.
EDIT(turned) {
  static __shared__ f32 held[4096];
  const f64* blocks = (const f64*)layer.table[0];
  u32 size = (u32)layer.number[0], together = size < 256 ? 256 / size : 1;
  u64 pieces = columns / size, units = (rows + together - 1) / together * pieces;
  for (u64 unit = blockIdx.x; unit < units; unit += gridDim.x) {
    u64 piece = unit % pieces, row0 = unit / pieces * together;
    u32 here = rows - row0 < together ? (u32)(rows - row0) : together;
    f32* from = values + row0 * columns + piece * size;
    for (u32 k = threadIdx.x; k < here * size; k += blockDim.x) held[k] = from[k / size * columns + k % size];
    __syncthreads();
    const f64* block = blocks + (layer.number[1] ? 0 : piece * size * size);
    for (u32 k = threadIdx.x; k < here * size; k += blockDim.x) {
      u32 row = k / size, to = k % size;
      f64 sum = -0.0;
      for (u32 at = 0; at < size; ++at) sum = sum + block[(u64)at * size + to] * (f64)held[row * size + at];
      from[row * columns + to] = (f32)sum;
    }
    __syncthreads();
  }
}
