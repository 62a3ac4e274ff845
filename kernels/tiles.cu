// Encoding weights whose tiles have scales, in two passes over a few tiles at a time: first a scale of each tile's range,
// then a code of each value. Codes are packed into words as they are made.
// Sources: src/quant/tiles.rs and tiled.rs, qweight/packer.rs, and the rules of each format, named below.
#include "encode.cuh"

// Tiles that a block holds at a time; src/quant/tiles/kernel.rs has the same number.
enum : u32 { TILES = 256 };

// How scales come of ranges; src/quant/tiles/kernel.rs has the same numbers.
enum : u32 {
  FIXED = 0, INTS = 1, FLOATS = 2, POWERS = 3, NVFP4 = 4, INVERSE = 5, POWER = 6, QUOTIENT = 7, FACTOR = 8, OCP = 9,
  SECOND = 10, GPTQ = 11, AWQ = 12, HALVES = 13
};

// How codes lie: in units of 32 bits, of which a row may end within one; in words; 32 codes in as many words as a code has
// bits; eight rows a word.
enum : u32 { BYTES = 0, WORDS = 1, SETS = 2, COLUMNS = 3 };

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
// `2^(byte - 127)`, the byte cut to what is one.
DEV f32 power_of_two(i32 byte) {
  if (byte <= 0) return of_bits(1u << 22);
  return of_bits((u32)(byte < 254 ? byte : 254) << 23);
}

struct Range {
  f32 least, largest;
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
  } else if (rule == QUOTIENT) {
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
    zero = whole(-least / scale);
    if (zero < least_zero) {
      zero = least_zero;
      scale = larger(scale, largest / (top - zero));
    }
  }
  scale = rounded(dtype, scale);
  if (scale == 0.0f) scale = of_bits(dtype == F16 ? 103u << 23 : dtype == BF16 ? 1u << 16 : 1u);
  return step_of(scale, zero);
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
};
struct E4m3 {
  static constexpr u32 HOW = WORDS;
  DEV Step step(const Layer& layer, u32 rule, Range range) {
    if (rule == FIXED) return fixed(layer);
    if (rule == FLOATS) return floats(layer, range);
    return rule == POWERS ? powers(layer, range) : scaling(layer, rule, range);
  }
  DEV u32 code(u64 flags, f32 value, f32 by, f32 zero) { return e4m3_code(on_grid(flags, value, by, zero)); }
};
struct E2m1 {
  static constexpr u32 HOW = WORDS;
  DEV Step step(const Layer& layer, u32 rule, Range range) {
    if (rule == NVFP4 || rule == SECOND) return around(layer, rule, range);
    if (rule == POWERS) return powers(layer, range);
    return step_of(power_of_two((i32)(bits_of(magnitude_of(range)) >> 23) - 2), 0.0f);
  }
  DEV u32 code(u64 flags, f32 value, f32 by, f32 zero) {
    f32 is = on_grid(flags, value, by, zero);
    return e2m1_code(is) | (keeps_sign(flags) ? bits_of(is) >> 28 & 8u : 0u);
  }
};
struct Gptq {
  static constexpr u32 HOW = SETS;
  DEV Step step(const Layer& layer, u32, Range range) { return gptq(layer, range); }
  DEV u32 code(u64 flags, f32 value, f32 by, f32 zero) {
    f32 top = (f32)((1u << bits_of_code(flags)) - 1), is = (value + zero * by) / by;
    return bits_of(nearest(smaller(larger(is, 0.0f), top)) + ONES);
  }
};
struct Awq {
  static constexpr u32 HOW = COLUMNS;
  DEV Step step(const Layer& layer, u32, Range range) { return awq(layer, range); }
  DEV u32 code(u64 flags, f32 value, f32 by, f32 zero) {
    f32 is = value / by;
    // To the 11 bits of a normal F16.
    if (rounded_to(flags) == F16) is = of_bits((bits_of(is) + 0xfffu + (bits_of(is) >> 13 & 1u)) & ~0x1fffu);
    return bits_of((nearest(smaller(larger(is, -zero), 15.0f - zero)) + zero) + ONES);
  }
};
struct Half {
  static constexpr u32 HOW = WORDS;
  DEV Step step(const Layer&, u32, Range range) { return halves(range); }
  DEV u32 code(u64, f32 value, f32 by, f32) { return bits_of(f16_value(f16_of(value)) * by + ONES); }
};

// What a block makes at a time: `rows` rows from `row` on, `columns` columns from `column` on, of a weight with `stride`
// columns.
struct Strip {
  u32 row, column, stride, rows, columns;
};

