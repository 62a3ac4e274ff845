// Tiles of values that share a scale: how scales come of ranges, and codes of values. For tiles.cu and searches, which
// make new scales, and own.cu, which has the scales of a layer too.
// Sources: src/quant/tiles.rs and tiled.rs, qweight/packer.rs, and the rules of each format, named below.
#pragma once
#include "encode.cuh"

// How scales come of ranges; src/quant/tiles/kernel.rs has the same numbers.
enum : u32 {
  FIXED = 0, INTS = 1, FLOATS = 2, POWERS = 3, NVFP4 = 4, INVERSE = 5, POWER = 6, DIVIDED = 7, FACTOR = 8, OCP = 9,
  SECOND = 10, GPTQ = 11, AWQ = 12, HALVES = 13
};

// How codes lie: in units of 32 bits, of which a row may end within one; in words; 32 codes in as many words as a code has
// bits; eight rows a word; four rows woven into halves of words; sets of 32 in planes of a power of two of bits each, the
// widest and lowest first. Only own.cu packs the last two.
enum : u32 { BYTES = 0, WORDS = 1, SETS = 2, COLUMNS = 3, WOVEN = 4, PLANES = 5 };

// How scales are stored.
enum : u32 { AS_F32 = 0, AS_F16 = 1, AS_BF16 = 2, AS_E4M3 = 3, AS_EXPONENT = 4 };

// At this size neighboring f32 are 1 apart, and the last byte of a sum is that of the whole number.
#define ONES 12582912.0f
#define E4M3_MAX 448.0f
#define E2M1_MAX 6.0f

// number: 0 rows of a tile, columns of it << 32; 1 rows that are cut together, rows of a strip << 32; 2 columns of a strip;
// 3 bytes of a row of codes; 4 flags; 5.. numbers of the rule. A strip is what a block makes at a time. There are at most
// 2^30 values, and strands of 2^32 bytes: all is counted in 32 bits.
struct Tiling {
  u32 high, wide, apart, together, strip, row_bytes;
  u64 flags;
  DEV Tiling of(const Layer& layer) {
    return {(u32)layer.number[0], (u32)(layer.number[0] >> 32), (u32)layer.number[1], (u32)(layer.number[1] >> 32),
            (u32)layer.number[2], (u32)layer.number[3], layer.number[4]};
  }
};
DEV u32 packing_of(u64 flags) { return (u32)flags & 15u; }
DEV u32 bits_of_code(u64 flags) { return (u32)(flags >> 8) & 255u; }
DEV u32 codes_of_word(u64 flags) { return (u32)(flags >> 16) & 255u; }
DEV u32 stored_as(u64 flags) { return (u32)(flags >> 24) & 15u; }
DEV bool has_zeros(u64 flags) { return flags >> 28 & 1; }
DEV bool multiplies(u64 flags) { return flags >> 29 & 1; }
DEV bool adds_zero(u64 flags) { return flags >> 30 & 1; }
DEV bool keeps_sign(u64 flags) { return flags >> 31 & 1; }
DEV u32 rounded_to(u64 flags) { return (u32)(flags >> 32) & 3u; }
DEV bool from_least(u64 flags) { return flags >> 34 & 1; }
DEV u32 rule_of(u64 flags) { return (u32)(flags >> 40) & 255u; }

// The larger and the smaller of two, of which one may be NaN, as Rust has them.
DEV f32 larger(f32 a, f32 b) { return a > b || is_nan(b) ? a : b; }
DEV f32 smaller(f32 a, f32 b) { return a < b || is_nan(b) ? a : b; }

// The nearest whole number, ties to even; any value.
DEV f32 whole(f32 value) {
  f32 size = magnitude(value);
  if (!(size < 8388608.0f)) return value;
  return of_bits(bits_of((size + 8388608.0f) - 8388608.0f) | (bits_of(value) & 0x80000000u));
}
// The same within 2^22 of 0.
DEV f32 nearest(f32 value) { return (value + ONES) - ONES; }

