// Encoding a layer again, as it is stored: on the scales that it has, and on new ones of the same groups, with what either
// loses of each row. A block makes whole rows: their new scales first, then both kinds of codes, then the sums.
// Sources: src/quant/tiled.rs (Own), qweight/packer.rs, regroup.rs.
#include "tiles.cuh"

// Of so many values errors are summed by eight lanes, before their sum is added to that of the group.
enum : u32 { PIECE = 256, LANES = 8, THREADS = 256 };

// Numbers as of `Tiling`, where `flags` are those of new codes, and the columns of a tile are the number of groups where these are
// strewn. More of number: 2 flags of codes on the stored scales; 3 << 32: 0..1 the dtype in which values are read, 2 set if
// there are new scales, 3 if one scale is stored for all, 4 if there are no stored ones, 8.. pieces of the longest group;
// 9 of stacks of matrices that come turned: the columns of one as it is stored, 0 otherwise.
// table: 0 of GPTQ and AWQ the stored codes of the rows that are given, one an f32, where they have a say; 1 stored scales, 2 stored zero points, if any; of strewn groups: 3 the inputs in the order of groups, 4 the group
// of each input, 5 where each group begins in that order, and where the last ends.
struct Own {
  u32 high, wide, apart, together, row_bytes, read_as, pieces, columns, turned, groups, has_new, has_stored, is_one;
  u64 flags, stored_flags;
  const f32 *worth, *zero, *held;
  const u32 *order, *group_of, *starts;
  u8 *stored_codes, *codes, *scales, *zeros;
  f64 *stored_lost, *lost;
};
// Rows whose codes are packed together: `rows` of them from `row` on; the tiles that begin with them are `tile` of those
// that are given and `stored` of the layer, in rows of tiles of `high` rows each.
struct Band {
  u32 row, rows, tile, stored, high;
};
// Of all threads of a block one holds them, and each looks there when it needs one: registers are few.
typedef volatile Own Held;
typedef volatile Band HeldBand;

DEV void hold(Held& own, const Layer& layer, u32 columns, const Strands& strands) {
  Tiling tiling = Tiling::of(layer);
  u32 more = (u32)(layer.number[3] >> 32);
  own.high = tiling.high;
  own.wide = tiling.wide;
  own.apart = tiling.apart;
  own.together = tiling.together;
  own.row_bytes = tiling.row_bytes;
  own.flags = tiling.flags;
  own.stored_flags = layer.number[2];
  own.read_as = more & 3u;
  own.has_new = more >> 2 & 1;
  own.is_one = more >> 3 & 1;
  own.pieces = more >> 8;
  own.worth = (const f32*)layer.table[1];
  own.zero = (const f32*)layer.table[2];
  // The others look up rules there.
  own.held = rule_of(own.flags) == GPTQ || rule_of(own.flags) == AWQ ? (const f32*)layer.table[0] : 0;
  own.order = (const u32*)layer.table[3];
  own.group_of = (const u32*)layer.table[4];
  own.starts = (const u32*)layer.table[5];
  own.has_stored = !(more >> 4 & 1);
  own.stored_codes = strands.strand[0];
  own.stored_lost = (f64*)strands.strand[1];
  own.codes = own.has_stored ? strands.strand[2] : strands.strand[0];
  own.scales = own.has_stored ? strands.strand[3] : strands.strand[1];
  own.zeros = own.has_stored ? strands.strand[4] : strands.strand[2];
  own.lost = (f64*)strands.strand[5];
  own.turned = layer.number[9] ? columns : 0;
  own.columns = layer.number[9] ? (u32)layer.number[9] : columns;
  own.groups = layer.table[5] ? tiling.wide : (own.columns + tiling.wide - 1) / tiling.wide;
}
DEV u32 start_of(const Held& own, u32 group) {
  if (own.starts) return own.starts[group];
  u32 start = group * own.wide;
  return start < own.columns ? start : own.columns;
}
DEV u32 input_at(const Held& own, u32 place) { return own.order ? own.order[place] : place; }
DEV f32 value_at(const Held& own, const f32* values, u32 row, u32 input) {
  if (own.turned == 0) return values[row * own.columns + input];
  return values[(row / own.turned * own.columns + input) * own.turned + row % own.turned];
}
DEV u32 group_at(const Held& own, u32 input) { return own.group_of ? own.group_of[input] : input / own.wide; }

