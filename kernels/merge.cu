// Merging: what an adapter does to rows of a weight, in the processor's order of operations.
#include "values.cuh"

// Columns of a tile, of which a thread has four; terms of the sums that are in shared memory at a time.
enum : u32 { WIDE = 64, DEEP = 16 };
// Rows of a tile that a thread has: eight for each four columns keep the units that multiply busier than those that load.
enum : u32 { HIGH = 8 };

// A tile of a product: `left` [rows, rank] times `right` [rank, columns], each element one chain of fused multiply-adds
// over the rank, ascending, from 0. All threads of a block make a tile, each Y rows of four columns.
template <u32 Y>
DEV void product(f32 (&sums)[Y * 4], const f32* left, const f32* right, u32 rows, u32 columns, u32 rank, u32 row0,
                 u32 column0) {
  enum : u32 { TALL = 16 * Y, PITCH = TALL + 4 };
  static __shared__ Four lefts[DEEP * PITCH / 4], rights[DEEP * WIDE / 4];
  u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16, column = column0 + tx * 4;
#pragma unroll
  for (u32 k = 0; k < Y * 4; ++k) sums[k] = 0.0f;
  u32 from = 0;
  // Once also where there are no terms: all is 0 then.
#pragma unroll 1
  do {
    u32 deep = rank - from < DEEP ? rank - from : DEEP;
    Four held[TALL * DEEP / 4 / 256 + 1] = {};
#pragma unroll
    for (u32 k = 0; k < TALL * DEEP / 4 / 256; ++k) {
      u32 row = row0 + k * 64 + threadIdx.x / 4, r = threadIdx.x % 4 * 4;
      const f32* at = left + (u64)row * rank + from + r;
      if (row < rows && r < deep) {
        if (rank % 4 == 0) {
          held[k] = *(const Four*)at;
        } else {
#pragma unroll
          for (u32 j = 0; j < 4; ++j) held[k].word[j] = r + j < deep ? bits_of(at[j]) : 0;
        }
      }
    }
    const f32* at = right + (u64)(from + ty) * columns + column;
    Four& line = held[TALL * DEEP / 4 / 256];
    if (ty < deep && column < columns) {
      if (columns % 4 == 0) {
        line = *(const Four*)at;
      } else {
#pragma unroll
        for (u32 j = 0; j < 4; ++j) line.word[j] = column + j < columns ? bits_of(at[j]) : 0;
      }
    }
    u32* to = (u32*)lefts + threadIdx.x % 4 * 4 * PITCH + threadIdx.x / 4;
#pragma unroll
    for (u32 k = 0; k < TALL * DEEP / 4 / 256; ++k) {
#pragma unroll
      for (u32 j = 0; j < 4; ++j) to[j * PITCH + k * 64] = held[k].word[j];
    }
    rights[threadIdx.x] = line;
    __syncthreads();
    const Four *down = lefts + ty * (Y / 4), *across = rights + tx;
#pragma unroll 1
    for (u32 r = 0; r < deep; ++r, across += WIDE / 4, down += PITCH / 4) {
      Four line = *across;
#pragma unroll
      for (u32 y = 0; y < Y; ++y) {
        f32 factor = of_bits(down[y / 4].word[y % 4]);
#pragma unroll
        for (u32 x = 0; x < 4; ++x) sums[y * 4 + x] = fma32(factor, of_bits(line.word[x]), sums[y * 4 + x]);
      }
    }
    __syncthreads();
    from += DEEP;
  } while (from < rank);
}

// The tiles of a weight, and a thread's elements of them. There are at most 2^30 elements, counted in 32 bits.
template <u32 Y>
struct Tiles {
  u32 rows, columns, wide, tiles;

  DEV Tiles of(u64 rows, u64 columns) {
    u32 wide = ((u32)columns + WIDE - 1) / WIDE;
    return {(u32)rows, (u32)columns, wide, wide * (((u32)rows + 16 * Y - 1) / (16 * Y))};
  }
  u32 row0(u32 tile) const { return tile / wide * (16 * Y); }
  u32 column0(u32 tile) const { return tile % wide * WIDE; }

  // True if all elements of a thread are there, and its rows begin at multiples of 4.
  bool is_whole(u32 row, u32 column) const { return columns % 4 == 0 && row + Y <= rows && column < columns; }
};

// Calls `what` with the place of each of a thread's elements that are there, and its sum, which moves up to be the first.
template <u32 Y, class Do>
DEV void each(const Tiles<Y>& tiles, u32 row, u32 column, f32 (&sums)[Y * 4], const Do& what) {
#pragma unroll 1
  for (u32 at = 0; at < Y * 4; ++at) {
    u32 y = row + at / 4, x = column + at % 4;
    if (y < tiles.rows && x < tiles.columns) what(y * tiles.columns + x, sums[0]);
#pragma unroll
    for (u32 k = 0; k + 1 < Y * 4; ++k) sums[k] = sums[k + 1];
  }
}

// Multiplies sums and rounds them to a dtype; a NaN is counted before it is rounded.
template <u32 COUNT>
DEV void scale_sums(f32* sums, f32 scale, u32 dtype, Seen& seen) {
#pragma unroll
  for (u32 k = 0; k < COUNT; ++k) sums[k] = sums[k] * scale;
  if (dtype == F32) return;
  seen.nans += has_nan<COUNT>(sums);
  round_native<F32, COUNT>(dtype, sums);
}

template <bool IS, class A, class B>
struct Either {
  using Type = A;
};
template <class A, class B>
struct Either<false, A, B> {
  using Type = B;
};

// One of four stored values.
template <u32 IN>
DEV f32 unpacked(const u32* word, u32 k) {
  if constexpr (IN == F32) return of_bits(word[k]);
  u16 half = (u16)(word[k / 2] >> (16 * (k % 2)));
  return IN == BF16 ? bf16_value(half) : f16_value(half);
}

