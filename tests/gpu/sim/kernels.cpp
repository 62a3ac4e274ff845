// The kernels themselves, compiled as C++.
#include "bnb4.cu"
#include "ggml.cu"
#include "ggml_iq.cu"
#include "merge.cu"
#include "plain.cu"
#include "planes.cu"
#include "scaled.cu"
