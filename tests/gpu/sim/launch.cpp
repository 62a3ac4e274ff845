// Modules and launches of the simulated driver: kernels are the PTX that the program hands over (ptx.h), read, checked
// and executed. A driver that is linked with kernels as C++ (cpu.cpp), for sanitizers, takes those, by their names
// alone.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "driver.h"

namespace sim {
namespace {

std::map<std::string, Bind>& kernels() {
  static std::map<std::string, Bind> all;
  return all;
}

struct Function {
  const Bind* bind;
  const ptx::Entry* entry;
};

struct Loaded {
  std::unique_ptr<ptx::Module> ptx;
  std::map<std::string, Function> functions;
};
std::map<void*, std::unique_ptr<Loaded>> modules;

// Launches are told apart by so many numbers; then all that was seen is forgotten.
constexpr uint64_t LAUNCH_NUMBERS = 1 << 15;
uint64_t launch_number = 0;

[[noreturn]] void end(const std::string& words) {
  fprintf(stderr, "simulated GPU: %s\n", words.c_str());
  abort();
}

// PTX_EDIT=KERNEL:TEXT=>OTHER:2 puts another text in the place of the second of a kernel, 0 in that of each.
void edit(std::string& text) {
  std::string edit = setting("PTX_EDIT");
  size_t name = edit.find(':'), arrow = edit.find("=>"), last = edit.rfind(':');
  if (edit.empty()) return;
  if (arrow == std::string::npos || name > arrow || last < arrow) end("not an edit: " + edit);
  size_t from = text.find(".entry " + edit.substr(0, name) + "(");
  if (from == std::string::npos) return;
  size_t to = std::min(text.find(".entry ", from + 1), text.size());
  std::string is = edit.substr(name + 1, arrow - name - 1), other = edit.substr(arrow + 2, last - arrow - 2);
  int nth = atoi(edit.c_str() + last + 1), found = 0;
  for (size_t at = text.find(is, from); at < to; at = text.find(is, at)) {
    bool is_wanted = ++found == nth || nth == 0;
    if (is_wanted) {
      text.replace(at, is.size(), other);
      to += other.size() - is.size();
    }
    at += is_wanted ? other.size() : is.size();
  }
  if (found == 0 || found < nth) end("nothing to edit: " + edit);
}

int load(void** module, const char* image, unsigned count, const int* options, void** values) {
  LOCKED;
  auto made = std::make_unique<Loaded>();
  if (runs_ptx()) {
    std::string text = image;
    edit(text);
    try {
      made->ptx = ptx::parse(std::move(text));
    } catch (const ptx::Refused& refused) {
      // CU_JIT_ERROR_LOG_BUFFER is 5, its size 6.
      char* log = nullptr;
      size_t bytes = 0;
      for (unsigned k = 0; k < count; k++) {
        if (options[k] == 5) log = static_cast<char*>(values[k]);
        if (options[k] == 6) bytes = reinterpret_cast<size_t>(values[k]);
      }
      if (log) snprintf(log, bytes, "%s", refused.words.c_str());
      fprintf(stderr, "simulated GPU: PTX is refused: %s\n", refused.words.c_str());
      return refused.code;
    }
  }
  *module = made.get();
  modules[made.get()] = std::move(made);
  return OK;
}

// Counts a launch of a kernel. PTX_RAN=FILE: each kernel that was launched is added to it, once.
unsigned long long counted(const std::string& name) {
  static std::map<std::string, unsigned long long> seen;
  unsigned long long before = seen[name]++;
  std::string file = setting("PTX_RAN");
  if (file.empty() || before) return before;
  if (FILE* out = fopen(file.c_str(), "a")) {
    fprintf(out, "%s\n", name.c_str());
    fclose(out);
  }
  return before;
}

// What a launch on a device may reach, by address.
std::vector<ptx::Range> reachable(const ptx::Entry& entry, int device, bool sees_races) {
  std::vector<ptx::Range> ranges;
  for (auto& [at, memory] : device_memory) {
    if (memory.device != device) continue;
    if (sees_races && !memory.shadow)
      memory.shadow.reset(static_cast<ptx::Shadow*>(calloc(memory.room, sizeof(ptx::Shadow))));
    ranges.push_back({at, at + memory.room, memory.shadow.get(), memory.written.get(), false});
  }
  for (const ptx::Variable& variable : entry.module->variables) {
    ranges.push_back(
        {variable.at, variable.at + variable.bytes, nullptr, nullptr, variable.space == ptx::Space::constant});
  }
  std::sort(ranges.begin(), ranges.end(), [](const ptx::Range& a, const ptx::Range& b) { return a.from < b.from; });
  return ranges;
}

uint64_t next_launch() {
  if (++launch_number == LAUNCH_NUMBERS) {
    for (auto& [at, memory] : device_memory) memory.shadow.reset();
    launch_number = 1;
  }
  return launch_number;
}

// A launch of PTX as work; its arguments are read now.
Work launched(const ptx::Entry& entry, Index grid, Index block, void** arguments) {
  bool sees_races = counted(entry.name) < number("RACES", 0);
  ptx::Launch launch{&entry, grid, block, std::vector<char>(entry.parameter_bytes), {}, sees_races, 0};
  for (size_t k = 0; k < entry.parameters.size(); k++) {
    memcpy(launch.parameters.data() + entry.parameters[k].at, arguments[k], entry.parameters[k].bytes);
  }
  return [launch = std::move(launch), device = current]() mutable {
    if (launch.sees_races) launch.number = next_launch();
    launch.ranges = reachable(*launch.entry, device, launch.sees_races);
    ptx::run(launch);
  };
}

// What a device refuses of a launch, in words; none if it does not.
std::string refused(const ptx::Entry& entry, Index grid, Index block, unsigned shared_bytes) {
  unsigned long long threads = 1ull * block.x * block.y * block.z;
  if (threads == 0 || threads > entry.max_threads)
    return std::to_string(threads) + " threads, of at most " + std::to_string(entry.max_threads);
  bool is_grid = grid.x && grid.y && grid.z && grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535;
  if (!is_grid)
    return "a grid of " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " + std::to_string(grid.z);
  if (shared_bytes) return "shared memory that no kernel of ours asks for";
  return "";
}

}  // namespace

void add(const char* name, Bind bind) { kernels()[name] = std::move(bind); }
bool runs_ptx() { return kernels().empty(); }
int modules_held() { return static_cast<int>(modules.size()); }

void mark_written(Address to, size_t bytes, Address from) {
  size_t offset = 0, other_offset = 0;
  Memory& memory = memory_at(to, offset);
  bytes = std::min(bytes, memory.room - std::min(memory.room, offset));
  if (!memory.written || bytes == 0) return;
  uint8_t* written = memory.written.get() + offset;
  const uint8_t* other = from ? memory_at(from, other_offset).written.get() : nullptr;
  if (other) {
    memmove(written, other + other_offset, bytes);
  } else {
    memset(written, 1, bytes);
  }
}

}  // namespace sim

