// The K types of ggml around zero: scales of sixteen sub-blocks, a thread each, are searched for, become codes of the
// block's own, and with those, as they are stored, the values are coded anew.
// Rust: src/quant/ggml/encode/k.rs, search.rs; there is the source too.
#include "ggml_encode.cuh"

template <u32 HALF>
DEV i32 code_around(f32 value) {
  return clamped(nearest_int(value), -(i32)HALF, (i32)HALF - 1);
}

DEV f32 largest_of(const f32* x) {
  f32 largest = 0.0f;
#pragma unroll 8
  for (u32 k = 0; k < 16; ++k) largest = magnitude(x[k]) > magnitude(largest) ? x[k] : largest;
  return largest;
}

struct Q3K {
  enum : u32 { BYTES = 110, VALUES = 256, LANES = 16, FLOATS = 0, HALF = 4 };
  using Block = Block256;

  // Moves one code at a time, at most five times through all; codes count from 0.
  DEV f32 descent(const f32* x, f32 largest, u8* codes) {
    f32 products = 0.0f, squares = 0.0f, inverse = -(f32)HALF / largest;
#pragma unroll 8
    for (u32 k = 0; k < 16; ++k) {
      i32 of = code_around<HALF>(inverse * x[k]);
      codes[k] = (u8)(of + (i32)HALF);
      f32 weight = x[k] * x[k], code = (f32)of;
      products = products + weight * x[k] * code;
      squares = squares + weight * code * code;
    }
    bool is_changed = true;
#pragma unroll 1
    for (u32 times = 0; times < 5 && is_changed; ++times) {
      is_changed = false;
#pragma unroll 8
      for (u32 k = 0; k < 16; ++k) {
        i32 stored = (i32)codes[k] - (i32)HALF;
        f32 weight = x[k] * x[k], is = (f32)stored;
        f32 product = products - weight * x[k] * is, square = squares - weight * is * is;
        i32 code = code_around<HALF>(x[k] * square / product);
        f32 to = (f32)code, moved = product + weight * x[k] * to, moved_square = square + weight * to * to;
        if (product > 0.0f && code != stored && moved_square > 0.0f &&
            moved * moved * squares > products * products * moved_square) {
          codes[k] = (u8)(code + (i32)HALF);
          products = moved;
          squares = moved_square;
          is_changed = true;
        }
      }
    }
    return !is_nothing(largest) && squares > 0.0f ? products / squares : 0.0f;
  }

  DEV void make(const Layer&, const f32*, const f32* x, u32 lane, Block& block, u32& refused) {
    u8* codes = block.code + 16 * lane;
    f32 largest = largest_of(x), found = descent(x, largest, codes), widest = widest_of<LANES>(found, lane);
    f32 scale = 0.0f;
    i32 scale_code = -32;
    // The bytes of scales of a block without any are 0, which reads as -32.
    if (widest != 0.0f) {
      f32 inverse = -32.0f / widest;
      scale_code = clamped((i8)nearest_int(inverse * found), -32, 31);
      scale = 1.0f / inverse;
    }
    scale = put_half(block.half[0], scale, lane, refused) * (f32)scale_code;
    block.scale[lane] = (u8)(scale_code + 32);
#pragma unroll 8
    for (u32 k = 0; k < 16; ++k) {
      if (scale != 0.0f) codes[k] = (u8)(code_around<HALF>(x[k] / scale) + (i32)HALF);
      else if (is_nothing(largest)) codes[k] = 0;
    }
  }

  DEV u8 byte(const Block& block, u32 at) {
    if (at < 32) return planes(block.code, at, 2);
    if (at < 96) return pairs(block.code, at - 32);
    if (at >= 108) return half_byte(block.half, at - 108);
    u32 n = at - 96, bits = 0;
    if (n < 8) return (u8)((block.scale[n] & 15u) | (u32)block.scale[n + 8] << 4);
    for (u32 k = 0; k < 4; ++k) bits |= (u32)(block.scale[n - 8 + 4 * k] >> 4) << (2 * k);
    return (u8)bits;
  }
};
BLOCKS_OF(q3_k, Q3K)

struct Q6K {
  enum : u32 { BYTES = 210, VALUES = 256, LANES = 16, FLOATS = 0, HALF = 32 };
  using Block = Block256;

  // Of 19 scales the one with the least error, with squares as weights. Leaves the inverse by which values get their codes.
  DEV f32 symmetric(const f32* x, f32 largest, f32& chosen) {
    f32 scale = 0.0f, best = 0.0f;
#pragma unroll 1
    for (u32 at = 0; at < 19; ++at) {
      // The one by the largest value comes first, then nine tenths more down to nine less without it.
      i32 step = at == 0 ? 0 : at < 10 ? (i32)at - 10 : (i32)at - 9;
      f32 inverse = -((f32)HALF + 0.1f * (f32)step) / largest, products = 0.0f, squares = 0.0f;
#pragma unroll 8
      for (u32 k = 0; k < 16; ++k) {
        f32 weight = x[k] * x[k], code = (f32)code_around<HALF>(inverse * x[k]);
        products = products + weight * x[k] * code;
        squares = squares + weight * code * code;
      }
      if (at == 0 || (squares > 0.0f && products * products > best * squares)) {
        scale = squares == 0.0f ? 0.0f : products / squares;
        chosen = inverse;
        best = scale * products;
      }
    }
    return is_nothing(largest) ? 0.0f : scale;
  }

  DEV void make(const Layer&, const f32*, const f32* x, u32 lane, Block& block, u32& refused) {
    f32 chosen = 0.0f, largest = largest_of(x), found = symmetric(x, largest, chosen);
    f32 widest = widest_of<LANES>(found, lane);
    bool is_blank = is_nothing(widest);
    f32 inverse = -128.0f / widest, scale = put_half(block.half[0], is_blank ? 0.0f : 1.0f / inverse, lane, refused);
    i32 scale_code = nearest_int(inverse * found);
    i8 stored = is_blank ? 0 : (i8)(scale_code < 127 ? scale_code : 127);
    block.scale[lane] = (u8)stored;
    scale = scale * (f32)stored;
#pragma unroll 8
    for (u32 k = 0; k < 16; ++k) {
      // With a scale of 0 the codes of the search stay: those of a sub-block of zeros are 0.
      u8 code = (u8)(code_around<HALF>(scale != 0.0f ? x[k] / scale : chosen * x[k]) + (i32)HALF);
      bool has_none = is_blank || (scale == 0.0f && is_nothing(largest));
      block.code[16 * lane + k] = has_none ? 0 : code;
    }
  }

  DEV u8 byte(const Block& block, u32 at) {
    if (at >= 208) return half_byte(block.half, at - 208);
    if (at >= 192) return block.scale[at - 192];
    if (at < 128) {
      const u8* codes = block.code + at / 64 * 128 + at % 64;
      return (u8)((codes[0] & 15u) | (u32)codes[64] << 4);
    }
    const u8* codes = block.code + (at - 128) / 32 * 128 + at % 32;
    u32 bits = 0;
    for (u32 k = 0; k < 4; ++k) bits |= (u32)(codes[32 * k] >> 4) << (2 * k);
    return (u8)bits;
  }
};
BLOCKS_OF(q6_k, Q6K)
