// Warps in step: of the lanes that can go on those at the lowest instruction run, together, until others are there too.
//
// Lanes that went apart meet again where the compiler laid out the instruction behind both ways. A shuffle waits for
// all lanes that its mask names, a barrier for all threads of the block; one that some never reach, or that is not the
// same one for all, ends the program with words, as does any access that must not be.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "ptx.h"

namespace sim::ptx {

void Warp::fault(const Instruction& at, int lane, const std::string& what) const {
  const Entry& entry = *block->launch.entry;
  const Index& index = block->index;
  static std::mutex one;
  std::lock_guard<std::mutex> locked(one);
  fprintf(stderr, "simulated GPU: %s, line %u of its PTX (%s), block %u %u %u, thread %u: %s\n", entry.name.c_str(),
          at.line, entry.module->line(at.line).c_str(), index.x, index.y, index.z, first + static_cast<uint32_t>(lane),
          what.c_str());
  abort();
}

namespace {

// What a lane gets of which other one; the lane itself where that one is not there.
struct Source {
  int lane;
  bool is_there;
};
Source source_of(int64_t mode, int lane, uint32_t by, uint32_t clamp) {
  int segment = clamp >> 8 & 31, first = lane & segment, last = first | (static_cast<int>(clamp & 31) & ~segment);
  int from = static_cast<int>(by & 31);
  from = mode == 'b' ? lane ^ from : mode == 'i' ? first | (from & ~segment) : mode == 'u' ? lane - from : lane + from;
  bool is_there = mode == 'u' ? from >= last : from <= last;
  return {is_there ? from : lane, is_there};
}

// Moves values between the lanes that are here; all that the mask names and that have not left are.
void shuffle(Warp& warp, const Instruction& i, uint32_t on) {
  uint32_t *to = warp.reg<uint32_t>(i.to[0]), *value = warp.reg<uint32_t>(i.from[0]);
  uint32_t *by = warp.reg<uint32_t>(i.from[1]), *clamp = warp.reg<uint32_t>(i.from[2]);
  uint32_t had[LANES], there = 0;
  memcpy(had, value, sizeof had);
  for (uint32_t rest = on; rest; rest &= rest - 1) {
    int lane = __builtin_ctz(rest);
    Source source = source_of(i.number, lane, by[lane], clamp[lane]);
    if (!(on >> source.lane & 1))
      warp.fault(i, lane, "shuffles a value of lane " + std::to_string(source.lane) + ", which takes no part");
    to[lane] = had[source.lane];
    there |= uint32_t(source.is_there) << lane;
  }
  if (i.to[1]) {
    uint32_t& predicate = *warp.reg<uint32_t>(i.to[1]);
    predicate = (predicate & ~on) | there;
  }
}

// Starts the lanes of a warp.
void begin(Warp& warp, Block& block, uint32_t first) {
  uint32_t rest = block.threads - first;
  warp.block = &block;
  warp.first = first;
  warp.alive = rest >= LANES ? ALL : (1u << rest) - 1;
  warp.at_barrier = warp.at_shuffle = 0;
  memset(warp.pc, 0, sizeof warp.pc);
  const Special& special = block.launch.entry->special;
  const uint32_t index[] = {block.index.x, block.index.y, block.index.z};
  for (int axis = 0; axis < 3; axis++) {
    if (uint32_t at = special.ctaid[axis]) std::fill_n(warp.reg<uint32_t>(at), LANES, index[axis]);
  }
}

// What all blocks have alike: numbers, and which thread a lane is.
void fill(Warp& warp, const Launch& launch, uint32_t first) {
  const Entry& entry = *launch.entry;
  // Nobody may count on what is in a register that was never written.
  memset(warp.registers, 0xcd, entry.register_bytes);
  for (const Constant& constant : entry.constants) {
    for (int lane = 0; lane < LANES; lane++) {
      switch (constant.width) {
        case Width::predicate:
          *warp.reg<uint32_t>(constant.at) = constant.bits ? ALL : 0;
          break;
        case Width::half:
          warp.reg<uint16_t>(constant.at)[lane] = static_cast<uint16_t>(constant.bits);
          break;
        case Width::word:
          warp.reg<uint32_t>(constant.at)[lane] = static_cast<uint32_t>(constant.bits);
          break;
        case Width::wide:
          warp.reg<uint64_t>(constant.at)[lane] = constant.bits;
      }
    }
  }
  const uint32_t block[] = {launch.block.x, launch.block.y, launch.block.z};
  const uint32_t grid[] = {launch.grid.x, launch.grid.y, launch.grid.z};
  const Special& special = entry.special;
  for (uint32_t lane = 0; lane < LANES; lane++) {
    uint32_t thread = first + lane;
    const uint32_t index[] = {thread % block[0], thread / block[0] % block[1], thread / (block[0] * block[1])};
    for (int axis = 0; axis < 3; axis++) {
      if (special.tid[axis]) warp.reg<uint32_t>(special.tid[axis])[lane] = index[axis];
      if (special.ntid[axis]) warp.reg<uint32_t>(special.ntid[axis])[lane] = block[axis];
      if (special.nctaid[axis]) warp.reg<uint32_t>(special.nctaid[axis])[lane] = grid[axis];
    }
    if (special.lane) warp.reg<uint32_t>(special.lane)[lane] = lane;
  }
}

// Another order of warps for each number: what hangs on one shows it.
size_t order_of_run() {
  static const char* text = getenv("SIM_CUDA_ORDER");
  return text ? static_cast<size_t>(atoi(text)) : 0;
}

}  // namespace

// Runs until no lane can go on without other warps.
void Warp::run() {
  const Instruction* code = block->launch.entry->code.data();
  for (;;) {
    uint32_t ready = alive & ~at_barrier & ~at_shuffle;
    if (!ready) {
      if (at_shuffle) {
        int lane = __builtin_ctz(at_shuffle);
        fault(code[pc[lane]], lane, "not all lanes of a warp take part in a shuffle");
      }
      return;
    }
    uint32_t at = ALL, on = 0, next = ALL;
    for (uint32_t rest = ready; rest; rest &= rest - 1) {
      uint32_t is = pc[__builtin_ctz(rest)];
      if (is < at) at = is;
    }
    for (uint32_t rest = ready; rest; rest &= rest - 1) {
      int lane = __builtin_ctz(rest);
      if (pc[lane] == at)
        on |= 1u << lane;
      else if (pc[lane] < next)
        next = pc[lane];
    }
    auto go = [&](uint32_t lanes, uint32_t to) {
      for (; lanes; lanes &= lanes - 1) pc[__builtin_ctz(lanes)] = to;
    };
    // Until these lanes go apart, wait, or meet others.
    for (bool is_together = true; is_together;) {
      const Instruction& i = code[at];
      uint32_t acts = on;
      if (i.guard) acts &= *reg<uint32_t>(i.guard) ^ (i.is_guard_inverted ? ALL : 0);
      switch (i.kind) {
        case Kind::plain:
          if (acts) i.step(*this, i, acts);
          at++;
          break;
        case Kind::branch:
          if (acts == on) {
            at = static_cast<uint32_t>(i.number);
          } else if (!acts) {
            at++;
          } else {
            go(acts, static_cast<uint32_t>(i.number));
            go(on & ~acts, at + 1);
            is_together = false;
          }
          break;
        case Kind::leave:
          alive &= ~acts;
          go(on & ~acts, at + 1);
          is_together = false;
          break;
        case Kind::barrier:
          at_barrier |= acts;
          go(on, at + 1);
          is_together = false;
          break;
        case Kind::shuffle: {
          for (uint32_t rest = at_shuffle; rest; rest &= rest - 1) {
            int lane = __builtin_ctz(rest);
            if (pc[lane] == at) acts |= 1u << lane;
          }
          if (!acts) {
            at++;
            break;
          }
          uint32_t members = reg<uint32_t>(i.from[3])[__builtin_ctz(acts)];
          if (acts & ~members) fault(i, __builtin_ctz(acts & ~members), "a shuffle whose mask does not name this lane");
          if (members & alive & ~acts) {
            at_shuffle |= acts;
            go(acts, at);
            go(on & ~acts, at + 1);
            is_together = false;
            break;
          }
          shuffle(*this, i, acts);
          if (acts & ~on) {
            at_shuffle &= ~acts;
            go(acts | on, at + 1);
            is_together = false;
          }
          at++;
          break;
        }
      }
      if (is_together && at >= next) {
        go(on, at);
        is_together = false;
      }
    }
  }
}

Block::Block(const Launch& of)
    : launch(of), threads(of.block.x * of.block.y * of.block.z), hints(of.entry->code.size()) {
  const Entry& entry = *of.entry;
  uint32_t count = (threads + LANES - 1) / LANES;
  // Aligned, so that a loop over lanes is one over whole vectors.
  size_t bytes = (entry.register_bytes + 63) / 64 * 64;
  held.reset(new char[bytes * count + 64]);
  shared.reset(new char[entry.shared_bytes + 16]);
  local.reset(new char[size_t(entry.local_bytes) * threads + 16]);
  if (of.sees_races) shared_shadow.reset(new Shadow[entry.shared_bytes + 1]());
  warps.resize(count);
  char* first = held.get() + (64 - reinterpret_cast<uintptr_t>(held.get()) % 64);
  for (uint32_t k = 0; k < count; k++) {
    warps[k].registers = first + bytes * k;
    fill(warps[k], launch, k * LANES);
  }
}

void Block::run(Index at) {
  index = at;
  linear = at.x + uint64_t(launch.grid.x) * (at.y + uint64_t(launch.grid.y) * at.z);
  interval = 0;
  memset(shared.get(), 0xcd, launch.entry->shared_bytes);
  for (size_t k = 0; k < warps.size(); k++) begin(warps[k], *this, static_cast<uint32_t>(k * LANES));
  for (;;) {
    uint32_t left = 0;
    const Warp* other = nullptr;
    for (size_t k = 0; k < warps.size(); k++) {
      Warp& warp = warps[(k + order_of_run() + interval) % warps.size()];
      warp.run();
      left += static_cast<uint32_t>(__builtin_popcount(warp.alive));
      if (warp.at_barrier) other = &warp;
    }
    if (!left) return;
    const Instruction* code = launch.entry->code.data();
    int lane = __builtin_ctz(other->at_barrier);
    uint32_t barrier = other->pc[lane];
    // What has not left waits.
    if (left != threads)
      other->fault(code[barrier - 1], lane, "a barrier after " + std::to_string(threads - left) + " threads have left");
    for (Warp& warp : warps) {
      for (uint32_t rest = warp.alive; rest; rest &= rest - 1) {
        int at_lane = __builtin_ctz(rest);
        if (warp.pc[at_lane] != barrier)
          warp.fault(code[warp.pc[at_lane] - 1], at_lane, "waits at another barrier than others of its block");
      }
      warp.at_barrier = 0;
    }
    interval++;
  }
}

void run(const Launch& launch) {
  std::atomic<uint64_t> next{0};
  uint64_t blocks = uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
  auto work = [&] {
    Block block(launch);
    for (uint64_t at; (at = next.fetch_add(1)) < blocks;) {
      unsigned x = static_cast<unsigned>(at % launch.grid.x),
               y = static_cast<unsigned>(at / launch.grid.x % launch.grid.y);
      block.run({x, y, static_cast<unsigned>(at / (uint64_t(launch.grid.x) * launch.grid.y))});
    }
  };
  unsigned cores = std::thread::hardware_concurrency();
  std::vector<std::thread> others;
  for (unsigned k = 1; k < cores && k < blocks; k++) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
}

}  // namespace sim::ptx
