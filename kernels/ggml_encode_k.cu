// The K types of ggml with minima: scales and minima of sub-blocks, a thread each, are searched for, become codes of the
// block's own, and with those, as they are stored, the values are coded anew.
// Rust: src/quant/ggml/encode/k.rs, search.rs; there is the source too.
#include "ggml_encode.cuh"

// How a scale and a minimum are searched for: codes up to `TOP_CODE`; the first of the ranges that are tried is by
// `FIRST_TENTHS` of a code wider than that, and each of the `STEPS_AFTER` others a tenth wider than the one before; errors
// count as they are or squared.
template <i32 TOP_CODE, i32 FIRST_TENTHS, u32 STEPS_AFTER, bool IS_ABSOLUTE>
struct Tries {
  static constexpr i32 TOP = TOP_CODE;
  static constexpr u32 STEPS = STEPS_AFTER;
  DEV f32 wanted(u32 step) { return (f32)FIRST_TENTHS / 10.0f + 0.1f * (f32)step + (f32)TOP; }
  DEV f32 counted(f32 differs) { return IS_ABSOLUTE ? magnitude(differs) : differs * differs; }
};

// A scale and a minimum, its sign turned, and how the values got their codes.
struct Found {
  f32 scale, min;
  f32 inverse, least;
  bool is_flat;
};

template <i32 TOP>
DEV i32 code_above(f32 value, f32 inverse, f32 min) {
  return clamped(nearest_int(inverse * (value - min)), 0, TOP);
}

// Finds scale and minimum by weighted least squares for each of several ranges; the weight of a value is `mean` and its
// magnitude. Each sum goes through the values in their order.
template <class T, u32 N>
DEV Found with_minimum(const f32* x, f32 mean) {
  f32 least = x[0], max = x[0], weight = mean + magnitude(x[0]), weighted = weight * x[0];
#pragma unroll 8
  for (u32 k = 1; k < N; ++k) {
    f32 of = mean + magnitude(x[k]);
    least = x[k] < least ? x[k] : least;
    max = x[k] > max ? x[k] : max;
    weight = weight + of;
    weighted = weighted + of * x[k];
  }
  least = least > 0.0f ? 0.0f : least;
  f32 min = least, inverse = (f32)T::TOP / (max - min), scale = 1.0f / inverse, best = 0.0f;
  Found found = {scale, 0.0f, inverse, min, max == least};
#pragma unroll 8
  for (u32 k = 0; k < N; ++k) {
    f32 differs = scale * (f32)code_above<T::TOP>(x[k], inverse, min) + min - x[k];
    best = best + (mean + magnitude(x[k])) * T::counted(differs);
  }
#pragma unroll 1
  for (u32 step = 0; step <= T::STEPS; ++step) {
    inverse = T::wanted(step) / (max - min);
    f32 sum = 0.0f, squares = 0.0f, products = 0.0f;
#pragma unroll 8
    for (u32 k = 0; k < N; ++k) {
      f32 code = (f32)code_above<T::TOP>(x[k], inverse, min), by = (mean + magnitude(x[k])) * code;
      sum = sum + by;
      squares = squares + by * code;
      products = products + by * x[k];
    }
    f32 determinant = weight * squares - sum * sum;
    f32 new_scale = (weight * products - weighted * sum) / determinant;
    f32 new_min = (squares * weighted - sum * products) / determinant;
    if (new_min > 0.0f) {
      new_scale = products / squares;
      new_min = 0.0f;
    }
    f32 errors = 0.0f;
#pragma unroll 8
    for (u32 k = 0; k < N; ++k) {
      f32 differs = new_scale * (f32)code_above<T::TOP>(x[k], inverse, min) + new_min - x[k];
      errors = errors + (mean + magnitude(x[k])) * T::counted(differs);
    }
    if (determinant > 0.0f && errors < best) {
      found.inverse = inverse;
      found.least = min;
      best = errors;
      scale = new_scale;
      min = new_min;
    }
  }
  found.scale = found.is_flat ? 0.0f : scale;
  found.min = -(found.is_flat ? least : min);
  return found;
}

// The largest number above zero among lanes, 0 if none is.
template <u32 LANES>
DEV f32 top_of(f32 value) {
  f32 top = value > 0.0f ? value : 0.0f;
#pragma unroll
  for (u32 apart = 1; apart < LANES; apart *= 2) {
    f32 other = SHFL_XOR(top, apart);
    top = other > top ? other : top;
  }
  return top;
}

