// What the files of the simulated driver share: settings, planted errors, streams, memory (driver.cpp), and modules and
// launches (launch.cpp).
#pragma once
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "ptx.h"

namespace sim {

using Address = unsigned long long;
using Work = std::function<void()>;

enum : int {
  OK = 0,
  INVALID = 1,
  NO_MEMORY = 2,
  NO_DEVICE = 101,
  NO_CONTEXT = 201,
  NO_HANDLE = 400,
  NOT_FOUND = 500,
  NOT_READY = 600
};

extern std::recursive_mutex lock;
#define LOCKED std::lock_guard<std::recursive_mutex> locked(sim::lock)

// What `SIM_CUDA_…` says.
std::string setting(const std::string& name);
unsigned long long number(const std::string& name, unsigned long long usual);

// Counts a call; returns the error that is planted for it.
int planted(const char* function);
#define ENTER(function) \
  if (int error = sim::planted(#function)) return error

// A stage takes longer, as is planted: `to`, `kernels` or `from`.
void slow(const std::string& stage);

struct Stream {
  std::deque<std::pair<long, Work>> todo;
  long next = 1, done = 0;

  void until(long last) {
    while (!todo.empty() && todo.front().first <= last) {
      auto [number, work] = std::move(todo.front());
      todo.pop_front();
      work();
      done = number;
    }
  }
  void all() { until(next); }
  void push(Work work) { todo.emplace_back(next++, std::move(work)); }
};
Stream& of(void* stream);
// Has all that was given to streams done.
void finish_all();

// Aligned as the driver's, and no byte longer than asked: a sanitizer sees what reaches beyond.
struct Free {
  void operator()(char* at) const { operator delete(at, std::align_val_t(256)); }
};
struct FreeZeroed {
  void operator()(void* at) const { free(at); }
};

struct Memory {
  // As asked for, and as is there.
  size_t bytes, room;
  int device;
  std::unique_ptr<char, Free> held;
  // Of PTX: which bytes somebody wrote, and who touched each last; null where nobody looks.
  std::unique_ptr<uint8_t, FreeZeroed> written;
  std::unique_ptr<ptx::Shadow, FreeZeroed> shadow;
};
extern std::map<Address, Memory> device_memory;
// The memory of an address that is in one.
Memory& memory_at(Address at, size_t& offset);

// Bytes were copied or set: from other memory of a device those that were written there, from elsewhere all.
void mark_written(Address to, size_t bytes, Address from = 0);

extern long launches;
// After a kernel fault nothing of a context answers but with that fault.
extern int broken;
extern thread_local int current;

// Kernels are those of the program's PTX, and no C++.
bool runs_ptx();
int modules_held();

}  // namespace sim

#define API extern "C" __attribute__((visibility("default"))) int