using namespace sim;

API cuModuleLoadDataEx(void** module, const void* image, unsigned count, int* options, void** values) {
  ENTER(cuModuleLoadDataEx);
  return load(module, static_cast<const char*>(image), count, options, values);
}
API cuModuleLoadData(void** module, const void* image) {
  ENTER(cuModuleLoadData);
  return load(module, static_cast<const char*>(image), 0, nullptr, nullptr);
}
API cuModuleUnload(void* module) {
  LOCKED;
  if (!modules.count(module)) return INVALID;
  finish_all();
  modules.erase(module);
  return OK;
}
API cuModuleGetFunction(void** function, void* module, const char* name) {
  LOCKED;
  auto loaded = modules.find(module);
  if (loaded == modules.end()) return INVALID;
  Function found{nullptr, nullptr};
  if (const ptx::Module* ptx = loaded->second->ptx.get()) {
    auto is = ptx->entries.find(name);
    if (is == ptx->entries.end()) return NOT_FOUND;
    found.entry = &is->second;
  } else {
    auto is = kernels().find(name);
    if (is == kernels().end()) return NOT_FOUND;
    found.bind = &is->second;
  }
  *function = &(loaded->second->functions[name] = found);
  return OK;
}
API cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared_bytes, void* stream, void** arguments, void**) {
  if (int error = planted("cuLaunchKernel")) {
    // Launch failures and illegal addresses end the context.
    if (error >= 700) broken = error;
    return error;
  }
  // One launch after the other; who asks for memory does not wait for them.
  std::unique_lock<std::recursive_mutex> locked(lock);
  auto wait = number("LAUNCH_US", 0);
  std::string hold = setting("HOLD");
  locked.unlock();
  if (!hold.empty()) hold += "." + std::to_string(current);
  while (!hold.empty() && access(hold.c_str(), F_OK) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (wait) {
    static std::mutex launching;
    std::lock_guard<std::mutex> one(launching);
    std::this_thread::sleep_for(std::chrono::microseconds(wait));
  }
  locked.lock();
  launches++;
  const Function& is = *static_cast<const Function*>(function);
  Index grid{gx, gy, gz}, block{bx, by, bz};
  Work work;
  if (is.entry) {
    std::string why = refused(*is.entry, grid, block, shared_bytes);
    if (!why.empty()) {
      fprintf(stderr, "simulated GPU: %s is not launched: %s\n", is.entry->name.c_str(), why.c_str());
      return INVALID;
    }
    work = launched(*is.entry, grid, block, arguments);
  } else {
    work = (*is.bind)(arguments, grid, block);
  }
  of(stream).push([] { slow("kernels"); });
  of(stream).push(std::move(work));
  return broken;
}
