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
