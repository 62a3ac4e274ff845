// GPTQ: codes of 2 to 8 bits, packed down the columns of words `[in * bits / 32, out]`, so that a row of the result is a
// column of theirs: a block turns tiles of 64 outputs and 128 inputs in shared memory.
// Source: GPTQModel 7 `TorchLinear.dequantize_weight`; src/quant/gptq/decode.rs, src/quant/pack.rs.
#include "affine.cuh"

namespace gptq {

using namespace affine;

enum : u32 {
  HIGH = 64,   // outputs of a tile
  LONG = 128,  // inputs of a tile
  EIGHTS = LONG / 8,
  PITCH = HIGH + 2,  // words between rows in shared memory: neighbors in a warp read from different banks
};

// Codes of 4 bits: eight a word.
struct Fours {
  enum : u32 { WORDS = LONG / 8 };
  DEV Fours of(const Layer&) { return {}; }
  u32 words_of_tile() const { return WORDS; }
  void eight(const u32* column, u32 at, f32* value) const {
    u32 word = column[at * PITCH];
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = number_of(word >> (4 * k) & 15u);
  }
};

// Codes of any bits: 32 of them in as many words as bits, in planes of which each has some bits of every code.
// number: 7 bits, 8 the bits of each plane, low plane first, four bits each.
struct Planes {
  enum : u32 { WORDS = LONG / 32 * 8 };
  u32 bits, planes;

  DEV Planes of(const Layer& layer) { return {(u32)layer.number[7], (u32)layer.number[8]}; }
  u32 words_of_tile() const { return LONG / 32 * bits; }

  void eight(const u32* column, u32 at, f32* value) const {
    const u32* set = column + at / 4 * bits * PITCH;
    u32 code[8] = {}, low = 0;
    // At most three; one of no bits adds none.
#pragma unroll
    for (u32 at_plane = 0; at_plane < 3; ++at_plane) {
      u32 width = planes >> (4 * at_plane) & 15u, mask = (1u << width) - 1, first = at % 4 * 8 * width, shift = first % 32;
      const u32* plane = set + (low + first / 32) * PITCH;
      u32 word[3];
#pragma unroll
      for (u32 k = 0; k < 3; ++k) word[k] = shift + 8 * width > 32 * k ? plane[k * PITCH] : 0;
      u64 above = (u64)word[2] << 32 | word[1], field = (u64)word[1] << 32 | word[0];
      field = (field >> shift & 0xffffffffu) | above >> shift << 32;
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        code[k] |= ((u32)field & mask) << low;
        field >>= width;
      }
      low += width;
    }
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = number_of(code[k]);
  }
};

// number: 5 outputs, 6 rows of words.
template <class Codes, u32 OUT>
DEV void columns(const Layer& layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) {
  static __shared__ u32 shared[Codes::WORDS * PITCH];
  const u32* words = (const u32*)codes;
  Affine affine = Affine::of(layer);
  Codes unpack = Codes::of(layer);
  u32 outputs = (u32)layer.number[5], height = (u32)layer.number[6];
  u32 inputs = affine.inputs, first_row = (u32)(first / inputs), rows = (u32)(count / inputs);
  u32 across = (inputs + LONG - 1) / LONG, high = unpack.words_of_tile();
  Seen seen = {0, 0};
  Walk tile = Walk::from(blockIdx.x, gridDim.x, across);
  for (; tile.down * HIGH < rows; tile.next()) {
    u32 row0 = tile.down * HIGH, word0 = tile.right * high;
#pragma unroll 4
    for (u32 k = threadIdx.x; k < high * HIGH; k += 256) {
      u32 down = k / HIGH, row = k % HIGH;
      bool is_there = word0 + down < height && row < rows - row0;
      shared[down * PITCH + row] = is_there ? words[(u64)(word0 + down) * outputs + (first_row + row0 + row)] : 0;
    }
    __syncthreads();
#pragma unroll 1
    for (u32 k = threadIdx.x; k < HIGH * EIGHTS; k += 256) {
      u32 at = k % EIGHTS, row = k / EIGHTS, input = tile.right * LONG + at * 8;
      if (row < rows - row0 && input < inputs) {
        u32 here = inputs - input < 8 ? inputs - input : 8;
        f32 value[8];
        unpack.eight(shared + row, at, value);
        affine.apply(first_row + row0 + row, input, here, value);
        store_some<OUT>(out, (u64)(row0 + row) * inputs + input, here, native, value, seen);
      }
    }
    __syncthreads();
  }
  tell(seen, all);
}

AFFINE(gptq4, columns, Fours)
AFFINE(gptq, columns, Planes)

}  // namespace gptq
