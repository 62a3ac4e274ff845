// PTX as the program ships it, executed by the simulated driver: ptx_parse.cpp reads the text, ptx_ops.cpp and
// ptx_memory.cpp hold what instructions do, ptx_run.cpp runs warps in step, launch.cpp is what the program calls.
//
// A register is an array of 32 lanes of its own width in the registers of a warp; a predicate is one bit a lane. What
// does not change (numbers that stand in instructions, `%tid`) are registers too, so that an instruction is one loop
// over lanes. Instructions, types or modifiers that are not listed here are refused, by line, and never guessed.
#pragma once
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "launch.h"

namespace sim::ptx {

constexpr int LANES = 32;
constexpr uint32_t ALL = 0xffffffffu;

// Where a generic address lies that is not global: no address of the host is one of these.
constexpr uint64_t SHARED_WINDOW = 1ull << 62, LOCAL_WINDOW = 1ull << 61, WINDOW_BYTES = 1ull << 32;

// What a file of PTX was refused for, or how a launch went wrong, in words.
struct Refused {
  int code;
  std::string words;
};

struct Warp;
struct Instruction;
using Step = void (*)(Warp&, const Instruction&, uint32_t on);

enum class Kind : uint8_t { plain, branch, leave, barrier, shuffle };
enum class Space : uint8_t { generic, global, shared, local, param, constant };
enum class Width : uint8_t { predicate = 1, half = 2, word = 4, wide = 8 };

struct Instruction {
  Step step = nullptr;
  Kind kind = Kind::plain;
  Space space = Space::generic;
  // Values that a load or a store moves.
  uint8_t count = 1;
  bool is_guard_inverted = false;
  // Places of registers; none is at 0.
  uint32_t guard = 0;
  uint32_t to[4] = {}, from[4] = {};
  // An address's offset, the target of a branch, a table of bits.
  int64_t number = 0;
  uint32_t line = 0;
};

struct Constant {
  uint32_t at;
  Width width;
  uint64_t bits;
};

struct Parameter {
  uint32_t at, bytes;
};

// Special registers, by x, y, z; 0 where a kernel does not read them.
struct Special {
  uint32_t tid[3] = {}, ntid[3] = {}, ctaid[3] = {}, nctaid[3] = {}, lane = 0;
};

struct Module;

struct Entry {
  std::string name;
  const Module* module = nullptr;
  std::vector<Parameter> parameters;
  uint32_t parameter_bytes = 0, max_threads = 1024, shared_bytes = 0, local_bytes = 0;
  // Bytes of a warp's registers.
  uint32_t register_bytes = 64;
  std::vector<Constant> constants;
  Special special;
  std::vector<Instruction> code;
};

// A variable of a module, in memory of its own.
struct Variable {
  std::unique_ptr<char[]> held;
  uint64_t at, bytes;
  Space space;
};

struct Module {
  std::string text;
  std::map<std::string, Entry> entries;
  std::vector<Variable> variables;

  // The line of the text, without white space around it.
  std::string line(uint32_t number) const;
};

// Reads PTX; throws `Refused`.
std::unique_ptr<Module> parse(std::string text);

// What an instruction of arithmetic does: `widths` has a letter a register, the result's first (p h w d, as in
// `Width`).
struct Operation {
  const char* widths;
  Step step;
};
using Table = std::map<std::string, Operation>;
const Table& operations();
void add_conversions(Table& table);

// Steps of what may have registers wider than its types; null: there is none.
Step load_step(const std::string& type, Width width);
Step store_step(const std::string& type, Width width);
Step atomic_step(const std::string& operation, const std::string& type, bool has_result);
// Of an integer to another; the types stand in `Instruction::number`.
Step convert_step(Width to, Width from);
// A wide register of two or four, and back.
Step pack_step(Width part, Width whole);
Step unpack_step(Width part, Width whole);

// Who touched a byte last: by launch, block, thread and the barriers that the block had passed.
struct Shadow {
  std::atomic<uint64_t> writer, reader;
};

// Memory that a launch may reach.
struct Range {
  uint64_t from, to;
  Shadow* shadow;
  // One byte a byte: not 0 once something was written there; null: all was.
  uint8_t* written;
  bool is_constant;
};

struct Launch {
  const Entry* entry;
  Index grid, block;
  std::vector<char> parameters;
  // By address.
  std::vector<Range> ranges;
  // Accesses are held against each other; `number` tells the launches apart.
  bool sees_races;
  uint64_t number;
};

// A block, as one thread of the system runs it, one block after the other.
struct Block {
  explicit Block(const Launch& launch);
  void run(Index index);

  const Launch& launch;
  uint32_t threads, interval = 0;
  uint64_t linear = 0;
  Index index{};
  std::vector<Warp> warps;
  std::unique_ptr<char[]> held, shared, local;
  std::unique_ptr<Shadow[]> shared_shadow;
  // Where each instruction found its memory the last time.
  std::vector<uint32_t> hints;
};

struct Warp {
  Block* block;
  char* registers;
  uint32_t first;
  // Lanes that have not left; that wait at a barrier; that wait for others at a shuffle.
  uint32_t alive, at_barrier, at_shuffle;
  uint32_t pc[LANES];

  void run();
  [[noreturn]] void fault(const Instruction& at, int lane, const std::string& what) const;

  template <class T>
  T* reg(uint32_t at) {
    return reinterpret_cast<T*>(registers + at);
  }
};

template <class F>
inline void each(uint32_t on, F f) {
  if (on == ALL) {
#pragma GCC ivdep
    for (int lane = 0; lane < LANES; lane++) f(lane);
  } else {
    for (; on; on &= on - 1) f(__builtin_ctz(on));
  }
}

// The NaN that a GPU's arithmetic makes.
inline float one_nan(float value) {
  float nan;
  uint32_t bits = 0x7fffffffu;
  memcpy(&nan, &bits, 4);
  return value != value ? nan : value;
}
inline double one_nan(double value) {
  double nan;
  uint64_t bits = 0xfff8000000000000u;
  memcpy(&nan, &bits, 8);
  return value != value ? nan : value;
}

// Runs all blocks on all cores; ends the program with words where one does what it must not.
void run(const Launch& launch);

}  // namespace sim::ptx
