// EXL2: `(code - 2^(bits - 1)) * scale` rounded to F16 at last, groups of inputs of 2 to 8 bits. Words are `[word rows, out]`:
// down a column each group's codes follow one another; a block turns tiles of 32 outputs and 64 inputs.
// Source: exllamav2 0.3.2 `q_matrix.cu`; src/quant/exl/decode.rs.
#include "affine.cuh"

namespace exl {

using namespace affine;

enum : u32 {
  HIGH = 32,  // outputs of a tile
  LONG = 64,  // inputs of a tile
  PITCH = LONG + 1,
};

// Codes of an output of neighboring inputs: for each input, table: 0 the word row where its code begins, 1 the shift there,
// above 8 bits the bits of the code and above 16 bits the group; 2 a scale for each group and output's code of 4 bits,
// 3 those codes, eight a word, row by group.
// number: 0 inputs, 1 outputs.
struct Exl2;
template <class, u32 OUT>
DEV void turned(const Layer& layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) {
  static __shared__ f32 shared[HIGH * PITCH];
  const u32* words = (const u32*)codes;
  const u32 *starts = (const u32*)layer.table[0], *kinds = (const u32*)layer.table[1], *fours = (const u32*)layer.table[3];
  const f32* scales = (const f32*)layer.table[2];
  u32 inputs = (u32)layer.number[0], outputs = (u32)layer.number[1];
  u32 first_row = (u32)(first / inputs), rows = (u32)(count / inputs);
  u32 across = (inputs + LONG - 1) / LONG;
  Seen seen = {0, 0};
  Walk tile = Walk::from(blockIdx.x, gridDim.x, across);
  for (; tile.down * HIGH < rows; tile.next()) {
    u32 row0 = tile.down * HIGH, input0 = tile.right * LONG;
    // A warp reads the words of one input: neighbors of a row.
#pragma unroll 2
    for (u32 k = threadIdx.x; k < HIGH * LONG; k += 256) {
      u32 row = k % HIGH, input = input0 + k / HIGH;
      if (row < rows - row0 && input < inputs) {
        u32 output = first_row + row0 + row, kind = kinds[input];
        u32 shift = kind & 31u, bits = kind >> 8 & 15u, group = kind >> 16;
        const u32* from = words + (u64)starts[input] * outputs + output;
        u32 low = from[0], high = shift + bits > 32 ? from[outputs] : 0;
        u32 code = (u32)(((u64)high << 32 | low) >> shift) & ((1u << bits) - 1);
        u32 four = fours[(u64)group * (outputs / 8) + output / 8] >> (4 * (output % 8)) & 15u;
        shared[row * PITCH + k / HIGH] = (number_of(code) - number_of(1u << (bits - 1))) * scales[group * 16 + four];
      }
    }
    __syncthreads();
    u32 at = threadIdx.x % (LONG / 8) * 8, row = threadIdx.x / (LONG / 8), input = input0 + at;
    if (row < rows - row0 && input < inputs) {
      f32 value[8];
#pragma unroll
      for (u32 k = 0; k < 8; ++k) value[k] = shared[row * PITCH + at + k];
      u32 here = inputs - input < 8 ? inputs - input : 8;
      store_some<OUT>(out, (u64)(row0 + row) * inputs + input, here, native, value, seen);
    }
    __syncthreads();
  }
  tell(seen, all);
}

AFFINE(exl2, turned, Exl2)

}  // namespace exl
