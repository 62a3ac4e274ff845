// Fibers: every CUDA thread of a block runs until it reaches a barrier or a shuffle, and goes on when all have.
//
// A barrier that some threads never reach, a shuffle that not all lanes of a warp take part in, and a block that waits
// for nothing end the program with words. `SIM_CUDA_ORDER=n` shuffles the order in which warps and threads run, so that
// a kernel that hangs on an order shows it.
#include "cpu.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

thread_local Index threadIdx, blockIdx, blockDim, gridDim;

namespace sim {
namespace {

enum class State : uint8_t { runs, at_barrier, at_shuffle, done };

constexpr size_t STACK = 128 << 10;

struct Fiber {
#if defined(__x86_64__)
  void* stack_pointer;
#else
  ucontext_t context;
#endif
  std::unique_ptr<char[]> stack;
  State state;
  Index index;
  uint32_t shuffled;
};

struct Block {
  std::vector<Fiber> fibers;
  int current = 0;
  const std::function<void()>* body = nullptr;
#if defined(__x86_64__)
  void* main_stack_pointer;
#else
  ucontext_t main_context;
#endif
};
thread_local Block* block_of_thread;

#if defined(__x86_64__)
extern "C" void sim_switch(void** from, void* to);
asm(R"(.text
.globl sim_switch
.hidden sim_switch
sim_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");
#endif

void to_main(Block& block) {
  Fiber& fiber = block.fibers[block.current];
#if defined(__x86_64__)
  sim_switch(&fiber.stack_pointer, block.main_stack_pointer);
#else
  swapcontext(&fiber.context, &block.main_context);
#endif
}

void entry() {
  (*block_of_thread->body)();
  block_of_thread->fibers[block_of_thread->current].state = State::done;
  to_main(*block_of_thread);
}

void resume(Block& block, int at) {
  block.current = at;
  Fiber& fiber = block.fibers[at];
  threadIdx = fiber.index;
#if defined(__x86_64__)
  sim_switch(&block.main_stack_pointer, fiber.stack_pointer);
#else
  swapcontext(&block.main_context, &fiber.context);
#endif
}

void wait(State state) {
  Block& block = *block_of_thread;
  block.fibers[block.current].state = state;
  to_main(block);
}

void start(Fiber& fiber, Index index, Block& block) {
  if (!fiber.stack) fiber.stack.reset(new char[STACK]);
  fiber.state = State::runs;
  fiber.index = index;
#if defined(__x86_64__)
  auto top = reinterpret_cast<uintptr_t>(fiber.stack.get() + STACK) & ~uintptr_t(63);
  void** stack = reinterpret_cast<void**>(top);
  *--stack = nullptr;
  *--stack = reinterpret_cast<void*>(entry);
  for (int k = 0; k < 6; k++) *--stack = nullptr;
  fiber.stack_pointer = stack;
  (void)block;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = STACK;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
#endif
}

[[noreturn]] void fault(const char* what, int a, int b) {
  fprintf(stderr, "simulated GPU: block %u: %s (%d, %d)\n", blockIdx.x, what, a, b);
  abort();
}

int count(const Block& block, int from, int to, State state) {
  int n = 0;
  for (int at = from; at < to; at++) n += block.fibers[at].state == state;
  return n;
}

// Runs a warp until all of it waits at a barrier or is done; true if anything ran.
bool run_warp(Block& block, int from, int to, unsigned order) {
  bool has_run = false;
  for (;;) {
    bool ran = false;
    int lanes = to - from;
    for (int k = 0; k < lanes; k++) {
      int at = from + static_cast<int>((k + order) % lanes);
      if (block.fibers[at].state == State::runs) {
        resume(block, at);
        ran = has_run = true;
      }
    }
    int shuffling = count(block, from, to, State::at_shuffle);
    if (shuffling > 0 && shuffling < lanes) fault("not all lanes of a warp take part in a shuffle", shuffling, lanes);
    if (shuffling == lanes) {
      for (int at = from; at < to; at++) block.fibers[at].state = State::runs;
      continue;
    }
    if (!ran) return has_run;
  }
}

unsigned order_of_run() {
  static const char* text = getenv("SIM_CUDA_ORDER");
  return text ? static_cast<unsigned>(atoi(text)) : 0;
}

void run_block(Block& block) {
  int threads = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
  if (static_cast<int>(block.fibers.size()) < threads) block.fibers.resize(threads);
  for (int at = 0; at < threads; at++) {
    unsigned n = static_cast<unsigned>(at);
    start(block.fibers[at], {n % blockDim.x, n / blockDim.x % blockDim.y, n / (blockDim.x * blockDim.y)}, block);
  }
  int warps = (threads + 31) / 32;
  for (unsigned round = order_of_run();; round = round * 747796405u + 2891336453u * (round != 0)) {
    bool has_run = false;
    for (int k = 0; k < warps; k++) {
      int warp = static_cast<int>((k + round) % warps), from = warp * 32;
      has_run |= run_warp(block, from, from + 32 < threads ? from + 32 : threads, round);
    }
    int done = count(block, 0, threads, State::done), waiting = count(block, 0, threads, State::at_barrier);
    if (done == threads) return;
    if (waiting > 0 && done > 0) fault("a barrier after threads have left", waiting, done);
    if (waiting == threads) {
      for (int at = 0; at < threads; at++) block.fibers[at].state = State::runs;
    } else if (!has_run) {
      fault("nothing can go on", waiting, done);
    }
  }
}

}  // namespace

void barrier() { wait(State::at_barrier); }

// What lane `from` of the warp has.
static uint32_t shuffled(uint32_t value, int from) {
  Block& block = *block_of_thread;
  int me = block.current;
  block.fibers[me].shuffled = value;
  wait(State::at_shuffle);
  uint32_t other = block.fibers[(me & ~31) | (from & 31)].shuffled;
  // None publishes again before all have read.
  wait(State::at_shuffle);
  return other;
}

uint32_t shuffle_xor(uint32_t value, int lanes) { return shuffled(value, block_of_thread->current ^ lanes); }
uint32_t shuffle(uint32_t value, int lane) { return shuffled(value, lane); }

void run(Index grid, Index block, const std::function<void()>& body) {
  std::atomic<unsigned long long> next{0};
  unsigned long long blocks = 1ull * grid.x * grid.y * grid.z;
  auto work = [&] {
    Block own;
    own.body = &body;
    block_of_thread = &own;
    gridDim = grid;
    blockDim = block;
    for (unsigned long long at; (at = next.fetch_add(1)) < blocks;) {
      unsigned x = static_cast<unsigned>(at % grid.x), y = static_cast<unsigned>(at / grid.x % grid.y);
      blockIdx = {x, y, static_cast<unsigned>(at / (1ull * grid.x * grid.y))};
      run_block(own);
    }
    block_of_thread = nullptr;
  };
  unsigned cores = std::thread::hardware_concurrency();
  std::vector<std::thread> others;
  for (unsigned k = 1; k < cores && k < blocks; k++) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
}

}  // namespace sim
