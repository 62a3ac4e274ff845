// Affine codes: `(code - zero) * scale`, with scales and zero points by output and group of inputs, as
// src/quant/affine.rs has them; and the two ways in which integer codes lie: along the rows of the result, or along its
// columns.
#pragma once
#include "values.cuh"

namespace affine {

// table: 0 scales, 1 zero points in the same order (one of them for all codes: ONE), 2 the group of each input;
// number: 0 inputs, 1 scales of a row, 2 inputs of a group (0: by table 2) and above 32 bits a shift, 3 what zero points
// do and above 32 bits a factor, 4 outputs that rows of scales are counted in and above 32 bits how many share one (0: all
// share the first). Group `i` of an input below 2^31 is `input * factor >> shift`. Numbers from 5 on are the format's own.
struct Pair {
  f32 by, less;
};
struct Affine {
  // What zero points do.
  enum : u32 { ONE = 0, EACH = 1, ADDED = 2 };

  const f32* scales;
  const f32* zeros;
  const u32* list;
  u32 inputs, width, size, shift, kind, factor, outputs, high;

  DEV Affine of(const Layer& layer) {
    return {(const f32*)layer.table[0], (const f32*)layer.table[1],     (const u32*)layer.table[2],
            (u32)layer.number[0],       (u32)layer.number[1],           (u32)layer.number[2],
            (u32)(layer.number[2] >> 32), (u32)layer.number[3],         (u32)(layer.number[3] >> 32),
            (u32)layer.number[4],       (u32)(layer.number[4] >> 32)};
  }

  u32 group(u32 input) const { return (u32)((u64)input * factor >> shift); }

  // Returns the row of scales of an output.
  u32 row(u32 output) const {
    if (high < 2) return high * output;
    return output / outputs * ((outputs + high - 1) / high) + output % outputs / high;
  }

  // True if so many inputs from `input` on have one group.
  bool is_one_group(u32 input, u32 count) const { return size > 0 && group(input) == group(input + count - 1); }

  // What codes of a row of scales and a group become: the scale, and what is subtracted or added.
  Pair pair(u32 row, u32 group) const {
    u64 at = (u64)row * width + group;
    return {scales[at], zeros[kind == ONE ? 0 : at]};
  }
  f32 made(f32 code, Pair pair) const {
    return kind == ADDED ? code * pair.by + pair.less : (code - pair.less) * pair.by;
  }

