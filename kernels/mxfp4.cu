// MXFP4 of gpt-oss: `code * scale`, turned. Codes are [experts, outputs, blocks, 16 bytes] with 32 inputs a block, values
// [experts, inputs, outputs]. Rust: src/quant/mxfp4/decode.rs.
#include "values.cuh"

// A tile: 128 outputs times four blocks of inputs, 64 bytes of codes an output.
enum : u32 { HIGH = 128, BLOCKS = 4, WORDS = BLOCKS * 4 };

// The fields of a code are those of a float that is 2^126 times smaller.
DEV f32 e2m1(u32 code) { return of_bits((code & 7u) << 22 | (code & 8u) << 28) * of_bits((126 + 127) << 23); }

// table: 0 scales [experts, outputs, blocks]; number: 0 outputs, 1 blocks.
struct Mxfp4;
template <class, u32 OUT>
DEV void turned(const Layer& layer, const u8* codes, u64 first, u64 count, u32 native, u8* out, u32* all) {
  static __shared__ u32 words[HIGH][WORDS + 1];
  static __shared__ f32 scales[HIGH][BLOCKS + 1];
  u64 outputs = layer.number[0], blocks = layer.number[1];
  const f32* stored = (const f32*)layer.table[0];
  // Rows are inputs; their blocks are counted over all experts.
  u64 row0 = first / outputs, end = row0 + count / outputs, block0 = row0 / 32, block_end = (end + 31) / 32;
  u64 first_expert = block0 / blocks;
  u64 high = (outputs + HIGH - 1) / HIGH, tiles = high * ((block_end - block0 + BLOCKS - 1) / BLOCKS);
  Seen seen = {0, 0};
  for (u64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    u64 output0 = tile % high * HIGH, from = block0 + tile / high * BLOCKS;
    u32 there = outputs - output0 < HIGH ? (u32)(outputs - output0) : HIGH;
#pragma unroll 1
    for (u32 k = threadIdx.x; k < HIGH * BLOCKS; k += blockDim.x) {
      u32 output = k / BLOCKS, of = k % BLOCKS;
      u64 block = from + of;
      if (output < there && block < block_end) {
        u64 expert = block / blocks;
        u64 place = (expert * outputs + output0 + output) * blocks + block % blocks;
        Four four = ((const Four*)codes)[place - first_expert * outputs * blocks];
#pragma unroll
        for (u32 w = 0; w < 4; ++w) words[output][of * 4 + w] = four.word[w];
        scales[output][of] = stored[place];
      }
    }
    __syncthreads();
    // Sixteen threads make eight inputs of 128 outputs, eight outputs each.
    u32 output = threadIdx.x % 16 * 8, word = threadIdx.x / 16;
    u64 row = (from + word / 4) * 32 + word % 4 * 8;
    if (output < there && row < end && row + 8 > row0) {
      u32 here = there - output < 8 ? there - output : 8;
      bool is_even = outputs % 8 == 0;
#pragma unroll 1
      for (u32 k = 0; k < 8; ++k) {
        if (row + k < row0 || row + k >= end) continue;
        f32 value[8];
#pragma unroll
        for (u32 o = 0; o < 8; ++o) {
          bool is_there = o < here;
          u32 code = is_there ? words[output + o][word] >> (4 * k) : 0;
          value[o] = e2m1(code) * (is_there ? scales[output + o][word / 4] : 1.0f);
        }
        u64 at = (row + k - row0) * outputs + output0 + output;
        if (is_even) {
          store_eight<OUT>(out, at, 8, native, value, seen);
        } else {
          store_eight<OUT>(out, at, here < 7 ? here : 7, native, value, seen);
          if (here == 8) put_one<OUT>(out, at + 7, rounded(native, value[7]), seen);
        }
      }
    }
    __syncthreads();
  }
  tell(seen, all);
}

DECODER(KERNEL, mxfp4, turned, Mxfp4)
