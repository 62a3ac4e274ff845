// ggml's K types, and the types of one scale a block.
// Source: ggml, `ggml-quants.c`, as src/quant/ggml/decode has it.
#include "blocks.cuh"

enum : u32 { NIBBLES = 0x0f0f0f0fu, PAIRS = 0x03030303u, BITS = 0x01010101u };

// 256 values of 2 bits: byte `l` of 32 holds those of elements l, l + 32, l + 64, l + 96; a scale and a minimum of 4
// bits for 16.
struct Q2K {
  enum : u32 { BYTES = 84, VALUES = 256, APART = 64, FLOATS = 0 };
  DEV bool sixteen(const Layer&, const f32*, const u8* block, u32 run, u32 lane, f32* value) {
    Eight codes = eight_at<4>(block + 16 + 32 * run + lane % 32);
    u32 halves = *(const u32*)(block + 80);
    f32 d = f16_value((u16)halves), dmin = f16_value((u16)(halves >> 16));
    u32 plane = lane / 32, sub = 8 * run + 2 * plane + lane / 16 % 2;
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
      u32 both = block[sub + 4 * k];
      f32 scale = d * byte_value(both & 15u, 0, 0), min = dmin * byte_value(both >> 4, 0, 0);
#pragma unroll
      for (u32 n = 0; n < 2; ++n) {
        sums_of_bytes(codes.word[n] >> (2 * plane + 4 * k) & PAIRS, scale, -min, value + 8 * k + 4 * n);
      }
    }
    return is_finite_half(halves) && is_finite_half(halves >> 16);
  }
};
BLOCKS(q2_k, Q2K)

// As Q2_K, with a third bit in bytes of its own, and scales of 6 bits: nibbles, and two bits more in four bytes behind.
struct Q3K {
  enum : u32 { BYTES = 110, VALUES = 256, APART = 64, FLOATS = 0 };
  DEV bool sixteen(const Layer&, const f32*, const u8* block, u32 run, u32 lane, f32* value) {
    Eight codes = eight_at<2>(block + 32 + 32 * run + lane % 32), high = eight_at<2>(block + lane % 32);
    u32 d_bits = short_at(block + 108), plane = lane / 32;
    f32 d = f16_value((u16)d_bits);
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
      u32 sub = 2 * (plane + 2 * k) + lane / 16 % 2, quarter = 4 * run + plane + 2 * k;
      u32 low = block[96 + sub] >> (4 * run) & 15u;
      u32 code = low | (block[104 + sub % 4] >> (2 * (2 * run + sub / 4)) & 3u) << 4;
      f32 scale = d * byte_value(code, 0, 32);
#pragma unroll
      for (u32 n = 0; n < 2; ++n) {
        u32 word = (codes.word[n] >> (2 * plane + 4 * k) & PAIRS) | (high.word[n] >> quarter & BITS) << 2;
        scaled_bytes(word, 4, scale, value + 8 * k + 4 * n);
      }
    }
    return is_finite_half(d_bits);
  }
};
BLOCKS(q3_k, Q3K)

// The scales and minima of two neighbors of the eight sub-blocks of Q4_K and Q5_K, times those of the block. Their codes
// take 6 bits: of the first four sub-blocks whole bytes, of the last four nibbles, with two bits more on top of the
// first four's.
struct Scales {
  f32 scale[2], min[2];
};
DEV Scales scales_of(const Four& head, u32 run) {
  u32 shift = run % 2 * 16, first = head.word[1] >> shift, second = head.word[2] >> shift, nibbles = head.word[3] >> shift;
  u32 scales = run < 2 ? first & 0x3f3fu : (nibbles & 0x0f0fu) | (first >> 2 & 0x3030u);
  u32 minima = run < 2 ? second & 0x3f3fu : (nibbles >> 4 & 0x0f0fu) | (second >> 2 & 0x3030u);
  f32 d = f16_value((u16)head.word[0]), dmin = f16_value((u16)(head.word[0] >> 16));
  Scales all;
#pragma unroll
  for (u32 k = 0; k < 2; ++k) {
    all.scale[k] = d * byte_value(scales, k, 0);
    all.min[k] = dmin * byte_value(minima, k, 0);
  }
  return all;
}