DEV u32 e4m3_code(f32 value) {
  u32 bits = bits_of(value), size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return 0x7fu | (bits >> 24 & 0x80u);
  if (size > 0x43e00000u) size = 0x43e00000u;
  u32 normal = (size + 0x7ffffu + (size >> 20 & 1u)) >> 20;
  u32 subnormal = bits_of(of_bits(size) + 16384.0f) - bits_of(16384.0f);
  u32 code = size < (121u << 23) ? subnormal : normal - (120u << 3);
  return code | (bits >> 24 & 0x80u);
}
// The value of a code that is not negative.
DEV f32 e4m3_value(u32 code) {
  return code >> 3 == 0 ? (f32)code / 512.0f : of_bits((code << 20) + (120u << 23));
}
DEV u32 e2m1_code(f32 value) {
  f32 size = magnitude(value);
  u32 code = (size > 0.25f) + (size > 1.25f) + (size > 2.5f) + (size > 5.0f);
  code += (size >= 0.75f) + (size >= 1.75f) + (size >= 3.5f);
  return code + (value < 0.0f ? 8 : 0);
}
// The value of a code that is not negative.
DEV f32 e2m1_value(u32 code) { return code < 2 ? (f32)code * 0.5f : of_bits(((code >> 1) + 126u) << 23 | (code & 1u) << 22); }
// `2^(byte - 127)`, the byte cut to what is one.
DEV f32 power_of_two(i32 byte) {
  if (byte <= 0) return of_bits(1u << 22);
  return of_bits((u32)(byte < 254 ? byte : 254) << 23);
}

struct Range {
  f32 least, largest;
};
// A group of values in one row.
struct Group {
  const f32* values;
  u32 count;
};
// Of zeros it is the positive one.
DEV f32 magnitude_of(Range range) { return -range.least > range.largest ? -range.least : range.largest; }

DEV void widen(Range& range, f32 value, u32& refused) {
  refused += !is_finite(value);
  range.least = value < range.least ? value : range.least;
  range.largest = value > range.largest ? value : range.largest;
}
DEV Range of_warp(Range range) {
#pragma unroll
  for (u32 lanes = 16; lanes > 0; lanes /= 2) {
    f32 least = SHFL_XOR(range.least, lanes), largest = SHFL_XOR(range.largest, lanes);
    range.least = least < range.least ? least : range.least;
    range.largest = largest > range.largest ? largest : range.largest;
  }
  return range;
}

// The scale of a tile: what values are divided or multiplied by, the code that means 0, what is stored.
struct Step {
  f32 by, zero, stored;
  bool is_refused;
};
DEV Step step_of(f32 scale, f32 zero) { return {scale, zero, scale, !is_finite(scale)}; }

// A scale that is not 0, of compressed-tensors.
DEV f32 usable(u32 dtype, f32 scale) {
  if (scale != 0.0f) return scale;
  return of_bits(dtype == BF16 ? 120u << 23 : dtype == F16 ? 117u << 23 : 104u << 23);
}

// src/quant/compressed/rules.rs, Ints.
DEV Step ints(const Layer& layer, Range range) {
  u32 bits = (u32)layer.number[5], dtype = (u32)layer.number[6];
  f32 middle = (f32)(1u << (bits - 1)), span = (f32)((1u << bits) - 1);
  if (layer.number[7]) return step_of(usable(dtype, rounded(dtype, magnitude_of(range) / (span * 0.5f))), 0.0f);
  f32 scale = rounded(dtype, rounded(dtype, range.largest - range.least) / span);
  f32 zero = rounded(dtype, -middle - rounded(dtype, range.least / scale));
  zero = is_nan(zero) ? 0.0f : whole(zero < -middle ? -middle : zero > middle - 1.0f ? middle - 1.0f : zero);
  return step_of(usable(dtype, scale), zero);
}

// The same, Powers.
DEV Step powers(const Layer& layer, Range range) {
  f32 largest = magnitude_of(range), normal = 1.0f / 16384.0f;
  if (layer.number[6] == F16 && largest < normal) {
    if (largest < 0.75f * normal) return step_of(1.0f, 0.0f);
    largest = normal;
  }
  i32 exponent = (i32)((bits_of(largest) + (1u << 21)) >> 23);
  return step_of(power_of_two(exponent - (i32)layer.number[5]), 0.0f);
}

// src/quant/fp8/rules.rs.
DEV Step scaling(const Layer& layer, u32 rule, Range range) {
  f32 largest = magnitude_of(range), most = of_bits((u32)layer.number[5]);
  u32 dtype = (u32)layer.number[6];
  f32 factor = (1.0f / largest) * most;
  factor = is_finite(factor) ? factor : 1.0f;
  Step step = {0.0f, 0.0f, 0.0f, false};
  if (rule == INVERSE) {
    step.stored = rounded(dtype, 1.0f / factor);
    step.by = dtype == F32 ? factor : 1.0f / step.stored;
  } else if (rule == POWER) {
    // table 0: of each exponent the largest mantissa that is not rounded up to the next.
    u32 bits = bits_of(larger(1.0f / factor, of_bits(1u << 23)));
    u32 exponent = bits >> 23;
    exponent += (bits & 0x7fffffu) > ((const u32*)layer.table[0])[exponent & 255u];
    step.stored = of_bits(exponent << 23);
    step.by = 1.0f / step.stored;
  } else if (rule == DIVIDED) {
    f32 quotient = rounded(dtype, largest / most);
    step.by = step.stored = quotient > 0.0f ? quotient : 1.0f;
  } else {
    step.by = step.stored = rounded(dtype, factor);
  }
  return step;
}