// Four values from column `c` of row `r` on, zeros behind the last column.
DEV void load_four(const f32* values, const Strip& strip, u32 r, u32 c, f32* value) {
  u32 at = (strip.row + r) * strip.stride + strip.column + c;
  if (at % 4 == 0 && c + 4 <= strip.columns) {
    Four four = ((const Four*)values)[at / 4];
#pragma unroll
    for (u32 k = 0; k < 4; ++k) value[k] = of_bits(four.word[k]);
  } else {
#pragma unroll
    for (u32 k = 0; k < 4; ++k) value[k] = c + k < strip.columns ? values[at + k] : 0.0f;
  }
}

// Units of as many codes as a word has.
template <class Coder>
DEV void pack_words(const Tiling& tiling, const f32* values, const Strip& strip, const f32* by, const f32* zero, u8* out) {
  u32 bits = bits_of_code(tiling.flags), each = codes_of_word(tiling.flags), mask = (1u << bits) - 1;
  u32 units = (strip.columns + each - 1) / each;
  for (u32 unit = threadIdx.x; unit < units * strip.rows; unit += blockDim.x) {
    u32 r = unit / units, c = unit % units * each, tile = c / tiling.wide, left = tiling.wide - c % tiling.wide;
    u32 here = strip.columns - c < each ? strip.columns - c : each, word = 0;
#pragma unroll 1
    for (u32 from = 0; from < here; from += 4) {
      f32 value[4];
      load_four(values, strip, r, c + from, value);
      // One value after another: a division needs registers of its own.
#pragma unroll 1
      for (u32 k = from; k < here && k < from + 4; ++k) {
        word |= (Coder::code(tiling.flags, value[0], by[tile], zero[tile]) & mask) << (k * bits);
        value[0] = value[1];
        value[1] = value[2];
        value[2] = value[3];
        if (--left == 0) {
          ++tile;
          left = tiling.wide;
        }
      }
    }
    u32 at = (strip.row + r) * tiling.row_bytes + (strip.column + c) / each * 4;
    u32 bytes = packing_of(tiling.flags) == WORDS ? 4 : (here * bits + 7) / 8;
    if (bytes == 4 && at % 4 == 0) {
      *(u32*)(out + at) = word;
    } else {
      for (u32 k = 0; k < bytes; ++k) out[at + k] = (u8)(word >> (8 * k));
    }
  }
}

// Sets of 32 codes, in as many words as a code has bits.
template <class Coder>
DEV void pack_sets(const Tiling& tiling, const f32* values, const Strip& strip, const f32* by, const f32* zero, u8* out) {
  u32 bits = bits_of_code(tiling.flags), mask = (1u << bits) - 1, sets = (strip.columns + 31) / 32;
#pragma unroll 1
  for (u32 set = threadIdx.x; set < sets * strip.rows; set += blockDim.x) {
    u32 r = set / sets, c = set % sets * 32, tile = c / tiling.wide, left = tiling.wide - c % tiling.wide;
    u32 here = strip.columns - c < 32 ? strip.columns - c : 32, held = 0;
    u32* to = (u32*)(out + (strip.row + r) * tiling.row_bytes) + (strip.column + c) / 32 * bits;
    const f32* from = values + (strip.row + r) * strip.stride + strip.column + c;
    u64 pending = 0;
#pragma unroll 1
    for (u32 k = 0; k < here; ++k) {
      pending |= (u64)(Coder::code(tiling.flags, from[k], by[tile], zero[tile]) & mask) << held;
      held += bits;
      if (held >= 32) {
        *to++ = (u32)pending;
        pending >>= 32;
        held -= 32;
      }
      if (--left == 0) {
        ++tile;
        left = tiling.wide;
      }
    }
    if (held > 0) *to = (u32)pending;
  }
}

// Eight rows a word, in the order of AWQ.
template <class Coder>
DEV void pack_columns(const Tiling& tiling, const f32* values, const Strip& strip, const f32* by, const f32* zero, u8* out) {
  u32 across = (strip.columns + tiling.wide - 1) / tiling.wide;
  for (u32 c = threadIdx.x; c < strip.columns; c += blockDim.x) {
    u32 word = 0;
    for (u32 k = 0; k < 8 && k < strip.rows; ++k) {
      u32 tile = k * across + c / tiling.wide;
      f32 value = values[(strip.row + k) * strip.stride + strip.column + c];
      word |= (Coder::code(tiling.flags, value, by[tile], zero[tile]) & 15u) << (4 * (k % 2 * 4 + k / 2));
    }
    ((u32*)out)[strip.row / 8 * strip.stride + strip.column + c] = word;
  }
}

