// Codes of 4 bits, eight to a word of 32 bits.
#include "affine.cuh"

namespace words {

using namespace affine;

// The nibbles of a word's eight codes, and whether these are signed. number: 6 the nibbles, first code in the low bits,
// above 32 bits 8 for signed codes, 0 for others.
struct Nibbles {
  u32 places, sign;

  DEV Nibbles of(const Layer& layer) { return {(u32)layer.number[6], (u32)(layer.number[6] >> 32)}; }

  f32 value(u32 word, u32 at) const {
    u32 code = word >> (4 * (places >> (4 * at) & 7u)) & 15u;
    return number_of(code ^ sign) - (f32)sign;
  }
};

enum : u32 {
  HIGH = 256,  // outputs of a tile
  LONG = 64,   // inputs of a tile
  ACROSS = HIGH / 8,
};

// Where shared memory has a word of a tile: eights of inputs begin in different banks.
DEV u32 slot(u32 input, u32 word) { return input * ACROSS + (word + input / 8 * 4) % ACROSS; }

// Words of eight outputs each, `[in, out / 8]`: AWQ's gemm, quark's groups. A block turns tiles of 256 outputs and 64
// inputs, each thread eight of either. Outputs have each a row of scales, or all one.
// number: 5 words of a row.
// Source: AutoAWQ `utils/packing_utils.py`; quark 0.13 `torch/utils/pack.py`.
template <class Order, u32 OUT>
DEV void down(const Layer& layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) {
  static __shared__ u32 shared[LONG * ACROSS];
  const u32* words = (const u32*)codes;
  Affine affine = Affine::of(layer);
  Order order = Order::of(layer);
  u64 wide = layer.number[5];
  u32 inputs = affine.inputs, first_row = (u32)(first / inputs), rows = (u32)(count / inputs);
  // A tile begins with a word, which may hold rows before those that are asked for.
  u32 before = first_row % 8, first_word = first_row / 8;
  u32 across = (inputs + LONG - 1) / LONG;
  Seen seen = {0, 0};
  Walk tile = Walk::from(blockIdx.x, gridDim.x, across);
  for (; tile.down * HIGH < before + rows; tile.next()) {
    u32 row0 = tile.down * HIGH, word0 = first_word + row0 / 8, input0 = tile.right * LONG;
#pragma unroll 4
    for (u32 k = 0; k < LONG * ACROSS / 256; ++k) {
      u32 input = k * (256 / ACROSS) + threadIdx.x / ACROSS, word = threadIdx.x % ACROSS;
      bool is_there = input0 + input < inputs && word0 + word < wide;
      shared[slot(input, word)] = is_there ? words[(u64)(input0 + input) * wide + word0 + word] : 0;
    }
    __syncthreads();
    u32 at = threadIdx.x % (LONG / 8), across_at = threadIdx.x / (LONG / 8), input = input0 + at * 8;
    if (input < inputs) {
      u32 here = inputs - input < 8 ? inputs - input : 8;
#pragma unroll 1
      for (u32 k = 0; k < 8; ++k) {
        u32 row = row0 + across_at * 8 + k;
        if (row >= before && row - before < rows) {
          f32 value[8];
#pragma unroll
          for (u32 j = 0; j < 8; ++j) value[j] = order.value(shared[slot(at * 8 + j, across_at)], k);
          affine.apply(affine.high * (first_row + (row - before)), input, here, value);
          store_some<OUT>(out, (u64)(row - before) * inputs + input, here, native, value, seen);
        }
      }
    }
    __syncthreads();
  }
  tell(seen, all);
}
AFFINE(words_down, down, Nibbles)

// Words of eight inputs each, `[out, in / 8]`: quark's rows.
struct Along {
  Affine affine;
  Nibbles order;

  DEV Along of(const Layer& layer) { return {Affine::of(layer), Nibbles::of(layer)}; }

  void some(const u8* codes, u32 output, u32 row, u32 input, u32 count, f32* value) const {
    const u32* words = (const u32*)codes + (u64)row * (affine.inputs / 8);
    u32 first = words[input / 8];
    // Eight from the middle of a word on reach into the next.
    u32 second = input % 8 + count > 8 ? words[input / 8 + 1] : 0;
#pragma unroll
    for (u32 k = 0; k < 8; ++k) {
      u32 at = input % 8 + k;
      if (k < count) value[k] = order.value(at < 8 ? first : second, at % 8);
    }
    affine.apply(affine.row(output + row), input, count, value);
  }
};
AFFINE(words_along, along_rows, Along)

// AWQ's gemv_fast: four outputs interleaved, `[out / 4, in]` halves; of each 64 halves output `o` has number
// `16 (o % 4) + 8 (i / 32 % 2) + i % 8` for input `i`, in nibble `i / 8 % 4`. Inputs are a multiple of 64.
// Source: AutoAWQ `modules/linear/gemv_fast.py`.
struct Woven {
  Affine affine;

  DEV Woven of(const Layer& layer) { return {Affine::of(layer)}; }

  void some(const u8* codes, u32 output, u32 row, u32 input, u32 count, f32* value) const {
    u32 line = (output + row) / 4 - output / 4;
    u64 at = (u64)line * affine.inputs + input / 64 * 64 + 16 * ((output + row) % 4) + 8 * (input / 32 % 2);
    Four halves = ((const Four*)codes)[at / 8];
#pragma unroll
    for (u32 k = 0; k < 8; ++k) {
      value[k] = number_of(halves.word[k / 2] >> (16 * (k % 2) + 4 * (input / 8 % 4)) & 15u);
    }
    affine.apply(affine.row(output + row), input, count, value);
  }
};
AFFINE(gemv_fast, along_rows, Woven)

}  // namespace words
