// Four-bit codes of a curved table: for each 32 values the scale is searched for, with squares as weights.
// table: 0 the curve's 16 values, and behind them the 15 middles between neighbors.
// Rust: src/quant/ggml/encode/iq4.rs; there is the source too.
#include "ggml_encode.cuh"

// The code whose value is nearest; of two the upper one. What is no number gets the last code.
DEV u32 curve_code(const f32* table, f32 value) {
  const f32* middles = table + 16;
  u32 code = value < middles[7] ? 0 : 8;
  code += value < middles[code + 3] ? 0 : 4;
  code += value < middles[code + 1] ? 0 : 2;
  code += value < middles[code] ? 0 : 1;
  return code;
}

// The scale with the least error: of 16, one by the largest value, and 15 around it.
DEV f32 scale_of(const f32* table, const f32* x) {
  f32 largest = 0.0f;
#pragma unroll 8
  for (u32 k = 0; k < 32; ++k) largest = magnitude(x[k]) > magnitude(largest) ? x[k] : largest;
  f32 end = table[0], scale = 0.0f, best = 0.0f;
#pragma unroll 1
  for (u32 step = 0; step < 16; ++step) {
    f32 inverse = step == 0 ? 1.0f / (-largest / end) : ((f32)step - 8.0f + end) / largest;
    f32 product = 0.0f, square = 0.0f;
#pragma unroll 4
    for (u32 k = 0; k < 32; ++k) {
      f32 weight = x[k] * x[k], near = table[curve_code(table, inverse * x[k])];
      product = product + weight * near * x[k];
      square = square + weight * near * near;
    }
    if (step == 0 || (square > 0.0f && product * product > best * square)) {
      scale = square > 0.0f ? product / square : 0.0f;
      best = scale * product;
    }
  }
  return is_nothing(largest) ? 0.0f : scale;
}

DEV void curve_codes(const f32* table, const f32* x, f32 scale, u8* codes) {
  f32 inverse = inverse_of(scale);
#pragma unroll 4
  for (u32 k = 0; k < 32; ++k) codes[k] = (u8)curve_code(table, inverse * x[k]);
}

struct Iq4Nl {
  enum : u32 { BYTES = 18, VALUES = 32, LANES = 1, FLOATS = 31 };
  using Block = Block32;
  DEV void make(const Layer&, const f32* table, const f32* x, u32 lane, Block& block, u32& refused) {
    f32 scale = scale_of(table, x);
    put_half(block.half[0], scale, lane, refused);
    curve_codes(table, x, scale, block.code);
  }
  DEV u8 byte(const Block& block, u32 at) {
    return at < 2 ? half_byte(block.half, at) : nibbles(block.code, at - 2, 16);
  }
};
BLOCKS_OF(iq4_nl, Iq4Nl)

// Eight scales of six bits count from -32: nibbles, and two bits more of each in two bytes before.
struct Iq4Xs {
  enum : u32 { BYTES = 136, VALUES = 256, LANES = 8, FLOATS = 31 };
  using Block = Block256;
  DEV void make(const Layer&, const f32* table, const f32* x, u32 lane, Block& block, u32& refused) {
    f32 scale = scale_of(table, x), whole = -widest_of<LANES>(scale, lane) / 32.0f;
    i32 code = clamped(nearest_int(inverse_of(whole) * scale), -32, 31);
    curve_codes(table, x, whole * (f32)code, block.code + 32 * lane);
    block.scale[lane] = (u8)(code + 32);
    put_half(block.half[0], whole, lane, refused);
  }
  DEV u8 byte(const Block& block, u32 at) {
    if (at < 2) return half_byte(block.half, at);
    if (at >= 8) return nibbles(block.code, at - 8, 16);
    u32 bits = 0;
    if (at < 4) {
      for (u32 k = 0; k < 4; ++k) bits |= (block.scale[4 * (at - 2) + k] >> 4 & 3u) << (2 * k);
    } else {
      bits = (block.scale[2 * (at - 4)] & 15u) | (block.scale[2 * (at - 4) + 1] & 15u) << 4;
    }
    return (u8)bits;
  }
};
BLOCKS_OF(iq4_xs, Iq4Xs)
