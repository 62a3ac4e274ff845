// The kernels themselves, compiled as C++.
#include "bnb4.cu"
#include "merge.cu"
#include "plain.cu"
#include "planes.cu"
#include "scaled.cu"