// A scale as it is used.
struct Used {
  f32 by, zero, worth;
};

// True where a scale that is stored in full does not say what values are multiplied by: then that is held in its place
// until all codes are made.
DEV bool holds_factor(const Layer& layer) {
  return rule_of(layer.number[4]) == INVERSE && (u32)layer.number[6] == F32;
}

DEV f32 loaded_scale(u32 as, const u8* scales, u32 at) {
  if (as == AS_F32) return ((const f32*)scales)[at];
  if (as == AS_F16) return f16_value(((const u16*)scales)[at]);
  if (as == AS_BF16) return bf16_value(((const u16*)scales)[at]);
  return as == AS_E4M3 ? e4m3_value(scales[at]) : power_of_two((i32)scales[at]);
}

DEV Used stored_scale(const Held& own, u32 tile, u32 group) {
  u32 at = own.is_one ? 0 : tile * own.groups + group;
  f32 worth = own.worth[at];
  return {worth == 0.0f ? of_bits(0x7f800000u) : worth, own.zero ? own.zero[at] : 0.0f, worth};
}

DEV Used new_scale(const Held& own, const Layer& layer, u32 tile, u32 group) {
  u64 flags = own.flags;
  u32 at = tile * own.groups + group, rule = rule_of(flags);
  if (rule == FIXED) {
    return {of_bits((u32)layer.number[5]), of_bits((u32)layer.number[6]), of_bits((u32)layer.number[8])};
  }
  f32 scale = loaded_scale(stored_as(flags), own.scales, at);
  f32 global = of_bits((u32)layer.number[5]);
  if (rule == INVERSE) return holds_factor(layer) ? Used{scale, 0.0f, 1.0f / scale} : Used{1.0f / scale, 0.0f, scale};
  if (rule == POWER) return {1.0f / scale, 0.0f, scale};
  if (rule == FACTOR) return {scale, 0.0f, 1.0f / scale};
  if (rule == NVFP4) return {scale / global, 0.0f, scale / global};
  if (rule == SECOND) {
    f32 worth = scale * global;
    return {worth == 0.0f ? of_bits(0x7f800000u) : worth, 0.0f, worth};
  }
  if (!has_zeros(flags)) return {scale, 0.0f, scale};
  // Of integers that are counted from below 0 zero points are signed.
  f32 zero = rule == INTS ? (f32)(i8)own.zeros[at] : (f32)own.zeros[at];
  return {scale, zero, scale};
}

// One of two kinds of codes.
struct Side {
  u64 flags;
  bool is_new;
};
DEV Used used(const Held& own, const Layer& layer, const Side& side, const HeldBand& band, u32 row, u32 group) {
  u32 down = row / band.high;
  return side.is_new ? new_scale(own, layer, band.tile + down, group)
                     : stored_scale(own, band.stored + down, group);
}

