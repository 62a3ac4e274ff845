// Codes of 4 bits, eight to a word of 32 bits.
#include "affine.cuh"

namespace words {

using namespace affine;

// The nibbles of a word's eight codes, and whether these are signed. number: 6 the nibbles, first code in the low bits,
// above 32 bits 8 for signed codes, 0 for others.
struct Nibbles {
  u32 places, sign;

  DEV Nibbles of(const Layer& layer) { return {(u32)layer.number[6], (u32)(layer.number[6] >> 32)}; }

  u32 place(u32 at) const { return places >> (4 * at) & 7u; }
  f32 value(u32 word, u32 at) const {
    u32 code = word >> (4 * place(at)) & 15u;
    return number_of(code ^ sign) - (f32)sign;
  }
};

enum : u32 {
  HIGH = 256,  // outputs of a tile
  LONG = 128,  // inputs of a tile
  ACROSS = HIGH / 8,
  EIGHTS = LONG / 8,
};

// Where shared memory has a word of a tile: eights of inputs begin in different banks.
DEV u32 slot(u32 input, u32 word) { return input * ACROSS + (word + input / 8 * 2) % ACROSS; }
// Where it has the table of an output, in bytes: those of neighboring words begin in different banks.
DEV u32 table_of(u32 row) { return (row + row / 8) * (TABLE * 2); }

// Turns four words: byte `n` of each into word `n`.
DEV void turn(u32* word) {
  u32 low[2] = {permuted(word[0], word[1], 0x5140u), permuted(word[2], word[3], 0x5140u)};
  u32 high[2] = {permuted(word[0], word[1], 0x7362u), permuted(word[2], word[3], 0x7362u)};
  word[0] = permuted(low[0], low[1], 0x5410u);
  word[1] = permuted(low[0], low[1], 0x7632u);
  word[2] = permuted(high[0], high[1], 0x5410u);
  word[3] = permuted(high[0], high[1], 0x7632u);
}

// Words of eight outputs each, `[in, out / 8]`: AWQ's gemm, quark's groups. A block turns tiles of 256 outputs and 128
// inputs, a thread twice eight of either. Outputs have each a row of scales, or all one.
// number: 5 words of a row.
// Source: AutoAWQ `utils/packing_utils.py`; quark 0.13 `torch/utils/pack.py`.
template <class Order, u32 OUT>
DEV void down(const Layer& layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) {
  constexpr bool HAS_TABLES = OUT == BF16;
  static __shared__ u32 shared[LONG * ACROSS];
  static __shared__ u32 tables[HAS_TABLES ? (HIGH + HIGH / 8) * TABLE / 2 : 1];
  Affine affine = Affine::of(layer);
  Order order = Order::of(layer);
  u64 wide = layer.number[5];
  u32 inputs = affine.inputs, first_row = (u32)(first / inputs), rows = (u32)count / inputs;
  // A tile begins with a word, which may hold rows before those that are asked for.
  u32 before = first_row % 8, first_word = first_row / 8;
  u32 across = (inputs + LONG - 1) / LONG, outputs = 0;
#pragma unroll
  for (u32 k = 0; k < 8; ++k) outputs |= k << (4 * order.place(k));
  Seen seen = {0, 0};
  Walk tile = Walk::from(blockIdx.x, gridDim.x, across);
  for (; tile.down * HIGH < before + rows; tile.next()) {
    u32 row0 = tile.down * HIGH, word0 = first_word + row0 / 8, input0 = tile.right * LONG;
    u32 here_inputs = inputs - input0 < LONG ? inputs - input0 : LONG;
    // The scales of tables are on their way while words are.
    bool is_looked_up = HAS_TABLES && inputs % 8 == 0 && affine.is_one_group(input0, here_inputs);
    u32 own = row0 + threadIdx.x;
    bool is_own = is_looked_up && own >= before && own - before < rows;
    Pair pair = {0.0f, 0.0f};
    if (is_own) pair = affine.pair(affine.high * (first_row + (own - before)), affine.group(input0));
    u32 word = threadIdx.x % ACROSS, down = threadIdx.x / ACROSS;
    const u32* from = (const u32*)codes + (u64)(input0 + down) * wide + word0 + word;
#pragma unroll 8
    for (u32 k = 0; k < LONG * ACROSS / 256; ++k) {
      shared[slot(down, word)] = down < here_inputs && word0 + word < wide ? *from : 0;
      down += 256 / ACROSS;
      from += 256 / ACROSS * wide;
    }
    if constexpr (HAS_TABLES) {
      u32* table = tables + table_of(threadIdx.x) / 4;
      if (is_own) make_table<TABLE>(affine, pair, 0, order.sign, native, table, seen);
    }
    __syncthreads();
    u32 at = threadIdx.x % EIGHTS, input = input0 + at * 8, here = inputs - input < 8 ? inputs - input : 8;
#pragma unroll 1
    for (u32 group = threadIdx.x / EIGHTS; group < ACROSS && input < inputs; group += 256 / EIGHTS) {
      u32 top = row0 + group * 8;
      if constexpr (HAS_TABLES) {
        if (is_looked_up) {
          const u32* column = shared + slot(at * 8, group);
          u32 turned[8];
#pragma unroll
          for (u32 j = 0; j < 8; ++j) turned[j] = column[j * ACROSS];
          turn(turned);
          turn(turned + 4);
          // Nibble after nibble, whichever output has it.
#pragma unroll
          for (u32 place = 0; place < 8; ++place) {
            u32 k = outputs >> (4 * place) & 7u, row = top + k, table = table_of(group * 8 + k);
            if (row < before || row - before >= rows) continue;
            Four four;
#pragma unroll
            for (u32 n = 0; n < 4; ++n) {
              u32 codes = turned[n / 2 * 4 + place / 2];
              u32 places = place % 2 ? high_places(codes, table) : low_places(codes, table);
              four.word[n] = entry(tables, places, n % 2 * 2, table) | entry(tables, places, n % 2 * 2 + 1, table) << 16;
            }
            ((Four*)out)[((row - before) * inputs + input) / 8] = four;
          }
          continue;
        }
      }
#pragma unroll 1
      for (u32 k = 0; k < 8; ++k) {
        u32 row = top + k;
        if (row >= before && row - before < rows) {
          f32 value[8];
#pragma unroll
          for (u32 j = 0; j < 8; ++j) value[j] = order.value(shared[slot(at * 8 + j, group)], k);
          affine.apply(affine.high * (first_row + (row - before)), input, here, value);
          store_some<OUT>(out, (row - before) * inputs + input, here, native, value, seen);
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
