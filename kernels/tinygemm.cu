// torchao's tiles of tinygemm, `[out / 8, tiles, 32, words]`: lane `t` holds output `t / 4` of eight; its word `w` eight
// inputs of the 32 from `32 (tile * words + w)` on: with `j = t % 4`, those at `2j`, `8 + 2j`, `16 + 2j` and `24 + 2j` in
// nibbles 0 to 3, each one's neighbor four nibbles above it.
// Source: PyTorch `int4mm.cu` (`matrix_to_m16n8k16_Bint4_layout`); src/quant/torchao/tiles.rs.
#include "affine.cuh"

namespace tinygemm {

using namespace affine;

// table: 0 a scale and a zero for each output, group by group; number: 0 inputs, 1 inputs of a group, 2 outputs with those
// that are padded, 3 tiles along inputs, 4 words of a lane, 5 the dtype that products are rounded to.
struct Tiles {
  struct {
    u32 inputs;
  } affine;
  const f32* scales;
  u32 group, outputs, tiles, words, product;

  DEV Tiles of(const Layer& layer) {
    return {{(u32)layer.number[0]}, (const f32*)layer.table[0], (u32)layer.number[1], (u32)layer.number[2],
            (u32)layer.number[3],   (u32)layer.number[4],       (u32)layer.number[5]};
  }

  void some(const u8* codes, u32 first, u32 row, u32 input, u32 count, f32* value) const {
    u32 output = first + row, run = input / 32;
    u64 tile = (u64)(output / 8 - first / 8) * tiles + run / words;
    const u32* lane = (const u32*)codes + (tile * 32 + output % 8 * 4) * words + run % words;
    u32 word[4];
#pragma unroll
    for (u32 k = 0; k < 4; ++k) word[k] = lane[k * words];
    u32 group_of = input / group, within = input % group;
    const f32* scale = scales + ((u64)group_of * outputs + output) * 2;
#pragma unroll
    for (u32 k = 0; k < 8; ++k) {
      // Eight that begin within eight go on in the next, never beyond the run: `count` is less then.
      u32 at = input % 32 + k, nibble = at / 8 % 4 + at % 2 * 4, half = at % 8 / 2;
      u32 from = half < 2 ? (half == 0 ? word[0] : word[1]) : (half == 2 ? word[2] : word[3]);
      if (k < count) value[k] = rounded(product, (number_of(from >> (4 * nibble) & 15u) - 8.0f) * scale[0]) + scale[1];
      within += 1;
      if (within == group) {
        within = 0;
        scale += (u64)outputs * 2;
      }
    }
  }
};
AFFINE(tinygemm, along_rows, Tiles)

}  // namespace tinygemm
