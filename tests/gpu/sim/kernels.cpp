// The kernels themselves, compiled as C++.
#include "bnb4.cu"
#include "gptq.cu"
#include "marlin.cu"
#include "merge.cu"
#include "packed.cu"
#include "plain.cu"
#include "tinygemm.cu"
#include "words.cu"
