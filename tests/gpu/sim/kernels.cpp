// The kernels themselves, compiled as C++: each file in a namespace, as NVRTC compiles each alone.
#include "affine.cuh"
#include "blocks.cuh"
#include "encode.cuh"
#include "ggml_encode.cuh"
#include "port.cuh"
#include "power.cuh"
#include "rows.cuh"
#include "search.cuh"
#include "strips.cuh"
#include "tiles.cuh"
#include "values.cuh"

namespace bnb4_kernels {
#include "bnb4.cu"
}
namespace codebook_kernels {
#include "codebook.cu"
}
namespace exl_kernels {
#include "exl.cu"
}
namespace ggml_kernels {
#include "ggml.cu"
}
namespace ggml_encode_kernels {
#include "ggml_encode.cu"
}
namespace ggml_encode_around_kernels {
#include "ggml_encode_around.cu"
}
namespace ggml_encode_iq4_kernels {
#include "ggml_encode_iq4.cu"
}
namespace ggml_encode_k_kernels {
#include "ggml_encode_k.cu"
}
namespace ggml_iq_kernels {
#include "ggml_iq.cu"
}
namespace gptq_kernels {
#include "gptq.cu"
}
namespace int8_kernels {
#include "int8.cu"
}
namespace kept_kernels {
#include "kept.cu"
}
namespace marlin_kernels {
#include "marlin.cu"
}
namespace merge_kernels {
#include "merge.cu"
}
namespace mxfp4_kernels {
#include "mxfp4.cu"
}
namespace own_kernels {
#include "own.cu"
}
namespace packed_kernels {
#include "packed.cu"
}
namespace plain_kernels {
#include "plain.cu"
}
namespace planes_kernels {
#include "planes.cu"
}
namespace scaled_kernels {
#include "scaled.cu"
}
namespace search_kernels {
#include "search.cu"
}
namespace search_hqq_kernels {
#include "search_hqq.cu"
}
namespace tiles_kernels {
#include "tiles.cu"
}
namespace tinygemm_kernels {
#include "tinygemm.cu"
}
namespace words_kernels {
#include "words.cu"
}