// src/quant/compressed/rules.rs, Nvfp4; src/quant/modelopt/encode.rs, Second.
DEV Step around(const Layer& layer, u32 rule, Range range) {
  f32 global = of_bits((u32)layer.number[5]), largest = magnitude_of(range);
  f32 stored, scale;
  if (rule == NVFP4) {
    stored = e4m3_value(e4m3_code(global * rounded((u32)layer.number[6], largest / E2M1_MAX)) & 0x7fu);
    stored = stored == 0.0f ? 0.125f : stored;
    scale = stored / global;
  } else {
    f32 local = largest / (E2M1_MAX * global);
    local = is_finite(local) && local > 0.0f ? larger(local, 1.0f / 512.0f) : 1.0f;
    stored = e4m3_value(e4m3_code(local));
    scale = stored * global;
    scale = scale == 0.0f ? of_bits(0x7f800000u) : scale;
  }
  return {scale, 0.0f, stored, false};
}

// src/quant/gptq/grid.rs.
DEV f32 gptq_scale(u32 dtype, f32 scale) {
  scale = rounded(dtype, scale);
  return scale == 0.0f ? of_bits(dtype == F16 ? 103u << 23 : dtype == BF16 ? 1u << 16 : 1u) : scale;
}
DEV Step gptq(const Layer& layer, Range range) {
  f32 top = (f32)((1u << (u32)layer.number[5]) - 1), least = range.least, largest = range.largest;
  u32 dtype = (u32)layer.number[6];
  bool is_symmetric = layer.number[7] != 0;
  if (is_symmetric) {
    largest = magnitude_of(range);
    least = least < 0.0f ? -largest : least;
  }
  if (least == 0.0f && largest == 0.0f) {
    least = -1.0f;
    largest = 1.0f;
  }
  f32 scale = (largest - least) / top, zero = (f32)(1u << ((u32)layer.number[5] - 1));
  if (!is_symmetric) {
    f32 least_zero = (f32)(u32)layer.number[8];
    zero = smaller(whole(-least / scale), top);
    if (zero < least_zero) {
      zero = least_zero;
      scale = larger(scale, largest / (top - zero));
    }
  }
  return step_of(gptq_scale(dtype, scale), zero);
}

// src/quant/awq/grid.rs.
DEV Step awq(const Layer& layer, Range range) {
  u32 dtype = (u32)layer.number[6];
  f32 wide = range.largest - range.least, stored = rounded(dtype, wide);
  f32 reach = larger(is_finite(stored) ? stored : wide, rounded(dtype, 1e-5f));
  f32 scale = rounded(dtype, reach / 15.0f);
  f32 zero = -whole(rounded(dtype, range.least / scale));
  return step_of(scale, zero < 0.0f ? 0.0f : zero > 15.0f ? 15.0f : zero);
}

// src/quant/bnb8/encode.rs.
DEV Step halves(Range range) {
  f32 largest = f16_value(f16_of(magnitude_of(range)));
  return {largest > 0.0f ? 127.0f * (1.0f / largest) : 0.0f, 0.0f, largest, !is_finite(largest)};
}

// One scale for the whole layer.
DEV Step fixed(const Layer& layer) {
  return {of_bits((u32)layer.number[5]), of_bits((u32)layer.number[6]), of_bits((u32)layer.number[7]), false};
}
DEV Step floats(const Layer& layer, Range range) {
  u32 dtype = (u32)layer.number[6];
  return step_of(usable(dtype, rounded(dtype, magnitude_of(range) / E4M3_MAX)), 0.0f);
}

DEV void store_scale(u32 as, u8* out, u32 at, f32 scale) {
  if (as == AS_F32) ((f32*)out)[at] = scale;
  else if (as == AS_F16) ((u16*)out)[at] = f16_of(scale);
  else if (as == AS_BF16) ((u16*)out)[at] = bf16_of(scale);
  else if (as == AS_E4M3) out[at] = (u8)e4m3_code(scale);
  else out[at] = (u8)(bits_of(scale) >> 23);
}