// strands: 0 codes, 1 scales, 2 zero points, one signed byte each.
template <class Coder>
DEV void encode_tiles(const Layer& layer, const f32* values, u32 rows, u32 columns, const Strands& strands, u32* all) {
  static __shared__ f32 by[TILES], zero[TILES], ranges[2][8];
  Tiling tiling = Tiling::of(layer);
  u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, rule = rule_of(tiling.flags), refused = 0;
  u32 tall = tiling.together / tiling.high, bands_apart = (tiling.apart + tiling.together - 1) / tiling.together;
  u32 across_all = (columns + tiling.strip - 1) / tiling.strip;
  u32 strips = (rows + tiling.apart - 1) / tiling.apart * bands_apart * across_all;
  for (u32 at = blockIdx.x; at < strips; at += gridDim.x) {
    u32 band = at / across_all, within = band % bands_apart * tiling.together;
    Strip strip = {band / bands_apart * tiling.apart + within, at % across_all * tiling.strip, columns, 0, 0};
    u32 most = tiling.apart - within < tiling.together ? tiling.apart - within : tiling.together;
    u32 rest = strip.row < rows ? rows - strip.row : 0;
    strip.rows = rest < most ? rest : most;
    strip.columns = columns - strip.column < tiling.strip ? columns - strip.column : tiling.strip;
    u32 across = (strip.columns + tiling.wide - 1) / tiling.wide, tiles = across * tall;
    u32 high = tall > 1 ? tiling.high : strip.rows;
    bool is_large = tiles < 8 && high * tiling.wide >= 1024;
#pragma unroll 1
    for (u32 tile = is_large ? 0 : warp; tile < tiles; tile += is_large ? 1 : blockDim.x / 32) {
      u32 top = tile / across * high, left = tile % across * tiling.wide;
      u32 wide = strip.columns - left < tiling.wide ? strip.columns - left : tiling.wide;
      u32 end = top + high < strip.rows ? top + high : strip.rows;
      Range range = {0.0f, 0.0f};
      // A large tile is of all warps: a row each, or all of them one row.
      bool is_one = is_large && high == 1;
      u32 first = is_large && !is_one ? warp : 0, down = is_large && !is_one ? blockDim.x / 32 : 1;
      u32 begin = is_one ? threadIdx.x : lane, aside = is_one ? blockDim.x : 32;
      for (u32 r = top + first; r < end; r += down) {
        const f32* row = values + (strip.row + r) * columns + strip.column + left;
        for (u32 c = begin; c < wide; c += aside) widen(range, row[c], refused);
      }
      range = of_warp(range);
      if (is_large) {
        if (lane == 0) {
          ranges[0][warp] = range.least;
          ranges[1][warp] = range.largest;
        }
        __syncthreads();
        for (u32 k = 0; k < blockDim.x / 32; ++k) {
          range.least = ranges[0][k] < range.least ? ranges[0][k] : range.least;
          range.largest = ranges[1][k] > range.largest ? ranges[1][k] : range.largest;
        }
        __syncthreads();
      }
      Step is = Coder::step(layer, rule, range);
      if (lane == 0 && (warp == 0 || !is_large)) {
        by[tile] = is.by;
        zero[tile] = is.zero;
        refused += is.is_refused;
        u32 width = (columns + tiling.wide - 1) / tiling.wide;
        u32 to = (band * tall + tile / across) * width + strip.column / tiling.wide + tile % across;
        store_scale(stored_as(tiling.flags), strands.strand[1], to, is.stored);
        // Zero points are whole; what is beyond a byte is refused, or is NaN and becomes 0 as in Rust.
        if (has_zeros(tiling.flags)) strands.strand[2][to] = is_nan(is.zero) ? 0 : (u8)(i32)smaller(is.zero, 255.0f);
      }
    }
    __syncthreads();
    if constexpr (Coder::HOW == COLUMNS) {
      pack_columns<Coder>(tiling, values, strip, by, zero, strands.strand[0]);
    } else if (Coder::HOW == SETS && packing_of(tiling.flags) == SETS) {
      pack_sets<Coder>(tiling, values, strip, by, zero, strands.strand[0]);
    } else {
      pack_words<Coder>(tiling, values, strip, by, zero, strands.strand[0]);
    }
    __syncthreads();
  }
  tell_refused(refused, all);
}

#define TILES_OF(name, coder) \
  ENCODER(name) { encode_tiles<coder>(layer, values, (u32)rows, (u32)columns, strands, all); }
TILES_OF(tiles_int, Int)
TILES_OF(tiles_e4m3, E4m3)
TILES_OF(tiles_e2m1, E2m1)
TILES_OF(gptq_encode, Gptq)
TILES_OF(awq_encode, Awq)
TILES_OF(bnb8_encode, Half)
