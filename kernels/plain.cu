// Plain values: f32, f16 and bf16 to each other, and the columns of a matrix as rows.
#include "values.cuh"

// number: 0 dtype of the stored values.
struct Plain {
  enum : u32 { SHARED = 0, SIXTEEN = 0 };
  DEV u32 begin(const Layer& layer, u64, u64) { return (u32)layer.number[0]; }
  DEV void eight(u32 dtype, const Layer&, const f32*, const u8* codes, u32 at, u32 count, f32* value) {
    if (count == 8 && dtype != F32) {
      Four four = ((const Four*)codes)[at / 8];
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        u16 half = (u16)(four.word[k / 2] >> (16 * (k % 2)));
        value[k] = dtype == BF16 ? bf16_value(half) : f16_value(half);
      }
      return;
    }
    for (u32 k = 0; k < count; ++k) value[k] = loaded(dtype, codes, at + k);
  }
};
ROWS(plain, Plain)

// A matrix whose columns become rows: the dtype of its values, its rows and the length of one; which of its columns are
// wanted from the first on, and how many; where in the rows that they become they begin, and the length of one.
struct Turn {
  u32 dtype;
  u64 high, wide, column, columns, at, length;
};

// Columns as rows: tiles of SIDE by SIDE values go through shared memory, so that a warp reads neighbors and writes
// neighbors.
template <u32 SIDE, u32 OUT>
DEV void turn(const Turn& turn, const u8* from, u32 native, u8* out, u32* all) {
  static __shared__ f32 tile[SIDE][SIDE + 1];
  u32 lane = threadIdx.x % SIDE, line = threadIdx.x / SIDE, down = blockDim.x / SIDE;
  u64 across = (turn.high + SIDE - 1) / SIDE, tiles = across * ((turn.columns + SIDE - 1) / SIDE);
  Seen seen = {0, 0};
  for (u64 which = blockIdx.x; which < tiles; which += gridDim.x) {
    u64 to = which / across * SIDE, row = which % across * SIDE;
    for (u32 k = line; k < SIDE; k += down) {
      bool is_there = row + k < turn.high && to + lane < turn.columns;
      tile[k][lane] = is_there ? loaded(turn.dtype, from, (row + k) * turn.wide + turn.column + to + lane) : 0.0f;
    }
    __syncthreads();
    for (u32 k = line; k < SIDE; k += down) {
      if (to + k < turn.columns && row + lane < turn.high)
        put_one<OUT>(out, (to + k) * turn.length + turn.at + row + lane, rounded(native, tile[lane][k]), seen);
    }
    __syncthreads();
  }
  tell(seen, all);
}

// What is asked for is whole rows of the result; `codes` is the whole matrix. number: 0 dtype of the stored values,
// 1 stored rows, 2 values of one.
template <u32 SIDE, u32 OUT>
DEV void turned(const Layer& layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) {
  u64 high = layer.number[1];
  Turn all_rows = {(u32)layer.number[0], high, layer.number[2], first / high, count / high, 0, high};
  turn<SIDE, OUT>(all_rows, codes, native, out, all);
}
DECODER(KERNEL, plain_turned, turned, 32)

// Rows of f32 that were decoded, `high` of `wide` values: `columns` of their columns, from `column` on, become the values
// from `at` on of as many rows of `length`.
#define TURN(ending, dtype)                                                                                          \
  KERNEL(turn_##ending, const u8* from, u64 high, u64 wide, u64 column, u64 columns, u64 at, u64 length, u8* out, \
         u32* all) {                                                                                                 \
    turn<32, dtype>({F32, high, wide, column, columns, at, length}, from, F32, out, all);                            \
  }
TURN(f32, F32)
TURN(f16, F16)
TURN(bf16, BF16)
