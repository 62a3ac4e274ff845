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

// Columns as rows: tiles of SIDE by SIDE values go through shared memory, so that a warp reads neighbors and writes
// neighbors. What is asked for is whole rows of the result; `codes` is the whole matrix. number: 0 dtype of the stored
// values, 1 stored rows, 2 values of one.
template <u32 SIDE, u32 OUT>
DEV void turned(const Layer& layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) {
  static __shared__ f32 tile[SIDE][SIDE + 1];
  u32 dtype = (u32)layer.number[0], lane = threadIdx.x % SIDE, line = threadIdx.x / SIDE, down = blockDim.x / SIDE;
  u64 columns = layer.number[1], stride = layer.number[2], row = first / columns, rows = count / columns;
  u64 across = (columns + SIDE - 1) / SIDE, tiles = across * ((rows + SIDE - 1) / SIDE);
  Seen seen = {0, 0};
  for (u64 at = blockIdx.x; at < tiles; at += gridDim.x) {
    u64 row0 = at / across * SIDE, column0 = at % across * SIDE;
    for (u32 k = line; k < SIDE; k += down) {
      bool is_there = column0 + k < columns && row0 + lane < rows;
      tile[k][lane] = is_there ? loaded(dtype, codes, (column0 + k) * stride + row + row0 + lane) : 0.0f;
    }
    __syncthreads();
    for (u32 k = line; k < SIDE; k += down) {
      if (row0 + k < rows && column0 + lane < columns)
        put_one<OUT>(out, (row0 + k) * columns + column0 + lane, rounded(native, tile[lane][k]), seen);
    }
    __syncthreads();
  }
  tell(seen, all);
}
DECODER(KERNEL, plain_turned, turned, 32)
