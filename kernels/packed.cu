// Integer codes along the rows of the result, packed in words of 32 bits: compressed-tensors, AWQ's gemv.
// Source: compressed-tensors 0.20 `compressors/`; src/quant/compressed/decode.rs.
#include "affine.cuh"

namespace packed {

using namespace affine;

// Codes of 1 to 8 bits in words. number: 5 words of a row, 6 bits of a code, 7 codes of a word where bits behind them are
// wasted (0: none are).
struct Packed {
  Affine affine;
  u32 wide, bits, each;

  DEV Packed of(const Layer& layer) {
    return {Affine::of(layer), (u32)layer.number[5], (u32)layer.number[6], (u32)layer.number[7]};
  }

  void some(const u8* codes, u32 output, u32 row, u32 input, u32 count, f32* value) const {
    const u32* words = (const u32*)codes + (u64)row * wide;
    u32 mask = (1u << bits) - 1;
    if (each == 0) {
      u64 fields = bits_from(words, wide, input / 32 * bits + input % 32 * bits / 32, input * bits % 32, count * bits);
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        value[k] = number_of((u32)fields & mask);
        fields >>= bits;
      }
    } else {
      u32 word = input / each, at = input % each;
#pragma unroll
      for (u32 k = 0; k < 8; ++k) {
        if (k < count && word < wide) value[k] = number_of(words[word] >> (at * bits) & mask);
        if (++at == each) {
          at = 0;
          ++word;
        }
      }
    }
    affine.apply(affine.row(output + row), input, count, value);
  }
};
AFFINE(packed, along_rows, Packed)

}  // namespace packed
