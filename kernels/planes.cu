// Planes: a matrix whose rows share bytes (or words) with rows that stand a step further: HQQ, quanto's 2 and 4 bits,
// BitNet. Rust: src/quant/decode/planes.rs.
#include "rows.cuh"

enum : u32 { BY_ROW = 0, BY_COLUMN = 1, BY_NOTHING = 2 };

// table: 0 scales, 1 offsets or none. number: 0 columns of the matrix, 1 they as a divisor, 2 rows of a part, 3 they as a
// divisor, 4 the lowest bits of the parts' codes, six bits each, 5 what shares a scale, bits of a code from 8 on, bytes of
// a packed element from 16 on, 6 the formula, 7 its factor.
struct Planes {
  enum : u32 { SHARED = 0, SIXTEEN = 0 };
  struct Rows {
    Formula formula;
    u32 columns, step, share, bits, unit, row0, column0;
    u64 base;
  };

  DEV Rows begin(const Layer& layer, u64 first, u64 count) {
    Rows rows;
    rows.formula = formula_of(layer.number[6], layer.number[7]);
    rows.columns = (u32)layer.number[0], rows.step = (u32)layer.number[2];
    u64 how = layer.number[5];
    rows.share = (u32)(how & 0xff), rows.bits = (u32)(how >> 8 & 0xff), rows.unit = (u32)(how >> 16 & 0xff);
    rows.row0 = row_of(first, rows.columns, layer.number[1]);
    rows.column0 = (u32)(first - (u64)rows.row0 * rows.columns);
    // Where the codes begin, as the decoder names them: at these very ones, at their row, or at the first of all.
    u32 last = row_of(first + count - 1, rows.columns, layer.number[1]);
    u32 part = quotient(rows.row0, layer.number[3]), last_part = quotient(last, layer.number[3]);
    u64 line = (u64)(rows.row0 - part * rows.step) * rows.columns;
    rows.base = rows.row0 == last                               ? line + rows.column0
                : part == last_part ? line
                                                                : 0;
    return rows;
  }

  DEV u32 part_shift(const Layer& layer, u32 part) { return (u32)(layer.number[4] >> (6 * part)) & 63u; }

  DEV void eight(const Rows& rows, const Layer& layer, const f32*, const u8* codes, u32 at, u32 count, f32* value) {
    u32 place = at + rows.column0;
    u32 below = quotient(place, layer.number[1]);
    u32 row = rows.row0 + below, column = place - below * rows.columns;
    u32 part = quotient(row, layer.number[3]), mask = (1u << rows.bits) - 1, shift = part_shift(layer, part);
    u64 index = (u64)(row - part * rows.step) * rows.columns + column - rows.base;
    const f32 *scales = (const f32*)layer.table[0], *offsets = (const f32*)layer.table[1];
    bool in_row = rows.columns - column >= 8;
    if (in_row && count == 8 && rows.unit == 1 && index % 8 == 0) {
      u64 word = ((const u64*)codes)[index / 8];
#pragma unroll
      for (u32 k = 0; k < 8; ++k) value[k] = (f32)((u32)(word >> (8 * k + shift)) & mask);
    } else {
      u32 row_of = row, column_of = column;
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        u32 word = k >= count ? 0 : rows.unit == 4 ? ((const u32*)codes)[index] : codes[index];
        value[k] = (f32)(word >> shift & mask);
        ++index, ++column_of;
        if (column_of == rows.columns) {
          ++row_of, column_of = 0;
          part = quotient(row_of, layer.number[3]), shift = part_shift(layer, part);
          index = (u64)(row_of - part * rows.step) * rows.columns - rows.base;
        }
      }
    }
    f32 scale[8], offset[8];
    if (rows.share == BY_NOTHING || (rows.share == BY_ROW && in_row)) {
      u32 of = rows.share == BY_ROW ? row : 0;
      f32 one = scales[of], other = offsets ? offsets[of] : 0.0f;
#pragma unroll
      for (u32 k = 0; k < 8; ++k) scale[k] = one, offset[k] = other;
    } else {
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        u32 of = rows.share == BY_ROW ? row : column;
        scale[k] = k < count ? scales[of] : 1.0f;
        offset[k] = k < count && offsets ? offsets[of] : 0.0f;
        ++column;
        if (column == rows.columns) ++row, column = 0;
      }
    }
    apply<true>(rows.formula, value, scale, offset);
    round_all<8>(rows.formula.outer, value);
  }
};
ROWS(planes, Planes)
