// EETQ: bytes of 128 more than the code, in the order of its own kernel, times the scale of their output.
// Rust: src/quant/int8/decode.rs.
#include "rows.cuh"

// table: 0 scales; number: 0 inputs (a multiple of 64), 1 they as a divisor.
struct Shuffled {
  enum : u32 { SHARED = 0, SIXTEEN = 0 };
  struct Rows {
    u32 inputs, row0;
  };

  DEV Rows begin(const Layer& layer, u64 first, u64) {
    return {(u32)layer.number[0], row_of(first, (u32)layer.number[0], layer.number[1])};
  }

  DEV void eight(const Rows& rows, const Layer& layer, const f32*, const u8* codes, u32 at, u32, f32* value) {
    // Rows are whole tiles: eight neighbors are there, and in one row.
    u32 below = quotient(at, layer.number[1]);
    u32 row = rows.row0 + below, input = at - below * rows.inputs;
    f32 scale = ((const f32*)layer.table[0])[row];
    // Two outputs share bytes, in tiles of 64 that take turns.
    u64 pair = (u64)(row / 2 - rows.row0 / 2) * 2 * rows.inputs;
    const u8* tile = codes + pair + (u64)(input / 64 * 2 + row % 2) * 64;
    Four four = ((const Four*)tile)[input % 64 / 16];
    u32 second = input % 16 / 8;
#pragma unroll
    for (u32 k = 0; k < 8; ++k) {
      // Of 16 places the inputs 0 1 8 9 2 3 10 11 ... stand there, and of each four bytes 1 and 2 are swapped.
      u32 byte = second + k % 2 * 2;
      value[k] = ((f32)(four.word[k / 2] >> (8 * byte) & 0xffu) - 128.0f) * scale;
    }
  }
};
ROWS(shuffled, Shuffled)
