// Loads, stores and atomics, and what compute-sanitizer would say of them on a GPU: each access is aligned to all that
// it moves and lies within what there is (memcheck), what is read was written before (initcheck), and threads that
// share a byte have a barrier between them (racecheck, with SIM_CUDA_RACES).
//
// For each byte the shadow holds who wrote and who read it last, as one number: launch, block, barriers passed, thread.
#include "ptx.h"

namespace sim::ptx {
namespace {

enum class Access { reads, writes, changes };

// launch 15 bits, atomic 1, block 20, interval 17, thread 11.
constexpr uint64_t THREAD = (1 << 11) - 1, INTERVAL = (1 << 17) - 1, BLOCK = (1 << 20) - 1, ATOMIC = 1ull << 48;
constexpr int INTERVAL_AT = 11, BLOCK_AT = 28, LAUNCH_AT = 49;

uint64_t thread_of(uint64_t who) { return who & THREAD; }
uint64_t interval_of(uint64_t who) { return who >> INTERVAL_AT & INTERVAL; }
uint64_t block_of(uint64_t who) { return who >> BLOCK_AT & BLOCK; }

uint64_t who(const Warp& warp, const Instruction& i, int lane) {
  const Block& block = *warp.block;
  // All ones are several blocks or threads.
  if (block.linear >= BLOCK || block.interval > INTERVAL)
    warp.fault(i, lane, "too many blocks or barriers to see races");
  return block.launch.number << LAUNCH_AT | block.linear << BLOCK_AT | uint64_t(block.interval) << INTERVAL_AT |
         (warp.first + lane);
}

// Of memory that each block has anew, what other blocks did does not count.
template <bool IS_SHARED>
bool is_old(uint64_t other, uint64_t me) {
  return other >> LAUNCH_AT != me >> LAUNCH_AT || (IS_SHARED && block_of(other) != block_of(me));
}
template <bool IS_SHARED>
bool is_hazard(uint64_t other, uint64_t me) {
  if (is_old<IS_SHARED>(other, me)) return false;
  if (block_of(other) != block_of(me)) return true;
  return thread_of(other) != thread_of(me) && interval_of(other) >= interval_of(me);
}

[[noreturn]] void hazard(Warp& warp, const Instruction& i, int lane, uint64_t address, const char* here, uint64_t other,
                         const char* there) {
  auto number = [](uint64_t is, uint64_t several) {
    return is == several ? std::string("several") : std::to_string(is);
  };
  char at[32];
  snprintf(at, sizeof at, "%#llx", static_cast<unsigned long long>(address));
  warp.fault(i, lane,
             std::string("hazard at ") + at + ": " + here + " what block " + number(block_of(other), BLOCK) +
                 ", thread " + number(thread_of(other), THREAD) + " has " + there + " with no barrier between");
}

template <Access ACCESS, bool IS_SHARED>
void touch(Warp& warp, const Instruction& i, int lane, uint64_t address, Shadow* shadow, uint32_t bytes) {
  // Blocks run beside each other: of two that meet on a byte one at least sees the other.
  constexpr auto ORDER = IS_SHARED ? std::memory_order_relaxed : std::memory_order_seq_cst;
  uint64_t me = who(warp, i, lane) | (ACCESS == Access::changes ? ATOMIC : 0);
  for (uint32_t n = 0; n < bytes; n++) {
    Shadow& byte = shadow[n];
    if (ACCESS == Access::reads) {
      uint64_t reader = byte.reader.load(std::memory_order_relaxed), now = me;
      if (!is_old<IS_SHARED>(reader, me)) {
        if (block_of(reader) != block_of(me)) {
          now |= BLOCK << BLOCK_AT | THREAD;
        } else if (thread_of(reader) != thread_of(me) && interval_of(reader) == interval_of(me)) {
          now |= THREAD;
        }
      }
      if (now != reader) byte.reader.store(now, ORDER);
      uint64_t writer = byte.writer.load(ORDER);
      if (is_hazard<IS_SHARED>(writer, me)) hazard(warp, i, lane, address + n, "reads", writer, "written");
    } else {
      uint64_t writer = byte.writer.load(std::memory_order_relaxed);
      if (IS_SHARED) {
        byte.writer.store(me, ORDER);
      } else {
        writer = byte.writer.exchange(me, ORDER);
      }
      bool are_atomic = (writer & ATOMIC) && (me & ATOMIC);
      if (!are_atomic && is_hazard<IS_SHARED>(writer, me))
        hazard(warp, i, lane, address + n, "writes", writer, "written");
      uint64_t reader = byte.reader.load(ORDER);
      if (is_hazard<IS_SHARED>(reader, me)) hazard(warp, i, lane, address + n, "writes", reader, "read");
    }
  }
}

[[noreturn]] void outside(Warp& warp, const Instruction& i, int lane, uint64_t address, uint32_t bytes,
                          const char* what) {
  char text[128];
  snprintf(text, sizeof text, "%u bytes at %#llx %s", bytes, static_cast<unsigned long long>(address), what);
  warp.fault(i, lane, text);
}

bool is_within(const Range& range, uint64_t address, uint32_t bytes) {
  return address >= range.from && address < range.to && bytes <= range.to - address;
}

// Kernels read whole words of which they need some bytes, as the last one of codes: of each word one byte has to be
// there.
bool is_written(const uint8_t* written, uint32_t bytes) {
  if (bytes < 4) return !memchr(written, 0, bytes);
  for (uint32_t n = 0; n < bytes; n += 4) {
    uint32_t word;
    memcpy(&word, written + n, 4);
    if (word == 0) return false;
  }
  return true;
}

template <Access ACCESS>
char* reach_global(Warp& warp, const Instruction& i, int lane, uint64_t address, uint32_t bytes) {
  const Launch& launch = warp.block->launch;
  uint32_t& hint = warp.block->hints[&i - launch.entry->code.data()];
  if (hint >= launch.ranges.size() || !is_within(launch.ranges[hint], address, bytes)) {
    size_t low = 0, high = launch.ranges.size();
    while (low < high) {
      size_t middle = (low + high) / 2;
      if (launch.ranges[middle].to > address)
        high = middle;
      else
        low = middle + 1;
    }
    if (low == launch.ranges.size() || !is_within(launch.ranges[low], address, bytes)) {
      char what[96] = "are in no memory of the device";
      if (low < launch.ranges.size() && address >= launch.ranges[low].from) {
        snprintf(what, sizeof what, "reach beyond memory of %llu bytes",
                 static_cast<unsigned long long>(launch.ranges[low].to - launch.ranges[low].from));
      } else if (low > 0 && address - launch.ranges[low - 1].to < 4096) {
        snprintf(what, sizeof what, "are %llu bytes behind memory",
                 static_cast<unsigned long long>(address - launch.ranges[low - 1].to));
      }
      outside(warp, i, lane, address, bytes, what);
    }
    hint = static_cast<uint32_t>(low);
  }
  const Range& range = launch.ranges[hint];
  if (ACCESS != Access::reads && range.is_constant) outside(warp, i, lane, address, bytes, "are constant");
  if (range.written) {
    uint8_t* written = range.written + (address - range.from);
    if (ACCESS != Access::writes && !is_written(written, bytes))
      outside(warp, i, lane, address, bytes, "were never written");
    if (ACCESS != Access::reads) memset(written, 1, bytes);
  }
  if (launch.sees_races && range.shadow) {
    touch<ACCESS, false>(warp, i, lane, address, range.shadow + (address - range.from), bytes);
  }
  return reinterpret_cast<char*>(address);
}

template <Access ACCESS>
char* reach_shared(Warp& warp, const Instruction& i, int lane, uint64_t address, uint32_t bytes) {
  Block& block = *warp.block;
  uint64_t room = block.launch.entry->shared_bytes;
  if (address > room || bytes > room - address)
    outside(warp, i, lane, address, bytes, "are beyond the block's shared memory");
  if (block.launch.sees_races) touch<ACCESS, true>(warp, i, lane, address, &block.shared_shadow[address], bytes);
  return block.shared.get() + address;
}

char* reach_local(Warp& warp, const Instruction& i, int lane, uint64_t address, uint32_t bytes) {
  uint64_t room = warp.block->launch.entry->local_bytes;
  if (address > room || bytes > room - address)
    outside(warp, i, lane, address, bytes, "are beyond the thread's local memory");
  return warp.block->local.get() + (warp.first + lane) * room + address;
}

template <Access ACCESS>
char* reach(Warp& warp, const Instruction& i, int lane, uint32_t bytes) {
  uint64_t address = (i.from[0] ? warp.reg<uint64_t>(i.from[0])[lane] : 0) + static_cast<uint64_t>(i.number);
  if (address & (bytes - 1)) outside(warp, i, lane, address, bytes, "are not aligned");
  switch (i.space) {
    case Space::global:
    case Space::constant:
      return reach_global<ACCESS>(warp, i, lane, address, bytes);
    case Space::shared:
      return reach_shared<ACCESS>(warp, i, lane, address, bytes);
    case Space::local:
      return reach_local(warp, i, lane, address, bytes);
    case Space::param: {
      const std::vector<char>& parameters = warp.block->launch.parameters;
      if (address > parameters.size() || bytes > parameters.size() - address)
        outside(warp, i, lane, address, bytes, "are beyond the kernel's parameters");
      if (ACCESS != Access::reads) outside(warp, i, lane, address, bytes, "are parameters, and not to be written");
      return const_cast<char*>(parameters.data()) + address;
    }
    case Space::generic:
      if (address - SHARED_WINDOW < WINDOW_BYTES)
        return reach_shared<ACCESS>(warp, i, lane, address - SHARED_WINDOW, bytes);
      if (address - LOCAL_WINDOW < WINDOW_BYTES) return reach_local(warp, i, lane, address - LOCAL_WINDOW, bytes);
      return reach_global<ACCESS>(warp, i, lane, address, bytes);
  }
  __builtin_unreachable();
}

// A value of memory `M` in a register `R`, which may be wider.
template <class R, class M>
void load(Warp& warp, const Instruction& i, uint32_t on) {
  for (; on; on &= on - 1) {
    int lane = __builtin_ctz(on);
    const char* from = reach<Access::reads>(warp, i, lane, sizeof(M) * i.count);
    for (int n = 0; n < i.count; n++) {
      M value;
      memcpy(&value, from + n * sizeof(M), sizeof(M));
      warp.reg<R>(i.to[n])[lane] = static_cast<R>(value);
    }
  }
}
template <class R, class M>
void store(Warp& warp, const Instruction& i, uint32_t on) {
  for (; on; on &= on - 1) {
    int lane = __builtin_ctz(on);
    char* to = reach<Access::writes>(warp, i, lane, sizeof(M) * i.count);
    for (int n = 0; n < i.count; n++) {
      M value = static_cast<M>(warp.reg<R>(i.to[n])[lane]);
      memcpy(to + n * sizeof(M), &value, sizeof(M));
    }
  }
}
// What registers of a width hold of so many bytes of memory; none where those are more.
Step of_width(Width width, size_t bytes, Step half, Step word, Step wide) {
  if (unsigned(width) < bytes) return nullptr;
  return width == Width::half ? half : width == Width::word ? word : width == Width::wide ? wide : nullptr;
}
template <class M>
Step load_of(Width width) {
  return of_width(width, sizeof(M), load<uint16_t, M>, load<uint32_t, M>, load<uint64_t, M>);
}
template <class M>
Step store_of(Width width) {
  return of_width(width, sizeof(M), store<uint16_t, M>, store<uint32_t, M>, store<uint64_t, M>);
}

struct AtomicAdd {
  template <class T>
  static T of(T is, T value) {
    return is + value;
  }
};
struct AtomicMin {
  template <class T>
  static T of(T is, T value) {
    return value < is ? value : is;
  }
};
struct AtomicMax {
  template <class T>
  static T of(T is, T value) {
    return is < value ? value : is;
  }
};
struct AtomicAnd {
  template <class T>
  static T of(T is, T value) {
    return is & value;
  }
};
struct AtomicOr {
  template <class T>
  static T of(T is, T value) {
    return is | value;
  }
};
struct AtomicExchange {
  template <class T>
  static T of(T, T value) {
    return value;
  }
};

template <class T, class F, bool HAS_RESULT>
void change(Warp& warp, const Instruction& i, uint32_t on) {
  for (; on; on &= on - 1) {
    int lane = __builtin_ctz(on);
    T* at = reinterpret_cast<T*>(reach<Access::changes>(warp, i, lane, sizeof(T)));
    T value = warp.reg<T>(i.from[1])[lane], is = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(at, &is, F::of(is, value), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    if (HAS_RESULT) warp.reg<T>(i.to[0])[lane] = is;
  }
}
template <class T, bool HAS_RESULT>
Step change_of(const std::string& operation) {
  return operation == "add"    ? change<T, AtomicAdd, HAS_RESULT>
         : operation == "min"  ? change<T, AtomicMin, HAS_RESULT>
         : operation == "max"  ? change<T, AtomicMax, HAS_RESULT>
         : operation == "and"  ? change<T, AtomicAnd, HAS_RESULT>
         : operation == "or"   ? change<T, AtomicOr, HAS_RESULT>
         : operation == "exch" ? change<T, AtomicExchange, HAS_RESULT>
                               : Step();
}

}  // namespace

Step load_step(const std::string& type, Width width) {
  if (type == "u8" || type == "b8") return load_of<uint8_t>(width);
  if (type == "s8") return load_of<int8_t>(width);
  if (type == "u16" || type == "b16") return load_of<uint16_t>(width);
  if (type == "s16") return load_of<int16_t>(width);
  if (type == "u32" || type == "b32" || type == "f32") return load_of<uint32_t>(width);
  if (type == "s32") return load_of<int32_t>(width);
  if (type == "u64" || type == "b64" || type == "s64" || type == "f64") return load_of<uint64_t>(width);
  return nullptr;
}

Step store_step(const std::string& type, Width width) {
  if (type == "u8" || type == "b8" || type == "s8") return store_of<uint8_t>(width);
  if (type == "u16" || type == "b16" || type == "s16") return store_of<uint16_t>(width);
  if (type == "u32" || type == "b32" || type == "s32" || type == "f32") return store_of<uint32_t>(width);
  if (type == "u64" || type == "b64" || type == "s64" || type == "f64") return store_of<uint64_t>(width);
  return nullptr;
}

Step atomic_step(const std::string& operation, const std::string& type, bool has_result) {
  if (type == "u32" || type == "b32")
    return has_result ? change_of<uint32_t, true>(operation) : change_of<uint32_t, false>(operation);
  if (type == "s32") return has_result ? change_of<int32_t, true>(operation) : change_of<int32_t, false>(operation);
  if (type == "u64" || type == "b64")
    return has_result ? change_of<uint64_t, true>(operation) : change_of<uint64_t, false>(operation);
  return nullptr;
}

}  // namespace sim::ptx
