// ggml's types of 32 values with one scale, and a minimum or none, coded by their range; ternary ones; and MXFP4.
// Rust: src/quant/ggml/encode/legacy.rs, small.rs; there is the source too.
#include "ggml_encode.cuh"

template <u32 N>
DEV f32 largest_magnitude(const f32* x) {
  f32 largest = 0.0f;
#pragma unroll 8
  for (u32 k = 0; k < N; ++k) largest = magnitude(x[k]) > largest ? magnitude(x[k]) : largest;
  return largest;
}

// Byte `at` of the fifth bits.
DEV u8 fifth_bits(const u8* codes, u32 at) {
  u32 bits = 0;
#pragma unroll
  for (u32 k = 0; k < 8; ++k) bits |= (codes[8 * at + k] >> 4 & 1u) << k;
  return (u8)bits;
}

struct Q80 {
  enum : u32 { BYTES = 34, VALUES = 32, LANES = 1, FLOATS = 0 };
  using Block = Block32;
  DEV void make(const Layer&, const f32*, const f32* x, u32 lane, Block& block, u32& refused) {
    f32 scale = largest_magnitude<32>(x) / 127.0f, inverse = inverse_of(scale);
    put_half(block.half[0], scale, lane, refused);
#pragma unroll 8
    for (u32 k = 0; k < 32; ++k) block.code[k] = (u8)cut_off(roundf(x[k] * inverse));
  }
  DEV u8 byte(const Block& block, u32 at) { return at < 2 ? half_byte(block.half, at) : block.code[at - 2]; }
};
BLOCKS_OF(q8_0, Q80)

// Codes around `MIDDLE`: the scale is of the value of the largest magnitude.
template <u32 MIDDLE, u32 TOP>
struct Around {
  enum : u32 { FIFTH = MIDDLE == 16 ? 4 : 0, BYTES = 18 + FIFTH, VALUES = 32, LANES = 1, FLOATS = 0 };
  using Block = Block32;
  DEV void make(const Layer&, const f32*, const f32* x, u32 lane, Block& block, u32& refused) {
    f32 largest = 0.0f;
#pragma unroll 8
    for (u32 k = 0; k < 32; ++k) largest = magnitude(x[k]) > magnitude(largest) ? x[k] : largest;
    f32 scale = largest / -(f32)MIDDLE, inverse = inverse_of(scale);
    put_half(block.half[0], scale, lane, refused);
#pragma unroll 8
    for (u32 k = 0; k < 32; ++k) {
      i8 code = (i8)cut_off(x[k] * inverse + ((f32)MIDDLE + 0.5f));
      block.code[k] = (u8)(code < (i8)TOP ? code : (i8)TOP);
    }
  }
  DEV u8 byte(const Block& block, u32 at) {
    if (at < 2) return half_byte(block.half, at);
    return at < 2 + FIFTH ? fifth_bits(block.code, at - 2) : nibbles(block.code, at - 2 - FIFTH, 16);
  }
};
using Q40 = Around<8, 15>;
using Q50 = Around<16, 31>;
BLOCKS_OF(q4_0, Q40)
BLOCKS_OF(q5_0, Q50)

// Codes above the smallest value. Those of five bits are cut off to eight bits, and keep five.
template <u32 STEPS>
struct Above {
  enum : u32 { FIFTH = STEPS == 31 ? 4 : 0, BYTES = 20 + FIFTH, VALUES = 32, LANES = 1, FLOATS = 0 };
  using Block = Block32;
  DEV void make(const Layer&, const f32*, const f32* x, u32 lane, Block& block, u32& refused) {
    f32 min = 3.402823466e38f, max = -3.402823466e38f;
#pragma unroll 8
    for (u32 k = 0; k < 32; ++k) {
      min = x[k] < min ? x[k] : min;
      max = x[k] > max ? x[k] : max;
    }
    f32 scale = (max - min) / (f32)STEPS, inverse = inverse_of(scale);
    put_half(block.half[0], scale, lane, refused);
    put_half(block.half[1], min, lane, refused);
#pragma unroll 8
    for (u32 k = 0; k < 32; ++k) {
      i32 code = cut_off((x[k] - min) * inverse + 0.5f);
      block.code[k] = (u8)(STEPS == 31 || (i8)code < 15 ? code : 15);
    }
  }
  DEV u8 byte(const Block& block, u32 at) {
    if (at < 4) return half_byte(block.half, at);
    return at < 4 + FIFTH ? fifth_bits(block.code, at - 4) : nibbles(block.code, at - 4 - FIFTH, 16);
  }
};
using Q41 = Above<15>;
using Q51 = Above<31>;
BLOCKS_OF(q4_1, Q41)
BLOCKS_OF(q5_1, Q51)

