// Codes of 1 to 8 bits that follow each other, with scales (and offsets) in a grid over the rows of each matrix: fp8,
// modelopt, the float codes of compressed-tensors, torchao, quark, MLX, quanto's bytes, and bitsandbytes' int8.
// Rust: src/quant/decode/grid.rs.
#include "rows.cuh"

// What codes mean.
struct E4m3 {
  enum : u32 { SHARED = 0, SIXTEEN = 1 };
  // The fields of a byte are those of a float that is 2^120 times smaller; NaN is by itself.
  DEV f32 field(u32 above) { return of_bits((u32)((i32)above >> 4) & 0x87f00000u) * of_bits((120 + 127) << 23); }
  DEV f32 value(const f32*, u32 code) {
    return (code & 0x7fu) == 0x7fu ? of_bits(0x7fc00000u) : field(code << 24);
  }
  // Returns true if none of eight is NaN; if one is, the first becomes it, which is enough.
  DEV bool eight(const f32*, Two two, f32* value) {
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = field(two.word[k / 4] << (24 - 8 * (k % 4)));
    u32 beyond = ((two.word[0] & 0x7f7f7f7fu) + 0x01010101u) | ((two.word[1] & 0x7f7f7f7fu) + 0x01010101u);
    if (beyond & 0x80808080u) value[0] = of_bits(0x7fc00000u);
    return !(beyond & 0x80808080u);
  }
};
// What has no shorter way.
template <class Codes>
struct Bytes : Codes {
  DEV bool eight(const f32* table, Two two, f32* value) {
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = Codes::value(table, two.word[k / 4] >> (8 * (k % 4)) & 0xffu);
    return false;
  }
};
struct Int8 {
  enum : u32 { SHARED = 0, SIXTEEN = 0 };
  DEV f32 value(const f32*, u32 code) { return (f32)(i8)(u8)code; }
};
template <u32 COUNT>
struct Table {
  enum : u32 { SHARED = COUNT, SIXTEEN = 0 };
  DEV f32 value(const f32* table, u32 code) { return table[code]; }
};

// How codes lie: bytes, nibbles, so many bits as the layer says, or nibbles of two rows in a byte, the first the low one.
enum : u32 { BYTES, NIBBLES, BITS, PAIRS_OF_ROWS };

// The bits of `layer.number[8]` that are the formula: none for `PRODUCT` that is not rounded.
enum : u32 { FORMULA = 0xffffffu };

// table: 0 values of codes, 1 scales, 2 offsets or none, 3 factors of columns or none.
// number: 0 columns of a row, 1 they as a divisor, 2 rows of a matrix, 3 they as a divisor, 4 rows of a block as a divisor,
// 5 columns of a block, 6 they as a divisor, 7 scales of a row of blocks and, in the upper half, of a matrix, 8 the formula
// and, from bit 24 on, the bits of a code, 9 the formula's factor.
template <class Codes, u32 LIE, bool DIVIDES = false>
struct Scaled {
  enum : u32 { SHARED = Codes::SHARED, SIXTEEN = Codes::SIXTEEN };
  struct Rows {
    Formula formula;
    u32 columns, wide, row0;
  };

  DEV u32 held(const Layer& layer) { return 1u << (layer.number[8] >> 24 & 0xff); }

  DEV Rows begin(const Layer& layer, u64 first, u64) {
    return {formula_of(layer.number[8], layer.number[9]), (u32)layer.number[0], (u32)layer.number[5],
            row_of(first, (u32)layer.number[0], layer.number[1])};
  }

  // Where the scale of a row's first column is.
  DEV u32 line(const Layer& layer, u32 row) {
    u32 matrix = quotient(row, layer.number[3]), output = row - matrix * (u32)layer.number[2];
    return matrix * (u32)(layer.number[7] >> 32) + quotient(output, layer.number[4]) * (u32)layer.number[7];
  }

