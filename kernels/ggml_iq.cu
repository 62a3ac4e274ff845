// ggml's IQ types, whose codes are rows of a grid or of a curved table, and the narrow floats MXFP4 and NVFP4.
// Source: ggml, `ggml-quants.c`, as src/quant/ggml/decode has it. The grids (table 1) are bytes, a row after the other.
#include "blocks.cuh"

// What the values of IQ1_S and IQ1_M are moved by.
#define DELTA 0.125f

DEV f32 code_value(u32 code) { return byte_value(code, 0, 0); }

// Eight signs of seven: the eighth makes their number even.
DEV u32 even(u32 seven) {
  seven &= 127u;
  u32 odd = seven ^ seven >> 4;
  odd ^= odd >> 2;
  odd ^= odd >> 1;
  return seven | (odd & 1u) << 7;
}

// Eight magnitudes times a scale; bit `n` of `signs` is set for a negative element `n`.
DEV void signed_eight(Eight row, f32 scale, u32 signs, f32* value) {
#pragma unroll
  for (u32 n = 0; n < 2; ++n) scaled_bytes(row.word[n], 0, scale, value + 4 * n);
#pragma unroll
  for (u32 k = 0; k < 8; ++k) value[k] = of_bits(bits_of(value[k]) ^ (signs >> k & 1u) << 31);
}

DEV Eight row_of_eight(const Layer& layer, u32 at) { return ((const Eight*)layer.table[1])[at]; }
DEV Eight rows_of_four(const Layer& layer, u32 first, u32 second) {
  const u32* grid = (const u32*)layer.table[1];
  return {{grid[first], grid[second]}};
}

// The scale that a block's and a small one make.
DEV f32 middle(f32 d, u32 code, f32 factor) { return d * (0.5f + code_value(code)) * factor; }

// Sixteen values of a format that gives eight, number `at` of 32.
template <class Format, u32 SIZE>
struct Eights {
  enum : u32 { BYTES = SIZE, VALUES = 256, APART = 8, FLOATS = 0 };
  DEV bool sixteen(const Layer& layer, const f32*, const u8* block, u32 run, u32, f32* value) {
    f32 d = Format::scale(block);
    Format::eight(layer, block, d, 2 * run, value);
    Format::eight(layer, block, d, 2 * run + 1, value + 8);
    return is_finite(d);
  }
};

// Four rows of the grid for 32 elements, then four times seven signs and a scale of 4 bits.
struct Iq2Xxs {
  DEV f32 scale(const u8* block) { return half_at(block); }
  DEV void eight(const Layer& layer, const u8* block, f32 d, u32 at, f32* value) {
    const u8* codes = block + 2 + 8 * (at / 4);
    u32 signs = word_at(codes + 4);
    f32 scale = middle(d, signs >> 28, 0.25f);
    signed_eight(row_of_eight(layer, codes[at % 4]), scale, even(signs >> (7 * (at % 4))), value);
  }
};
using ByIq2Xxs = Eights<Iq2Xxs, 66>;
BLOCKS(iq2_xxs, ByIq2Xxs)

struct Iq2Xs {
  DEV f32 scale(const u8* block) { return half_at(block); }
  DEV void eight(const Layer& layer, const u8* block, f32 d, u32 at, f32* value) {
    u32 code = short_at(block + 2 + 2 * at);
    f32 scale = middle(d, block[66 + at / 4] >> (4 * (at / 2 % 2)) & 15u, 0.25f);
    signed_eight(row_of_eight(layer, code & 511u), scale, even(code >> 9), value);
  }
};
using ByIq2Xs = Eights<Iq2Xs, 74>;
BLOCKS(iq2_xs, ByIq2Xs)

struct Iq2S {
  DEV f32 scale(const u8* block) { return half_at(block); }
  DEV void eight(const Layer& layer, const u8* block, f32 d, u32 at, f32* value) {
    u32 code = block[2 + at] | (block[66 + at / 4] >> (2 * (at % 4)) & 3u) << 8;
    f32 scale = middle(d, block[74 + at / 4] >> (4 * (at / 2 % 2)) & 15u, 0.25f);
    signed_eight(row_of_eight(layer, code), scale, block[34 + at], value);
  }
};
using ByIq2S = Eights<Iq2S, 82>;
BLOCKS(iq2_s, ByIq2S)

struct Iq3Xxs {
  DEV f32 scale(const u8* block) { return half_at(block); }
  DEV void eight(const Layer& layer, const u8* block, f32 d, u32 at, f32* value) {
    u32 word = word_at(block + 66 + 4 * (at / 4)), codes = short_at(block + 2 + 2 * at);
    Eight rows = rows_of_four(layer, codes & 0xffu, codes >> 8);
    signed_eight(rows, middle(d, word >> 28, 0.5f), even(word >> (7 * (at % 4))), value);
  }
};
using ByIq3Xxs = Eights<Iq3Xxs, 98>;
BLOCKS(iq3_xxs, ByIq3Xxs)

struct Iq3S {
  DEV f32 scale(const u8* block) { return half_at(block); }
  DEV void eight(const Layer& layer, const u8* block, f32 d, u32 at, f32* value) {
    u32 codes = short_at(block + 2 + 2 * at), high = block[66 + at / 4] >> (2 * (at % 4));
    Eight rows = rows_of_four(layer, (codes & 0xffu) | (high & 1u) << 8, codes >> 8 | (high >> 1 & 1u) << 8);
    u32 small = block[106 + at / 8] >> (4 * (at / 4 % 2)) & 15u;
    signed_eight(rows, d * code_value(1 + 2 * small), block[74 + at], value);
  }
};
using ByIq3S = Eights<Iq3S, 110>;
BLOCKS(iq3_s, ByIq3S)

