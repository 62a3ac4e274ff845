// Encoding weights whose tiles have scales: these come of ranges.
#include "strips.cuh"

#define TILES_OF(name, coder) \
  ENCODER(name) { encode_tiles<coder, NoSearch>(layer, values, (u32)rows, (u32)columns, strands, all); }
TILES_OF(tiles_int, Int)
TILES_OF(tiles_e4m3, E4m3)
TILES_OF(tiles_e2m1, E2m1)
TILES_OF(gptq_encode, Gptq)
TILES_OF(awq_encode, Awq)
TILES_OF(bnb8_encode, Half)

// The largest magnitude of each row, which scales of a whole layer come of; a warp has a row. strands: 0 these.
ENCODER(largest) {
  f32* out = (f32*)strands.strand[0];
  u32 refused = 0;
  for (u64 base = thread_of_all() / 32 - threadIdx.x / 32; base < rows; base += all_threads() / 32) {
    u64 row = base + threadIdx.x / 32;
    f32 most = 0.0f;
    for (u64 at = threadIdx.x % 32; row < rows && at < columns; at += 32) {
      f32 value = values[row * columns + at];
      refused += !is_finite(value);
      most = magnitude(value) > most ? magnitude(value) : most;
    }
#pragma unroll
    for (u32 apart = 1; apart < 32; apart *= 2) {
      f32 other = SHFL_XOR(most, apart);
      most = other > most ? other : most;
    }
    if (row < rows && threadIdx.x % 32 == 0) out[row] = most;
  }
  tell_refused(refused, all);
}