// The value on the grid of a tile, as src/quant/tiles.rs rounds it on its way.
DEV f32 on_grid(u64 flags, f32 value, f32 by, f32 zero) {
  u32 dtype = rounded_to(flags);
  f32 scaled = rounded(dtype, multiplies(flags) ? value * by : value / by);
  return adds_zero(flags) ? rounded(dtype, scaled + zero) : scaled;
}

struct Int {
  static constexpr u32 HOW = SETS;
  DEV Step step(const Layer& layer, u32 rule, Range range) { return rule == FIXED ? fixed(layer) : ints(layer, range); }
  DEV u32 code(u64 flags, f32 value, f32 by, f32 zero) {
    f32 half = (f32)(1u << (bits_of_code(flags) - 1)), is = on_grid(flags, value, by, zero);
    is = is > -half ? is : -half;
    is = is < half - 1.0f ? is : half - 1.0f;
    return bits_of(is + ONES) + (from_least(flags) ? 1u << (bits_of_code(flags) - 1) : 0u);
  }
  DEV f32 number(u64 flags, u32 code) {
    u32 middle = 1u << (bits_of_code(flags) - 1);
    return (f32)((i32)(from_least(flags) ? code : code ^ middle) - (i32)middle);
  }
};
struct E4m3 {
  static constexpr u32 HOW = WORDS;
  DEV Step step(const Layer& layer, u32 rule, Range range) {
    if (rule == FIXED) return fixed(layer);
    if (rule == FLOATS) return floats(layer, range);
    return rule == POWERS ? powers(layer, range) : scaling(layer, rule, range);
  }
  DEV u32 code(u64 flags, f32 value, f32 by, f32 zero) { return e4m3_code(on_grid(flags, value, by, zero)); }
  DEV f32 number(u64, u32 code) { return of_bits(bits_of(e4m3_value(code & 0x7fu)) | (code & 0x80u) << 24); }
};
struct E2m1 {
  static constexpr u32 HOW = WORDS;
  DEV Step step(const Layer& layer, u32 rule, Range range) {
    if (rule == FIXED) return fixed(layer);
    if (rule == NVFP4 || rule == SECOND) return around(layer, rule, range);
    if (rule == POWERS) return powers(layer, range);
    if (rule == POWER) return scaling(layer, POWER, range);
    return step_of(power_of_two((i32)(bits_of(magnitude_of(range)) >> 23) - 2), 0.0f);
  }
  DEV u32 code(u64 flags, f32 value, f32 by, f32 zero) {
    f32 is = on_grid(flags, value, by, zero);
    return e2m1_code(is) | (keeps_sign(flags) ? bits_of(is) >> 28 & 8u : 0u);
  }
  DEV f32 number(u64, u32 code) { return of_bits(bits_of(e2m1_value(code & 7u)) | (code & 8u) << 28); }
};
struct Gptq {
  static constexpr u32 HOW = SETS;
  DEV Step step(const Layer& layer, u32, Range range) { return gptq(layer, range); }
  DEV u32 code(u64 flags, f32 value, f32 by, f32 zero) {
    f32 top = (f32)((1u << bits_of_code(flags)) - 1), is = (value + zero * by) / by;
    return bits_of(nearest(smaller(larger(is, 0.0f), top)) + ONES);
  }
  DEV f32 number(u64, u32 code) { return (f32)code; }
};
struct Awq {
  static constexpr u32 HOW = COLUMNS;
  DEV Step step(const Layer& layer, u32, Range range) { return awq(layer, range); }
  DEV u32 code(u64 flags, f32 value, f32 by, f32 zero) {
    f32 is = value / by;
    if (adds_zero(flags)) {
      is = is + zero;
      is = is < 0.0f ? 0.0f : is > 15.0f ? 15.0f : is;
      return is_nan(is) ? 0 : bits_of(nearest(is) + ONES);
    }
    // To the 11 bits of a normal F16.
    if (rounded_to(flags) == F16) is = of_bits((bits_of(is) + 0xfffu + (bits_of(is) >> 13 & 1u)) & ~0x1fffu);
    return bits_of((nearest(smaller(larger(is, -zero), 15.0f - zero)) + zero) + ONES);
  }
  DEV f32 number(u64, u32 code) { return (f32)code; }
};
struct Half {
  static constexpr u32 HOW = WORDS;
  DEV Step step(const Layer&, u32, Range range) { return halves(range); }
  DEV u32 code(u64, f32 value, f32 by, f32) { return bits_of(f16_value(f16_of(value)) * by + ONES); }
};
