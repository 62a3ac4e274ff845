// Marlin: 4-bit codes around 8, in tiles of 16 inputs and 64 outputs as tensor cores take them. Word `4 i + j` of a tile's
// 128 holds inputs `2 (i % 4) + {0, 1, 8, 9}` of the outputs `i / 4` and `i / 4 + 8` of the 16 that `j` counts, its eight
// codes in the order 0 2 4 6 1 3 5 7.
// Source: AutoGPTQ 0.7 `qlinear_marlin.py`; src/quant/marlin.rs.
#include "affine.cuh"

namespace marlin {

using namespace affine;

enum : u32 {
  HIGH = 64,         // outputs of a tile
  TILES = 8,         // tiles that a block takes together, along inputs
  LONG = 16 * TILES,
  EIGHTS = LONG / 8,
  WORDS = 128,       // words of a tile
  PITCH = WORDS + 4,  // words between tiles in shared memory: a warp reads from different banks
};

// number: 5 tiles along outputs.
struct Nibbles {
  DEV Nibbles of(const Layer&) { return {}; }

  // Eight codes of an output from the four words that have them: nibbles `n` and `n + 4` are neighbors.
  void eight(const u32* tile, u32 output, u32 at, f32* value) const {
    u32 first = output % 8 * 16 + output / 16, shift = 4 * (output / 8 % 2 * 2 + at);
#pragma unroll
    for (u32 k = 0; k < 4; ++k) {
      u32 word = tile[first + 4 * k] >> shift;
      value[2 * k] = number_of(word & 15u);
      value[2 * k + 1] = number_of(word >> 16 & 15u);
    }
  }
};

template <class Codes, u32 OUT>
DEV void tiles(const Layer& layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) {
  static __shared__ u32 shared[TILES * PITCH];
  const u32* words = (const u32*)codes;
  Affine affine = Affine::of(layer);
  Codes unpack = Codes::of(layer);
  u32 wide = (u32)layer.number[5];
  u32 inputs = affine.inputs, first_row = (u32)(first / inputs), rows = (u32)(count / inputs);
  // A tile may hold rows before those that are asked for.
  u32 before = first_row % HIGH, first_tile = first_row / HIGH;
  u32 across = (inputs + LONG - 1) / LONG, high = inputs / 16;
  Seen seen = {0, 0};
  Walk place = Walk::from(blockIdx.x, gridDim.x, across);
  for (; place.down * HIGH < before + rows; place.next()) {
    u32 row0 = place.down * HIGH, tile0 = place.right * TILES;
#pragma unroll 4
    for (u32 k = threadIdx.x; k < TILES * WORDS; k += 256) {
      u32 tile = k / WORDS, word = k % WORDS;
      bool is_there = tile0 + tile < high;
      u64 from = ((u64)(tile0 + tile) * wide + first_tile + place.down) * WORDS;
      shared[tile * PITCH + word] = is_there ? words[from + word] : 0;
    }
    __syncthreads();
#pragma unroll 1
    for (u32 k = threadIdx.x; k < HIGH * EIGHTS; k += 256) {
      // Two outputs of a warp are 16 apart, whose words are neighbors.
      u32 at = k % EIGHTS, output = k / EIGHTS % 4 * 16 + k / EIGHTS / 4, row = row0 + output;
      u32 input = tile0 * 16 + at * 8;
      if (row >= before && row - before < rows && input < inputs) {
        f32 value[8];
        unpack.eight(shared + at / 2 * PITCH, output, at % 2, value);
        affine.apply(first_row + (row - before), input, 8, value);
        store_some<OUT>(out, (u64)(row - before) * inputs + input, 8, native, value, seen);
      }
    }
    __syncthreads();
  }
  tell(seen, all);
}
AFFINE(marlin, tiles, Nibbles)

}  // namespace marlin