// Codes a sub-block anew, `(w + min) / scale`; with a scale of 0 the codes of the search stay.
template <i32 TOP, u32 N>
DEV void code_anew(const f32* x, const Found& found, f32 scale, f32 min, u8* codes) {
#pragma unroll 8
  for (u32 k = 0; k < N; ++k) {
    i32 code = found.is_flat ? 0 : code_above<TOP>(x[k], found.inverse, found.least);
    if (scale != 0.0f) code = clamped(nearest_int((x[k] + min) / scale), 0, TOP);
    codes[k] = (u8)code;
  }
}

struct Q2K {
  enum : u32 { BYTES = 84, VALUES = 256, LANES = 16, FLOATS = 0 };
  using Block = Block256;
  DEV void make(const Layer&, const f32*, const f32* x, u32 lane, Block& block, u32& refused) {
    Found found = with_minimum<Tries<3, -5, 15, true>, 16>(x, 0.0f);
    f32 scale = top_of<LANES>(found.scale), min = top_of<LANES>(found.min);
    u8 packed = 0;
    if (scale > 0.0f) packed = (u8)nearest_int(15.0f / scale * found.scale);
    if (min > 0.0f) packed |= (u8)((u32)nearest_int(15.0f / min * found.min) << 4);
    scale = put_half(block.half[0], scale > 0.0f ? scale / 15.0f : 0.0f, lane, refused);
    min = put_half(block.half[1], min > 0.0f ? min / 15.0f : 0.0f, lane, refused);
    code_anew<3, 16>(x, found, scale * (f32)(packed & 15u), min * (f32)(packed >> 4), block.code + 16 * lane);
    block.scale[lane] = packed;
  }
  DEV u8 byte(const Block& block, u32 at) {
    if (at < 16) return block.scale[at];
    return at < 80 ? pairs(block.code, at - 16) : half_byte(block.half, at - 80);
  }
};
BLOCKS_OF(q2_k, Q2K)

// Eight sub-blocks of 32: scales and minima of six bits.
template <class T>
DEV void eight(const f32* x, u32 lane, Block256& block, u32& refused) {
  f32 squares = 0.0f;
#pragma unroll 8
  for (u32 k = 0; k < 32; ++k) squares = squares + x[k] * x[k];
  Found found = with_minimum<T, 32>(x, square_root(squares / 32.0f));
  f32 scale = top_of<8>(found.scale), min = top_of<8>(found.min);
  u8 scale_code = (u8)nearest_int((scale > 0.0f ? 63.0f / scale : 0.0f) * found.scale);
  u8 min_code = (u8)nearest_int((min > 0.0f ? 63.0f / min : 0.0f) * found.min);
  scale_code = scale_code < 63 ? scale_code : 63;
  min_code = min_code < 63 ? min_code : 63;
  scale = put_half(block.half[0], scale / 63.0f, lane, refused);
  min = put_half(block.half[1], min / 63.0f, lane, refused);
  code_anew<T::TOP, 32>(x, found, scale * (f32)scale_code, min * (f32)min_code, block.code + 32 * lane);
  block.scale[lane] = scale_code;
  block.min[lane] = min_code;
}

// The first sixteen bytes: the halves; the lower bits of four scales and of four minima, with the upper ones of the others
// above them; the lower ones of those.
DEV u8 head_byte(const Block256& block, u32 at) {
  u32 n = at % 4;
  if (at < 4) return half_byte(block.half, at);
  if (at >= 12) return (u8)((block.scale[n + 4] & 15u) | (u32)block.min[n + 4] << 4);
  const u8* of = at < 8 ? block.scale : block.min;
  return (u8)(of[n] | (u32)(of[n + 4] >> 4) << 6);
}

struct Q4K {
  enum : u32 { BYTES = 144, VALUES = 256, LANES = 8, FLOATS = 0 };
  using Block = Block256;
  DEV void make(const Layer&, const f32*, const f32* x, u32 lane, Block& block, u32& refused) {
    eight<Tries<15, -10, 20, false>>(x, lane, block, refused);
  }
  DEV u8 byte(const Block& block, u32 at) {
    return at < 16 ? head_byte(block, at) : nibbles(block.code, at - 16, 32);
  }
};
BLOCKS_OF(q4_k, Q4K)

struct Q5K {
  enum : u32 { BYTES = 176, VALUES = 256, LANES = 8, FLOATS = 0 };
  using Block = Block256;
  DEV void make(const Layer&, const f32*, const f32* x, u32 lane, Block& block, u32& refused) {
    eight<Tries<31, -5, 15, false>>(x, lane, block, refused);
  }
  DEV u8 byte(const Block& block, u32 at) {
    if (at < 16) return head_byte(block, at);
    return at < 48 ? planes(block.code, at - 16, 4) : nibbles(block.code, at - 48, 32);
  }
};
BLOCKS_OF(q5_k, Q5K)
