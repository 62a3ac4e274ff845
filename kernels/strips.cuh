// Encoding weights whose tiles have scales, in two passes over a few tiles at a time: first a scale of each tile's range,
// which may be searched for further, then a code of each value. Codes are packed into words as they are made.
#pragma once
#include "tiles.cuh"

// Tiles that a block holds at a time; src/quant/tiles/kernel.rs has the same number.
enum : u32 { TILES = 256 };

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

// Scales are those of ranges.
struct NoSearch {
  static constexpr bool IS = false;
};

// strands: 0 codes, 1 scales, 2 zero points, one signed byte each.
template <class Coder, class Search>
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
    bool is_large = !Search::IS && tiles < 8 && high * tiling.wide >= 1024;
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
      // Tiles of one row.
      if constexpr (Search::IS) {
        u32 at = (strip.row + top) * columns + strip.column + left;
        is = Search::better(layer, {values + at, top < end ? wide : 0}, is, range);
      }
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