  // Turns eight codes with a row of scales, from `input` on, into weights; those behind `count` into anything.
  void apply(u32 row, u32 input, u32 count, f32* value) const {
    u64 from = (u64)row * width;
    const f32* scale = scales + from;
    const f32* zero = kind == ONE ? zeros : zeros + from;
    u32 is = group(input);
    if (is_one_group(input, count)) {
      f32 by = scale[is], less = zero[kind == ONE ? 0 : is];
      if (kind == ADDED) {
#pragma unroll
        for (u32 k = 0; k < 8; ++k) value[k] = value[k] * by + less;
      } else {
#pragma unroll
        for (u32 k = 0; k < 8; ++k) value[k] = (value[k] - less) * by;
      }
      return;
    }
    u32 within = input - is * size;
    // Four at a time, which then change places with the others: fewer registers.
#pragma unroll 1
    for (u32 half = 0; half < 8; half += 4) {
#pragma unroll
      for (u32 k = 0; k < 4; ++k) {
        // Behind the last input there is none: the last again.
        u32 at = input + half + k < inputs ? input + half + k : inputs - 1;
        if (size == 0) is = list[at];
        f32 by = scale[is], less = zero[kind == ONE ? 0 : is];
        f32 made = kind == ADDED ? value[k] * by + less : (value[k] - less) * by;
        value[k] = value[k + 4];
        value[k + 4] = made;
        within += 1;
        bool is_next = within == size && is + 1 < width;
        is += is_next;
        within = is_next ? 0 : within;
      }
    }
  }
};

// A code of fewer than 23 bits as a number, without a conversion, of which a multiprocessor does fewer at a time.
DEV f32 number_of(u32 code) { return of_bits(0x4b000000u | code) - 8388608.0f; }

// Tables: where the inputs of a tile are of one group, codes of 4 bits have 16 values a row. A block makes these once, in
// bf16 and in shared memory, and then looks up, which takes fewer instructions than making and rounding each value.
enum : u32 { TABLE = 16 };

// Makes COUNT entries of a table, from the code `first` on, and stores them in words of two. Codes of 8 and more are
// negative where `sign` is 8, and not where it is 0.
template <u32 COUNT>
DEV void make_table(const Affine& affine, Pair pair, u32 first, u32 sign, u32 native, u32* table, Seen& seen) {
  bool is_any = false;
#pragma unroll 2
  for (u32 k = 0; k < COUNT; k += 2) {
    f32 value[2];
#pragma unroll
    for (u32 j = 0; j < 2; ++j) {
      value[j] = affine.made(number_of((first + k + j) ^ sign) - (f32)sign, pair);
      is_any |= value[j] != value[j];
    }
    round_native<BF16, 2>(native, value);
    table[k / 2] = permuted(over_bf16(value[0]), over_bf16(value[1]), 0x7632u);
  }
  seen.nans += is_any;
}

// Four codes of 4 bits each as the places of their entries, two bytes each: those in the low or the high halves of bytes,
// with the low byte of where their table begins, a multiple of 32.
DEV u32 low_places(u32 codes, u32 table) { return (codes << 1 & 0x1e1e1e1eu) | (table & 0xffu) * 0x01010101u; }
DEV u32 high_places(u32 codes, u32 table) { return (codes >> 3 & 0x1e1e1e1eu) | (table & 0xffu) * 0x01010101u; }

// The entry of one of four places, for a table below 2^16.
DEV u32 entry(const u32* tables, u32 places, u32 k, u32 table) {
  return *(const u16*)((const u8*)tables + permuted(places, table, 0x7650u + k));
}

// Returns the `need` bits (64 at most) of words from bit `shift` of word `at` on; words from `end` on read as zeros.
DEV u64 bits_from(const u32* words, u32 end, u32 at, u32 shift, u32 need) {
  u32 word[3];
#pragma unroll
  for (u32 k = 0; k < 3; ++k) word[k] = at + k < end && shift + need > 32 * k ? words[at + k] : 0;
  u64 above = (u64)word[2] << 32 | word[1], low = (u64)word[1] << 32 | word[0];
  return (low >> shift & 0xffffffffu) | above >> shift << 32;
}

// Rounds and writes at most eight values from element `at` on, which need not be a multiple of 8.
template <u32 OUT>
DEV void store_some(u8* out, u64 at, u32 count, u32 native, f32* value, Seen& seen) {
  // Eight that do not begin at a multiple are written as one and seven.
  if (count == 8 && at % 8 != 0) {
    put_one<OUT>(out, at + 7, rounded(native, value[7]), seen);
    count = 7;
  }
  store_eight<OUT>(out, at, count, native, value, seen);
}

// A place in a grid that goes on in steps, without a division for each. A layer has fewer than 2^31 rows, and as many
// inputs.
struct Walk {
  u32 down, right, wide, step_down, step_right;

  DEV Walk from(u64 first, u64 step, u32 wide) {
    return {(u32)first / wide, (u32)first % wide, wide, (u32)step / wide, (u32)step % wide};
  }

  void next() {
    down += step_down;
    right += step_right;
    if (right >= wide) {
      right -= wide;
      down += 1;
    }
  }
};

// Codes that lie along the rows of the result: `Format::some` gives `count` values, at most eight, of row `row` of those
// that are asked for, from input `input` on, all of one row.
template <class Format, u32 OUT>
DEV void along_rows(const Layer& layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) {
  Format format = Format::of(layer);
  u32 inputs = format.affine.inputs, output = (u32)(first / inputs);
  Seen seen = {0, 0};
  Walk place = Walk::from(thread_of_all() * 8, all_threads() * 8, inputs);
  for (u64 at = thread_of_all() * 8; at < count; at += all_threads() * 8, place.next()) {
    u32 here = count - at < 8 ? (u32)(count - at) : 8, row = place.down, input = place.right;
    u64 to = at;
    // Once, but where a row ends among the eight.
#pragma unroll 1
    while (here > 0) {
      u32 some = inputs - input < here ? inputs - input : here;
      f32 value[8] = {};
      format.some(codes, output, row, input, some, value);
      store_some<OUT>(out, to, some, native, value, seen);
      here -= some;
      to += some;
      row += 1;
      input = 0;
    }
  }
  tell(seen, all);
}

}  // namespace affine

// The kernels of a decoder that is one of the functions above, or another template of its parameters.
#define AFFINE(name, decode, format) DECODER(WIDE_KERNEL, name, decode, format)
