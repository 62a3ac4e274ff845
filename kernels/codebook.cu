// AQLM: a group of weights is the sum of one vector of each codebook, rounded, times the scale of its outputs.
// Rust: src/quant/codebook/decode.rs.
#include "rows.cuh"

// table: 0 codebooks [books, size, outputs, inputs], 1 scales. number: 0 columns of a row, 1 they as a divisor, 2 outputs of
// a group, 3 they as a divisor, 4 inputs of a group, 5 they as a divisor, 6 books and, in the upper half, bytes of a code,
// 7 a book's size (a power of two), 8 the dtype of sums. Codes and the values of codebooks are fewer
// than 2^32.
struct Codebook {
  enum : u32 { SHARED = 0, SIXTEEN = 0 };
  struct Rows {
    u32 columns, high, wide, books, width, row0;
  };

  DEV Rows begin(const Layer& layer, u64 first, u64) {
    return {(u32)layer.number[0], (u32)layer.number[2],         (u32)layer.number[4],
            (u32)layer.number[6], (u32)(layer.number[6] >> 32), row_of(first, (u32)layer.number[0], layer.number[1])};
  }

  DEV void eight(const Rows& rows, const Layer& layer, const f32*, const u8* codes, u32 at, u32 count, f32* value) {
    u32 below = quotient(at, layer.number[1]);
    u32 row = rows.row0 + below, column = at - below * rows.columns;
    u32 across = quotient(rows.columns, layer.number[5]), size = (u32)layer.number[7];
    u32 group_size = rows.high * rows.wide, first_group = quotient(rows.row0, layer.number[3]);
    const f32 *vectors = (const f32*)layer.table[0], *scales = (const f32*)layer.table[1];
    // A place of shared memory each, so that the eight need not be unrolled.
    static __shared__ f32 sums[8][256];
#pragma unroll 1
    for (u32 k = 0; k < count; ++k) {
      u32 group = quotient(row, layer.number[3]), inner = row - group * rows.high;
      u32 place = quotient(column, layer.number[5]), input = column - place * rows.wide;
      u32 code = ((group - first_group) * across + place) * rows.books;
      u32 book = inner * rows.wide + input;
      f32 sum = 0.0f;
#pragma unroll 1
      for (u32 of = 0; of < rows.books; ++of) {
        u32 which = rows.width == 2 ? ((const u16*)codes)[code + of] : codes[code + of];
        sum = sum + vectors[book + (which & (size - 1)) * group_size];
        book += size * group_size;
      }
      sums[k][threadIdx.x] = rounded((u32)layer.number[8], sum) * scales[group];
      ++column;
      if (column == rows.columns) ++row, column = 0;
    }
#pragma unroll
    for (u32 k = 0; k < 8; ++k) value[k] = k < count ? sums[k][threadIdx.x] : 0.0f;
  }
};
ROWS(codebook, Codebook)