// Finds the new scale of each tile.
template <class Coder>
DEV u32 find(const Held& own, const Layer& layer, const f32* values, const HeldBand& band) {
  static __shared__ f32 ranges[2][THREADS / 32];
  u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, flags_as = stored_as(own.flags);
  u32 tiles = (band.rows + band.high - 1) / band.high * own.groups, refused = 0;
  // Few tiles are of all warps, each after the other.
  bool is_shared = tiles < THREADS / 32;
  u32 first = is_shared ? threadIdx.x : lane, step = is_shared ? THREADS : 32;
#pragma unroll 1
  for (u32 tile = is_shared ? 0 : warp; tile < tiles; tile += is_shared ? 1 : THREADS / 32) {
    u32 down = tile / own.groups, group = tile % own.groups, start = start_of(own, group);
    u32 wide = start_of(own, group + 1) - start, top = down * band.high;
    u32 high = band.rows - top < band.high ? band.rows - top : band.high;
    Range range = {0.0f, 0.0f};
#pragma unroll 1
    for (u32 at = first; at < high * wide; at += step) {
      u32 row = band.row + top + at / wide;
      widen(range, value_at(own, values, row, input_at(own, start + at % wide)), refused);
    }
    range = of_warp(range);
    if (is_shared) {
      if (lane == 0) {
        ranges[0][warp] = range.least;
        ranges[1][warp] = range.largest;
      }
      __syncthreads();
      for (u32 k = 0; k < THREADS / 32; ++k) {
        range.least = ranges[0][k] < range.least ? ranges[0][k] : range.least;
        range.largest = ranges[1][k] > range.largest ? ranges[1][k] : range.largest;
      }
      __syncthreads();
    }
    if (lane == 0 && (warp == 0 || !is_shared)) {
      Step is = Coder::step(layer, rule_of(own.flags), range);
      if (wide == 0) {
        // A group without inputs stays what it is.
        Used stored = stored_scale(own, band.stored + down, group);
        is = {stored.by, stored.zero, stored.worth, false};
      }
      refused += is.is_refused;
      u32 to = (band.tile + down) * own.groups + group;
      store_scale(flags_as, own.scales, to, holds_factor(layer) ? is.by : is.stored);
      if (has_zeros(own.flags)) {
        own.zeros[to] = is_nan(is.zero) ? 0 : (u8)(i32)smaller(is.zero, 255.0f);
      }
    }
  }
  return refused;
}

// The code of the value at row `row` of those that are given, and an input. The stored one stays where it is read as the
// value, and by a scale of 0.
template <class Coder>
DEV u32 code_of(const Held& own, const Side& side, f32 value, u32 row, u32 input, const Used& scale) {
  if (own.held && !side.is_new) {
    f32 held = own.held[row * own.columns + input];
    if (scale.worth == 0.0f || rounded(own.read_as, scale.worth * (held - scale.zero)) == value) return (u32)held;
  }
  return Coder::code(side.flags, value, scale.by, scale.zero) & ((1u << bits_of_code(side.flags)) - 1);
}

// The same of row `row` of a band; `scale` is that of `group`, if that is one.
template <class Coder>
DEV u32 code_at(const Held& own, const Layer& layer, const f32* values, const HeldBand& band,
                const Side& side, u32 row, u32 input, u32& group, Used& scale) {
  u32 is = group_at(own, input);
  if (is != group) {
    group = is;
    scale = used(own, layer, side, band, row, group);
  }
  f32 value = value_at(own, values, band.row + row, input);
  return code_of<Coder>(own, side, value, band.row + row, input, scale);
}

enum : u32 { NO_GROUP = 0xffffffffu };