// Byte `l` of 32 holds elements l and l + 32 of 64.
struct Q4K {
  enum : u32 { BYTES = 144, VALUES = 256, APART = 32, FLOATS = 0 };
  DEV bool sixteen(const Layer&, const f32*, const u8* block, u32 run, u32 lane, f32* value) {
    Four head = *(const Four*)block;
    Eight codes = eight_at<8>(block + 16 + 32 * run + lane);
    Scales by = scales_of(head, run);
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
#pragma unroll
      for (u32 n = 0; n < 2; ++n) {
        sums_of_bytes(codes.word[n] >> (4 * k) & NIBBLES, by.scale[k], -by.min[k], value + 8 * k + 4 * n);
      }
    }
    return is_finite_half(head.word[0]) && is_finite_half(head.word[0] >> 16);
  }
};
BLOCKS(q4_k, Q4K)

// As Q4_K, with a fifth bit: bit `n` of 32 bytes is of sub-block `n`.
struct Q5K {
  enum : u32 { BYTES = 176, VALUES = 256, APART = 32, FLOATS = 0 };
  DEV bool sixteen(const Layer&, const f32*, const u8* block, u32 run, u32 lane, f32* value) {
    Four head = *(const Four*)block;
    Eight codes = eight_at<8>(block + 48 + 32 * run + lane), high = eight_at<8>(block + 16 + lane);
    Scales by = scales_of(head, run);
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
#pragma unroll
      for (u32 n = 0; n < 2; ++n) {
        u32 word = (codes.word[n] >> (4 * k) & NIBBLES) | (high.word[n] >> (2 * run + k) & BITS) << 4;
        sums_of_bytes(word, by.scale[k], -by.min[k], value + 8 * k + 4 * n);
      }
    }
    return is_finite_half(head.word[0]) && is_finite_half(head.word[0] >> 16);
  }
};
BLOCKS(q5_k, Q5K)

// Each half of a block has four planes of 32 elements: two by nibbles in each of two runs of bytes, two bits more in a
// run of 32; a scale of 8 bits for 16.
struct Q6K {
  enum : u32 { BYTES = 210, VALUES = 256, APART = 64, FLOATS = 0 };
  DEV bool sixteen(const Layer&, const f32*, const u8* block, u32 run, u32 lane, f32* value) {
    Eight low = eight_at<2>(block + 64 * run + lane), high = eight_at<2>(block + 128 + 32 * run + lane % 32);
    u32 d_bits = short_at(block + 208), plane = lane / 32;
    f32 d = f16_value((u16)d_bits);
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
      u32 code = block[192 + 8 * run + lane / 16 + 4 * k];
      f32 scale = d * byte_value(code ^ 0x80u, 0, 128);
#pragma unroll
      for (u32 n = 0; n < 2; ++n) {
        u32 word = (low.word[n] >> (4 * k) & NIBBLES) | (high.word[n] >> (2 * plane + 4 * k) & PAIRS) << 4;
        scaled_bytes(word, 32, scale, value + 8 * k + 4 * n);
      }
    }
    return is_finite_half(d_bits);
  }
};
BLOCKS(q6_k, Q6K)

// 32 codes of 4 bits, the first half in low nibbles, with a fifth bit in a word if HIGH; moved by LESS, or a minimum
// added if it is 0.
template <u32 SIZE, bool HIGH, u32 LESS>
struct Legacy {
  enum : u32 { BYTES = SIZE, VALUES = 32, APART = 16, FLOATS = 0, CODES = SIZE - 16 };
  DEV bool sixteen(const Layer&, const f32*, const u8* block, u32, u32 lane, f32* value) {
    Eight codes = eight_at<SIZE % 8 ? SIZE % 4 ? 2 : 4 : 8>(block + CODES + lane);
    u32 d_bits = short_at(block), min_bits = LESS ? 0 : short_at(block + 2);
    f32 d = f16_value((u16)d_bits), min = f16_value((u16)min_bits);
    u32 high = HIGH ? word_at(block + CODES - 4) >> lane : 0;
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
#pragma unroll
      for (u32 n = 0; n < 2; ++n) {
        u32 word = codes.word[n] >> (4 * k) & NIBBLES;
        // Four bits to the fifth of four bytes each.
        if (HIGH) word |= (((high >> (16 * k + 4 * n) & 15u) * 0x00204081u) & BITS) << 4;
        f32* to = value + 8 * k + 4 * n;
        if (LESS) {
          scaled_bytes(word, (f32)LESS, d, to);
        } else {
          sums_of_bytes(word, d, min, to);
        }
      }
    }
    return is_finite_half(d_bits) && is_finite_half(min_bits);
  }
};
using Q40 = Legacy<18, false, 8>;
using Q41 = Legacy<20, false, 0>;
using Q50 = Legacy<22, true, 16>;
using Q51 = Legacy<24, true, 0>;
BLOCKS(q4_0, Q40)
BLOCKS(q4_1, Q41)
BLOCKS(q5_0, Q50)
BLOCKS(q5_1, Q51)

