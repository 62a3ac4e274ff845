// The kernels themselves, compiled as C++.
#include "bnb4.cu"
#include "codebook.cu"
#include "int8.cu"
#include "merge.cu"
#include "mxfp4.cu"
#include "plain.cu"
#include "planes.cu"
#include "scaled.cu"