// A row of the grid of -1, 0 and 1, moved.
DEV void moved(const Layer& layer, u32 code, f32 scale, bool is_down, f32* value) {
  Eight row = row_of_eight(layer, code);
  f32 delta = is_down ? -DELTA : DELTA;
#pragma unroll
  for (u32 k = 0; k < 8; ++k) value[k] = scale * (byte_value(row.word[k / 4] ^ 0x80808080u, k % 4, 128) + delta);
}

struct Iq1S {
  DEV f32 scale(const u8* block) { return half_at(block); }
  DEV void eight(const Layer& layer, const u8* block, f32 d, u32 at, f32* value) {
    u32 high = short_at(block + 34 + 2 * (at / 4));
    u32 code = block[2 + at] | (high >> (3 * (at % 4)) & 7u) << 8;
    moved(layer, code, d * code_value(2 * (high >> 12 & 7u) + 1), high & 0x8000u, value);
  }
};
using ByIq1S = Eights<Iq1S, 50>;
BLOCKS(iq1_s, ByIq1S)

// The block's scale lies in the upper nibbles of the four words of small scales.
struct Iq1M {
  DEV f32 scale(const u8* block) {
    u32 d = 0;
#pragma unroll
    for (u32 k = 0; k < 4; ++k) d |= (u32)(block[49 + 2 * k] >> 4) << (4 * k);
    return f16_value((u16)d);
  }
  DEV void eight(const Layer& layer, const u8* block, f32 d, u32 at, f32* value) {
    u32 high = block[32 + at / 2] >> (4 * (at % 2)) & 15u;
    u32 code = block[at] | (high & 7u) << 8;
    u32 small = short_at(block + 48 + 2 * (at / 8)) >> (3 * (at / 2 % 4)) & 7u;
    moved(layer, code, d * code_value(2 * small + 1), high & 8u, value);
  }
};
using ByIq1M = Eights<Iq1M, 56>;
BLOCKS(iq1_m, ByIq1M)

// Eight bytes of codes of a table (in shared memory), times a scale: low nibbles, then high ones.
DEV void looked_up(const f32* table, Eight codes, f32 scale, f32* value) {
#pragma unroll
  for (u32 k = 0; k < 8; ++k) {
    u32 byte = codes.word[k / 4] >> (8 * (k % 4));
    value[k] = scale * table[byte & 15u];
    value[8 + k] = scale * table[byte >> 4 & 15u];
  }
}

struct Iq4Nl {
  enum : u32 { BYTES = 18, VALUES = 32, APART = 16, FLOATS = 16 };
  DEV bool sixteen(const Layer&, const f32* table, const u8* block, u32, u32 lane, f32* value) {
    f32 d = half_at(block);
    looked_up(table, eight_at<2>(block + 2 + lane), d, value);
    return is_finite(d);
  }
};
BLOCKS(iq4_nl, Iq4Nl)

struct Iq4Xs {
  enum : u32 { BYTES = 136, VALUES = 256, APART = 16, FLOATS = 16 };
  DEV bool sixteen(const Layer&, const f32* table, const u8* block, u32 run, u32 lane, f32* value) {
    u32 head = *(const u32*)block;
    u32 code = (block[4 + run / 2] >> (4 * (run % 2)) & 15u) | (head >> (16 + 2 * run) & 3u) << 4;
    looked_up(table, eight_at<8>(block + 8 + 16 * run + lane), f16_value((u16)head) * byte_value(code, 0, 32), value);
    return is_finite_half(head);
  }
};
BLOCKS(iq4_xs, Iq4Xs)

// The table has the values of E2M1 doubled, so that the scale is half of what E8M0 means; 255 is 2^127, no NaN.
struct Mxfp4 {
  enum : u32 { BYTES = 17, VALUES = 32, APART = 16, FLOATS = 16 };
  DEV bool sixteen(const Layer&, const f32* table, const u8* block, u32, u32 lane, f32* value) {
    u32 exponent = block[0];
    f32 scale = of_bits(exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23);
    looked_up(table, eight_at<1>(block + 1 + lane), scale, value);
    return true;
  }
};
BLOCKS(ggml_mxfp4, Mxfp4)

// Four scales of 16 elements, E4M3 of which the sign does not count and 0x7f is 0.
struct Nvfp4 {
  enum : u32 { BYTES = 36, VALUES = 64, APART = 8, FLOATS = 16 };
  DEV f32 half_of_e4m3(u32 byte) {
    u32 exponent = byte >> 3 & 15u, mantissa = byte & 7u;
    if (byte == 0x7f) return 0.0f;
    if (exponent == 0) return code_value(mantissa) * of_bits(117u << 23);
    return code_value(8 + mantissa) * of_bits((exponent + 116) << 23);
  }
  DEV bool sixteen(const Layer&, const f32* table, const u8* block, u32 run, u32, f32* value) {
    looked_up(table, eight_at<4>(block + 4 + 8 * run), half_of_e4m3(block[run]), value);
    return true;
  }
};
BLOCKS(ggml_nvfp4, Nvfp4)
