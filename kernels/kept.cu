// Blocks that keep their stored bytes: what an encoder made of a block is taken only where its values are others than those
// that are stored.
#include "encode.cuh"

// A warp has a block. strands: 0 the blocks as they are stored, which become the result, 1 as they were made, 2 the values
// of the stored ones; number: 0 values of a block, 1 its bytes.
ENCODER(changed_blocks) {
  u64 size = layer.number[0], bytes = layer.number[1], blocks = rows * columns / size;
  const f32* stored = (const f32*)strands.strand[2];
  for (u64 block = thread_of_all() / 32; block < blocks; block += all_threads() / 32) {
    u32 is_changed = 0;
    for (u64 at = block * size + threadIdx.x % 32; at < (block + 1) * size; at += 32) {
      is_changed |= values[at] == stored[at] ? 0 : 1;
    }
#pragma unroll
    for (u32 apart = 1; apart < 32; apart *= 2) is_changed |= SHFL_XOR(is_changed, apart);
    if (!is_changed) continue;
    for (u64 at = block * bytes + threadIdx.x % 32; at < (block + 1) * bytes; at += 32) {
      strands.strand[0][at] = strands.strand[1][at];
    }
  }
}