// Ternary: digits 0, 1 and 2 of values that are -1, 0 and 1 times the block's largest magnitude. A thread has 32 of them.
template <u32 LANES>
DEV void digits(const f32* x, u32 lane, Block256& block, u32& refused) {
  f32 scale = largest_magnitude<32>(x);
#pragma unroll
  for (u32 apart = 1; apart < LANES; apart *= 2) {
    f32 other = SHFL_XOR(scale, apart);
    scale = other > scale ? other : scale;
  }
  f32 inverse = inverse_of(scale);
  put_half(block.half[0], scale, lane, refused);
#pragma unroll 8
  for (u32 k = 0; k < 32; ++k) {
    f32 digit = roundf(x[k] * inverse);
    block.code[32 * lane + k] = (u8)((is_finite(digit) ? (i32)digit : 0) + 1);
  }
}

// The byte of digits to base 3, `apart` from each other: a fraction of 256, rounded up.
DEV u8 fraction(const u8* from, u32 count, u32 apart) {
  u32 number = 0;
#pragma unroll
  for (u32 k = 0; k < 5; ++k) number = (number * 3 + (k < count ? from[k * apart] : 0u)) & 0xffu;
  return (u8)(((number * 256 + 242) & 0xffffu) / 243);
}

struct Tq10 {
  enum : u32 { BYTES = 54, VALUES = 256, LANES = 8, FLOATS = 0 };
  using Block = Block256;
  DEV void make(const Layer&, const f32*, const f32* x, u32 lane, Block& block, u32& refused) {
    digits<LANES>(x, lane, block, refused);
  }
  DEV u8 byte(const Block& block, u32 at) {
    if (at >= 52) return half_byte(block.half, at - 52);
    if (at < 32) return fraction(block.code + at, 5, 32);
    return at < 48 ? fraction(block.code + 160 + at - 32, 5, 16) : fraction(block.code + 240 + at - 48, 4, 4);
  }
};
BLOCKS_OF(tq1_0, Tq10)

struct Tq20 {
  enum : u32 { BYTES = 66, VALUES = 256, LANES = 8, FLOATS = 0 };
  using Block = Block256;
  DEV void make(const Layer&, const f32*, const f32* x, u32 lane, Block& block, u32& refused) {
    digits<LANES>(x, lane, block, refused);
  }
  DEV u8 byte(const Block& block, u32 at) {
    return at < 64 ? pairs(block.code, at) : half_byte(block.half, at - 64);
  }
};
BLOCKS_OF(tq2_0, Tq20)

// 4-bit floats that share a power of two; a thread has four of them.
// table: 0 of each power of two from the smallest float on, how many of the last floats below the next are rounded up to it.
struct Mxfp4 {
  enum : u32 { BYTES = 17, VALUES = 32, LANES = 8, FLOATS = 0 };
  struct Block {
    u8 code[32];
    u8 exponent;
  };
  // Whole steps of log2, as the processor rounds it.
  DEV i32 power(const u8* rounded_up, f32 largest) {
    u32 bits = bits_of(largest);
    if (bits >> 23) {
      i32 power = (i32)(bits >> 23) - 127;
      return power + (0x800000u - (bits & 0x7fffffu) <= rounded_up[power + 149]);
    }
    u32 place = (bits_of((f32)bits) >> 23) - 127;
    return (i32)place - 149 + ((2u << place) - bits <= rounded_up[place]);
  }
  DEV void make(const Layer& layer, const f32*, const f32* x, u32 lane, Block& block, u32&) {
    f32 largest = largest_magnitude<4>(x);
#pragma unroll
    for (u32 apart = 1; apart < LANES; apart *= 2) {
      f32 other = SHFL_XOR(largest, apart);
      largest = other > largest ? other : largest;
    }
    // What has no code is refused: its power of two is not looked up.
    bool has_power = largest > 0.0f && is_finite(largest);
    u32 exponent = has_power ? (u8)(power(layer.table[0], largest) + 125) : 0;
    f32 scale = of_bits(exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23);
    // Twice the values of the codes, four bits each.
    u64 doubled = 0xc8643210ull;
#pragma unroll
    for (u32 k = 0; k < 4; ++k) {
      f32 least = magnitude(0.0f * scale - x[k]);
      u32 best = 0;
#pragma unroll
      for (u32 code = 1; code < 16; ++code) {
        f32 value = (f32)(u32)(doubled >> (4 * (code & 7u)) & 15u);
        f32 error = magnitude((code & 8u ? -value : value) * scale - x[k]);
        best = error < least ? code : best;
        least = error < least ? error : least;
      }
      block.code[4 * lane + k] = (u8)best;
    }
    if (lane == 0) block.exponent = (u8)exponent;
  }
  DEV u8 byte(const Block& block, u32 at) { return at == 0 ? block.exponent : nibbles(block.code, at - 1, 16); }
};
BLOCKS_OF(mxfp4, Mxfp4)
