// What a launch is, for kernels of either kind.
#pragma once
#include <functional>

struct Index {
  unsigned x, y, z;
};

namespace sim {

// A kernel as C++ by its name: makes a launch of the arguments as cuLaunchKernel gets them.
using Bind = std::function<std::function<void()>(void** arguments, Index grid, Index block)>;
void add(const char* name, Bind bind);

}  // namespace sim