  DEV void codes_of(const Rows& rows, const Layer& layer, const f32* table, const u8* codes, u32 at, u32 count, u32 row,
                    u32 column, f32* value) {
    if constexpr (LIE == BYTES) {
      if (count == 8) {
        Codes::eight(table, ((const Two*)codes)[at / 8], value);
      } else {
#pragma unroll
        for (u32 k = 0; k < 8; ++k) value[k] = k < count ? Codes::value(table, codes[at + k]) : 0.0f;
      }
    } else if constexpr (LIE == PAIRS_OF_ROWS) {
      // Behind the first row of a pair its bytes come again, behind the second those of the next pair.
      const u8* from = codes + (u64)(row / 2 - rows.row0 / 2) * rows.columns + column;
      u32 is_second = row % 2;
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        u32 byte = k < count ? from[0] : 0;
        value[k] = Codes::value(table, byte >> (is_second * 4) & 15u);
        ++from, ++column;
        if (column == rows.columns) {
          if (!is_second) from -= column;
          is_second ^= 1, column = 0;
        }
      }
    } else {
      u32 bits = LIE == NIBBLES ? 4 : (u32)(layer.number[8] >> 24 & 0xff);
      u64 word = 0;
      if (LIE == NIBBLES && count == 8) {
        word = ((const u32*)codes)[at / 8];
      } else {
        const u8* from = codes + at / 8 * bits;
        for (u32 k = 0; k < (count * bits + 7) / 8; ++k) word |= (u64)from[k] << (8 * k);
      }
#pragma unroll
      for (u32 k = 0; k < 8; ++k) value[k] = Codes::value(table, (u32)(word >> (bits * k)) & ((1u << bits) - 1));
    }
  }

  // Sixteen of one block whose products are not rounded, as in most layers.
  DEV bool sixteen(const Rows& rows, const Layer& layer, const f32* table, const u8* codes, u32 at, f32* value,
                   bool& is_tame) {
    u32 below = quotient(at, layer.number[1]), row = rows.row0 + below, column = at - below * rows.columns;
    u32 block = quotient(column, layer.number[6]), left = rows.wide - (column - block * rows.wide);
    if (rows.columns - column < 72 || left < 72 || layer.number[8] & FORMULA || layer.table[3]) return false;
    Two first = ((const Two*)codes)[at / 8], second = ((const Two*)codes)[at / 8 + 8];
    f32 scale = ((const f32*)layer.table[1])[line(layer, row) + block];
    is_tame = Codes::eight(table, first, value);
    is_tame &= Codes::eight(table, second, value + 8) && is_finite(scale);
#pragma unroll
    for (u32 k = 0; k < 16; ++k) value[k] = value[k] * scale;
    return true;
  }

  DEV void eight(const Rows& rows, const Layer& layer, const f32* table, const u8* codes, u32 at, u32 count, f32* value) {
    u32 below = quotient(at, layer.number[1]);
    u32 row = rows.row0 + below, column = at - below * rows.columns;
    codes_of(rows, layer, table, codes, at, count, row, column, value);
    const f32 *scales = (const f32*)layer.table[1], *offsets = (const f32*)layer.table[2];
    u32 block = quotient(column, layer.number[6]);
    if (rows.columns - column >= 8 && rows.wide - (column - block * rows.wide) >= 8) {
      u32 place = line(layer, row) + block;
      f32 scale[8], offset[8], one = scales[place], other = offsets ? offsets[place] : 0.0f;
#pragma unroll
      for (u32 k = 0; k < 8; ++k) scale[k] = one, offset[k] = other;
      apply<DIVIDES>(rows.formula, value, scale, offset);
    } else {
      u32 start = line(layer, row), to_column = column;
      // One after the other: each changes places with the next.
#pragma unroll 1
      for (u32 k = 0; k < 8; ++k) {
        u32 place = start + quotient(to_column, layer.number[6]);
        f32 scale = k < count ? scales[place] : 1.0f, offset = k < count && offsets ? offsets[place] : 0.0f;
        f32 first = value[0];
        apply<DIVIDES, 1>(rows.formula, &first, &scale, &offset);
#pragma unroll
        for (u32 j = 0; j < 7; ++j) value[j] = value[j + 1];
        value[7] = first;
        ++to_column;
        if (to_column == rows.columns && k + 1 < count) start = line(layer, ++row), to_column = 0;
      }
    }
    round_all<8>(rows.formula.outer, value);
    if (const f32* factors = (const f32*)layer.table[3]) {
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        if (k < count) value[k] = value[k] * factors[column];
        ++column;
        if (column == rows.columns) column = 0;
      }
    }
  }
};
ROWS(scaled_e4m3, Scaled<E4m3, BYTES>)
ROWS(scaled_int8, Scaled<Bytes<Int8>, BYTES>)
ROWS(scaled_bytes, Scaled<Bytes<Table<256>>, BYTES, true>)
ROWS(scaled_nibbles, Scaled<Table<16>, NIBBLES>)
ROWS(scaled_bits, Scaled<Table<128>, BITS>)
ROWS(scaled_pairs, Scaled<Table<16>, PAIRS_OF_ROWS>)
