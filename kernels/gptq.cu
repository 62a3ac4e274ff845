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
  EACH = HIGH * TABLE / 256,  // entries of tables that a thread makes
  PITCH = HIGH + 2,           // words between rows in shared memory: neighbors in a warp read from different banks
};

// Codes of 4 bits: eight a word.
struct Fours {
  enum : u32 { WORDS = LONG / 8, TABLES = HIGH };
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
  enum : u32 { WORDS = LONG / 32 * 8, TABLES = 0 };
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
  constexpr bool HAS_TABLES = Codes::TABLES > 0 && OUT == BF16;
  static __shared__ u32 shared[Codes::WORDS * PITCH];
  static __shared__ u32 tables[HAS_TABLES ? HIGH * TABLE / 2 : 1];
  Affine affine = Affine::of(layer);
  Codes unpack = Codes::of(layer);
  u32 outputs = (u32)layer.number[5], height = (u32)layer.number[6];
  u32 inputs = affine.inputs, first_row = (u32)(first / inputs), rows = (u32)count / inputs;
  u32 across = (inputs + LONG - 1) / LONG, high = unpack.words_of_tile();
  Seen seen = {0, 0};
  Walk tile = Walk::from(blockIdx.x, gridDim.x, across);
  for (; tile.down * HIGH < rows; tile.next()) {
    u32 row0 = tile.down * HIGH, word0 = tile.right * high, here_rows = rows - row0 < HIGH ? rows - row0 : HIGH;
    u32 input0 = tile.right * LONG, here_inputs = inputs - input0 < LONG ? inputs - input0 : LONG;
    // The scales of tables are on their way while words are.
    bool is_looked_up = HAS_TABLES && affine.is_one_group(input0, here_inputs);
    u32 code = threadIdx.x % (TABLE / EACH) * EACH, of = threadIdx.x / (TABLE / EACH);
    Pair pair = {0.0f, 0.0f};
    if (is_looked_up && of < here_rows) pair = affine.pair(first_row + row0 + of, affine.group(input0));
    u32 row = threadIdx.x % HIGH, down = threadIdx.x / HIGH;
    const u32* from = (const u32*)codes + (u64)(word0 + down) * outputs + (first_row + row0 + row);
#pragma unroll 4
    for (u32 k = 0; k < high / (256 / HIGH); ++k) {
      bool is_there = word0 + down < height && row < here_rows;
      shared[down * PITCH + row] = is_there ? *from : 0;
      down += 256 / HIGH;
      from += 256 / HIGH * outputs;
    }
    if constexpr (HAS_TABLES) {
      if (is_looked_up) make_table<EACH>(affine, pair, code, 0, native, tables + (of * TABLE + code) / 2, seen);
    }
    __syncthreads();
    u32 at = threadIdx.x % EIGHTS, input = input0 + at * 8, here = inputs - input < 8 ? inputs - input : 8;
#pragma unroll 1
    for (u32 r = threadIdx.x / EIGHTS; r < here_rows && input < inputs; r += 256 / EIGHTS) {
      u32 to = (row0 + r) * inputs + input;
      if constexpr (HAS_TABLES) {
        if (is_looked_up && here == 8 && to % 8 == 0) {
          u32 word = shared[at * PITCH + r], table = r * TABLE * 2;
          u32 low = low_places(word, table), high = high_places(word, table);
          Four four;
#pragma unroll
          for (u32 k = 0; k < 4; ++k) {
            four.word[k] = entry(tables, low, k, table) | entry(tables, high, k, table) << 16;
          }
          ((Four*)out)[to / 8] = four;
          continue;
        }
      }
      f32 value[8];
      unpack.eight(shared + r, at, value);
      affine.apply(first_row + row0 + r, input, here, value);
      store_some<OUT>(out, to, here, native, value, seen);
    }
    __syncthreads();
  }
  tell(seen, all);
}

AFFINE(gptq4, columns, Fours)
AFFINE(gptq, columns, Planes)

}  // namespace gptq