// A byte each, behind CODES bytes that begin with the scale, a half or (of 256) a float.
template <u32 SIZE, u32 COUNT, u32 CODES>
struct Whole {
  enum : u32 { BYTES = SIZE, VALUES = COUNT, APART = 8, FLOATS = 0 };
  DEV bool sixteen(const Layer&, const f32*, const u8* block, u32 run, u32, f32* value) {
    f32 d = COUNT == 256 ? *(const f32*)block : half_at(block);
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
      Eight codes = eight_at<SIZE % 4 ? 2 : 4>(block + CODES + 16 * run + 8 * k);
#pragma unroll
      for (u32 n = 0; n < 2; ++n) scaled_bytes(codes.word[n] ^ 0x80808080u, 128, d, value + 8 * k + 4 * n);
    }
    return is_finite(d);
  }
};
using Q80 = Whole<34, 32, 2>;
using Q81 = Whole<36, 32, 4>;
using Q8K = Whole<292, 256, 4>;
BLOCKS(q8_0, Q80)
BLOCKS(q8_1, Q81)
BLOCKS(q8_k, Q8K)

struct Q10 {
  enum : u32 { BYTES = 18, VALUES = 128, APART = 8, FLOATS = 0 };
  DEV bool sixteen(const Layer&, const f32*, const u8* block, u32 run, u32, f32* value) {
    u32 d = bits_of(half_at(block)), bits = short_at(block + 2 + 2 * run);
#pragma unroll
    for (u32 k = 0; k < 16; ++k) value[k] = of_bits(d ^ (~bits >> k & 1u) << 31);
    return is_finite(of_bits(d));
  }
};
BLOCKS(q1_0, Q10)

struct Q20 {
  enum : u32 { BYTES = 18, VALUES = 64, APART = 8, FLOATS = 0 };
  DEV bool sixteen(const Layer&, const f32*, const u8* block, u32 run, u32, f32* value) {
    f32 d = half_at(block);
    u32 codes = word_at(block + 2 + 4 * run);
#pragma unroll
    for (u32 k = 0; k < 16; ++k) value[k] = d * byte_value(codes >> (2 * k) & 3u, 0, 1);
    return is_finite(d);
  }
};
BLOCKS(q2_0, Q20)

// Five codes a byte, as the digits of a fraction to base 3: digit `n` of 32 bytes, then of 16; four of each of the last
// four bytes.
struct Tq10 {
  enum : u32 { BYTES = 54, VALUES = 256, APART = 8, FLOATS = 0 };
  DEV u32 power(u32 n) { return n == 0 ? 1u : n == 1 ? 3u : n == 2 ? 9u : n == 3 ? 27u : 81u; }
  DEV bool sixteen(const Layer&, const f32*, const u8* block, u32 run, u32, f32* value) {
    f32 d = half_at(block + 52);
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
      // Of 32 times eight values, twenty are of the first bytes, ten of the next.
      u32 eight = 2 * run + k, n = eight < 20 ? eight / 4 : eight < 30 ? eight / 2 - 10 : eight * 2 - 60;
      u32 from = eight < 20 ? eight % 4 * 8 : eight < 30 ? 32 + eight % 2 * 8 : 48;
      u32 is_last = eight >= 30;
#pragma unroll
      for (u32 m = 0; m < 8; ++m) {
        u32 byte = block[from + (is_last ? m % 4 : m)];
        u32 digits = byte * power(n + (is_last ? m / 4 : 0)) & 0xffu;
        value[8 * k + m] = d * byte_value(digits * 3 >> 8, 0, 1);
      }
    }
    return is_finite(d);
  }
};
BLOCKS(tq1_0, Tq10)

struct Tq20 {
  enum : u32 { BYTES = 66, VALUES = 256, APART = 64, FLOATS = 0 };
  DEV bool sixteen(const Layer&, const f32*, const u8* block, u32 run, u32 lane, f32* value) {
    f32 d = half_at(block + 64);
    Eight codes = eight_at<2>(block + 32 * run + lane % 32);
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
#pragma unroll
      for (u32 n = 0; n < 2; ++n) {
        scaled_bytes(codes.word[n] >> (2 * (lane / 32) + 4 * k) & PAIRS, 1, d, value + 8 * k + 4 * n);
      }
    }
    return is_finite(d);
  }
};
BLOCKS(tq2_0, Tq20)