// Packs codes as they lie.
template <class Coder>
DEV void pack(const Held& own, const Layer& layer, const f32* values, const HeldBand& band, const Side& side) {
  u8* out = side.is_new ? own.codes : own.stored_codes;
  u32 lying = packing_of(side.flags), bits = bits_of_code(side.flags);
  if (lying == COLUMNS || lying == WOVEN) {
    // A unit is a column of eight rows, or four inputs of one row that stand in a half of a word.
    u32 units = band.rows == 0 ? 0 : own.columns;
#pragma unroll 1
    for (u32 unit = threadIdx.x; unit < units; unit += THREADS) {
      u32 word = 0, group = NO_GROUP;
      Used scale;
      u32 within = unit % 64, woven = unit / 64 * 64 + within % 16 / 8 * 32 + within % 8;
#pragma unroll 1
      for (u32 k = 0; k < (lying == COLUMNS ? 8u : 4u); ++k) {
        u32 row = lying == COLUMNS ? k : within / 16, input = lying == COLUMNS ? unit : woven + k * 8;
        if (lying == COLUMNS) group = NO_GROUP;
        u32 code = code_at<Coder>(own, layer, values, band, side, row, input, group, scale);
        word |= code << (4 * (lying == COLUMNS ? k % 2 * 4 + k / 2 : k));
      }
      if (lying == COLUMNS) ((u32*)out)[band.row / 8 * own.columns + unit] = word;
      else ((u16*)out)[band.row / 4 * own.columns + unit] = (u16)word;
    }
    return;
  }
  if (lying == PLANES) {
    u32 words = (own.columns + 31) / 32 * bits;
#pragma unroll 1
    for (u32 unit = threadIdx.x; unit < words * band.rows; unit += THREADS) {
      u32 row = unit / words, at = unit % words, within = at % bits, low = 0, wide = bits >= 4 ? 4 : 2;
      if (bits == 8) wide = 8;
      while (within >= low + wide) {
        low += wide;
        wide = bits - low >= 2 ? 2 : 1;
      }
      u32 each = 32 / wide, from = at / bits * 32 + (within - low) * each, word = 0, group = NO_GROUP;
      Used scale;
#pragma unroll 1
      for (u32 k = 0; k < each && from + k < own.columns; ++k) {
        u32 code = code_at<Coder>(own, layer, values, band, side, row, from + k, group, scale);
        word |= (code >> low & ((1u << wide) - 1)) << (k * wide);
      }
      ((u32*)out)[(band.row + row) * words + at] = word;
    }
    return;
  }
  u32 each = lying == SETS ? 32 : codes_of_word(side.flags), units = (own.columns + each - 1) / each;
#pragma unroll 1
  for (u32 unit = threadIdx.x; unit < units * band.rows; unit += THREADS) {
    u32 row = unit / units, from = unit % units * each, here = own.columns - from < each ? own.columns - from : each;
    u32 at = (band.row + row) * own.row_bytes + from / each * (lying == SETS ? 4 * bits : 4);
    u32 held = 0, group = NO_GROUP;
    u64 pending = 0;
    Used scale;
#pragma unroll 1
    for (u32 k = 0; k < here || held > 0; ++k) {
      if (k < here) {
        pending |= (u64)code_at<Coder>(own, layer, values, band, side, row, from + k, group, scale) << held;
        held += bits;
      }
      if (held >= 32 || k + 1 >= here) {
        // Behind the last code a row of bytes ends where its bits do, others with the word.
        u32 bytes = lying == BYTES && held < 32 ? (held + 7) / 8 : 4;
        if (bytes == 4 && at % 4 == 0) {
          *(u32*)(out + at) = (u32)pending;
        } else {
          for (u32 byte = 0; byte < bytes; ++byte) out[at + byte] = (u8)(pending >> (8 * byte));
        }
        at += bytes;
        pending >>= 32;
        held = held > 32 ? held - 32 : 0;
      }
    }
  }
}