// `W + s (L R)`: the product is multiplied by `scale`, rounded to `delta`, added, and the sum is rounded to `sum`. `left`
// begins with the rows that are given.
template <u32 IN, u32 OUT>
DEV void low_rank(const u8* in, u8* out, const f32* left, const f32* right, u64 rows, u64 columns, u64 rank,
                  f32 scale, u32 delta, u32 sum, u32* all) {
  using Stored = typename Either<IN == F32, Four, Two>::Type;
  Tiles<HIGH> tiles = Tiles<HIGH>::of(rows, columns);
  Seen seen = {0, 0};
#pragma unroll 1
  for (u32 tile = blockIdx.x; tile < tiles.tiles; tile += gridDim.x) {
    u32 row0 = tiles.row0(tile), column0 = tiles.column0(tile);
    f32 sums[HIGH * 4];
    product<HIGH>(sums, left, right, tiles.rows, tiles.columns, (u32)rank, row0, column0);
    u32 row = row0 + threadIdx.x / 16 * HIGH, column = column0 + threadIdx.x % 16 * 4;
    scale_sums<HIGH * 4>(sums, scale, delta, seen);
    if (!tiles.is_whole(row, column)) {
      each<HIGH>(tiles, row, column, sums, [&](u32 to, f32 value) {
        put_one<OUT>(out, to, rounded(sum, loaded(IN, in, to) + value), seen);
      });
      continue;
    }
    u32 place = (row * tiles.columns + column) / 4, step = tiles.columns / 4;
#pragma unroll
    for (u32 y = 0; y < HIGH; ++y) {
      Stored four = ((const Stored*)in)[place + y * step];
#pragma unroll
      for (u32 x = 0; x < 4; ++x) sums[y * 4 + x] = unpacked<IN>(four.word, x) + sums[y * 4 + x];
    }
    seen.nans += has_nan<HIGH * 4>(sums);
    round_native<OUT, HIGH * 4>(sum, sums);
#pragma unroll
    for (u32 y = 0; y < HIGH; ++y) put<OUT, 4>(out, (place + y * step) * 4, sums + y * 4, seen);
  }
  tell(seen, all);
}

#define LOW_RANK(from, to, in_dtype, out_dtype)                                                                    \
  LONG_KERNEL(low_rank_##from##_##to, const u8* in, u8* out, const f32* left, const f32* right, u64 rows, u64 columns, \
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

// Adds a thread's elements of a tile.
template <u32 Y>
DEV void add_tile(const Tiles<Y>& tiles, f32 (&sums)[Y * 4], f32* values, u32 tile, u32 delta) {
  u32 row = tiles.row0(tile) + threadIdx.x / 16 * Y, column = tiles.column0(tile) + threadIdx.x % 16 * 4;
  round_all<Y * 4>(delta, sums);
  if (!tiles.is_whole(row, column)) {
    each<Y>(tiles, row, column, sums, [&](u32 at, f32 value) { values[at] = values[at] + value; });
    return;
  }
#pragma unroll
  for (u32 y = 0; y < Y; ++y) {
    Four* at = (Four*)values + ((row + y) * tiles.columns + column) / 4;
    Four four = *at;
#pragma unroll
    for (u32 x = 0; x < 4; ++x) four.word[x] = bits_of(of_bits(four.word[x]) + sums[y * 4 + x]);
    *at = four;
  }
}

// `W + s (L R)`. table: 0 L, 1 R; number: 0 rank, 1 s, 2 the dtype of deltas.
EDIT(low_rank) {
  Tiles<HIGH> tiles = Tiles<HIGH>::of(rows, columns);
  u32 rank = (u32)layer.number[0];
  f32 scale = of_bits((u32)layer.number[1]);
#pragma unroll 1
  for (u32 tile = blockIdx.x; tile < tiles.tiles; tile += gridDim.x) {
    f32 sums[HIGH * 4];
    product<HIGH>(sums, (const f32*)layer.table[0] + first * rank, (const f32*)layer.table[1], tiles.rows, tiles.columns,
                  rank, tiles.row0(tile), tiles.column0(tile));
#pragma unroll
    for (u32 k = 0; k < HIGH * 4; ++k) sums[k] = sums[k] * scale;
    add_tile<HIGH>(tiles, sums, values, tile, (u32)layer.number[2]);
  }
}

// `W + s ((L1 R1) o (L2 R2))`. table: 0 L1, 1 R1, 2 L2, 3 R2; number: 0 and 1 the ranks, 2 s, 3 the dtype of deltas.
EDIT(hadamard) {
  enum : u32 { Y = 4 };
  Tiles<Y> tiles = Tiles<Y>::of(rows, columns);
  f32 scale = of_bits((u32)layer.number[2]);
#pragma unroll 1
  for (u32 tile = blockIdx.x; tile < tiles.tiles; tile += gridDim.x) {
    f32 both[Y * 4] = {}, sums[Y * 4];
#pragma unroll 1
    for (u32 which = 0; which < 2; ++which) {
      u32 rank = (u32)layer.number[which];
      product<Y>(sums, (const f32*)layer.table[2 * which] + first * rank, (const f32*)layer.table[2 * which + 1],
                 tiles.rows, tiles.columns, rank, tiles.row0(tile), tiles.column0(tile));
#pragma unroll
      for (u32 k = 0; k < Y * 4; ++k) both[k] = which == 0 ? sums[k] : both[k] * sums[k];
    }
#pragma unroll
    for (u32 k = 0; k < Y * 4; ++k) sums[k] = both[k] * scale;
    add_tile<Y>(tiles, sums, values, tile, (u32)layer.number[3]);
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
