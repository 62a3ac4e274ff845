// The kernels themselves, compiled as C++.
#include "bnb4.cu"
#include "merge.cu"
#include "plain.cu"
#include "tiles.cu"