// Sums what codes lose of each row, as src/quant/regroup.rs does: eight lanes of a piece, then pieces of a group, then
// groups.
template <class Coder>
DEV u32 measure(const Held& own, const Layer& layer, const f32* values, const HeldBand& band,
                    const Side& side) {
  static __shared__ f64 lanes[THREADS], sums[THREADS / LANES];
  u32 each = THREADS / LANES, of_row = own.groups * own.pieces, units = of_row * band.rows;
  f64 of_group = 0.0, of_all = 0.0, *lost = side.is_new ? own.lost : own.stored_lost;
  u32 refused = 0;
#pragma unroll 1
  for (u32 base = 0; base < units; base += each) {
    u32 unit = base + threadIdx.x / LANES;
    f64 sum = 0.0;
    if (unit < units) {
      u32 row = unit / of_row, group = unit % of_row / own.pieces, start = start_of(own, group);
      u32 end = start_of(own, group + 1);
      start += unit % own.pieces * PIECE;
      end = start + PIECE < end ? start + PIECE : end;
      Used scale = used(own, layer, side, band, row, group);
#pragma unroll 1
      for (u32 place = start + threadIdx.x % LANES; place < end; place += LANES) {
        u32 input = input_at(own, place);
        f32 value = value_at(own, values, band.row + row, input);
        u32 code = code_of<Coder>(own, side, value, band.row + row, input, scale);
        f32 read = rounded(own.read_as, (Coder::number(side.flags, code) - scale.zero) * scale.worth);
        f64 error = (f64)value - (f64)read;
        sum += error * error;
        refused += !is_finite(value);
      }
    }
    lanes[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x < each) {
      f64 of_piece = lanes[threadIdx.x * LANES];
      for (u32 k = 1; k < LANES; ++k) of_piece += lanes[threadIdx.x * LANES + k];
      sums[threadIdx.x] = of_piece;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      for (u32 k = 0; k < each && base + k < units; ++k) {
        u32 at = (base + k) % of_row;
        of_group = at % own.pieces == 0 ? sums[k] : of_group + sums[k];
        if (at % own.pieces == own.pieces - 1) of_all = at < own.pieces ? of_group : of_all + of_group;
        if (at == of_row - 1) lost[band.row + (base + k) / of_row] = of_all;
      }
    }
  }
  return refused;
}

// strands: 0 codes on the stored scales, 1 what they lose; 2 codes on new scales, 3 these, 4 zero points, 5 what they lose.
// Without stored ones: 0 codes, 1 scales, 2 zero points.
template <class Coder>
DEV void encode_own(const Layer& layer, const f32* values, u32 first_row, u32 rows, u32 columns, const Strands& strands,
                    u32* all) {
  static __shared__ Held own;
  static __shared__ HeldBand band;
  if (threadIdx.x == 0) hold(own, layer, columns, strands);
  __syncthreads();
  if (own.turned != 0) {
    first_row = first_row / own.columns * columns;
    rows = rows / own.columns * columns;
  }
  u32 apart = own.apart, together = own.together, tall = together / own.high, refused = 0;
  u32 bands_apart = (apart + together - 1) / together, bands = (rows + apart - 1) / apart * bands_apart;
#pragma unroll 1
  for (u32 at = blockIdx.x; at < bands; at += gridDim.x) {
    u32 within = at % bands_apart * together, most = apart - within < together ? apart - within : together;
    u32 row = at / bands_apart * apart + within, rest = row < rows ? rows - row : 0;
    u32 high = tall > 1 ? own.high : most;
    if (threadIdx.x == 0) {
      band.row = row;
      band.rows = rest < most ? rest : most;
      band.tile = at * tall;
      band.stored = (first_row / apart * bands_apart + at) * tall;
      band.high = high;
    }
    __syncthreads();
    if (own.has_new) refused += find<Coder>(own, layer, values, band);
    __syncthreads();
#pragma unroll 1
    for (u32 side = own.has_stored ? 0 : 1; side < (own.has_new ? 2u : 1u); ++side) {
      Side is = {side != 0 ? own.flags : own.stored_flags, side != 0};
      pack<Coder>(own, layer, values, band, is);
      if (own.has_stored) refused += measure<Coder>(own, layer, values, band, is);
    }
    __syncthreads();
    if (own.has_new && holds_factor(layer)) {
      f32* scales = (f32*)own.scales + band.tile * own.groups;
      u32 tiles = (band.rows + band.high - 1) / band.high * own.groups;
      for (u32 k = threadIdx.x; k < tiles; k += THREADS) scales[k] = 1.0f / scales[k];
    }
    __syncthreads();
  }
  tell_refused(refused, all);
}

#define OWN(name, coder) \
  ENCODER_OF(WIDE_KERNEL, name) { encode_own<coder>(layer, values, (u32)first_row, (u32)rows, (u32)columns, strands, all); }
OWN(own_int, Int)
OWN(own_e4m3, E4m3)
OWN(own_e2m1, E2m1)
OWN(own_gptq, Gptq)
OWN(own_awq, Awq)
