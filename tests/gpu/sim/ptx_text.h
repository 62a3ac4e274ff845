// Reading PTX: what stands in the text, between ptx_parse.cpp (declarations) and ptx_decode.cpp (instructions).
#pragma once
#include <algorithm>

#include "ptx.h"

namespace sim::ptx {

constexpr int INVALID_PTX = 218;

// Who reads the text adds the line and the statement.
[[noreturn]] void refuse(const std::string& why);

struct Type {
  char kind;
  unsigned bits;
};

struct Symbol {
  Space space;
  uint64_t at;
  // Of shared memory that stands before the kernels: each that names it has its own.
  uint64_t wanted_bytes = 0, wanted_align = 1;
};

// `.align 4 .b8 name[64] = {1, 2}`.
struct Declared {
  std::string name, values;
  Type type;
  uint64_t bytes, align;
  bool is_array;
};

// Splits at a letter that stands in no brackets.
std::vector<std::string> split(const std::string& text, char at);
std::string trimmed(const std::string& text);
uint64_t number(const std::string& text);
Type type(const std::string& text);
Width width(Type type);
Declared declared(const std::string& text);
inline uint64_t aligned(uint64_t at, uint64_t to) { return (at + to - 1) / to * to; }

// A kernel that is read.
class Kernel {
 public:
  Kernel(Entry& entry, const std::map<std::string, Symbol>& globals);
  void parameter(const std::string& text);
  void declare(const std::string& statement);
  void label(const std::string& name);
  void scope(bool is_open);
  void instruction(const std::string& statement, uint32_t line);
  void end();

 private:
  struct Register {
    uint32_t at, count;
    Width width;
  };

  Entry& entry_;
  std::vector<std::map<std::string, Register>> scopes_;
  std::map<std::string, Symbol> symbols_;
  std::map<std::string, uint32_t> labels_;
  std::vector<std::pair<size_t, std::string>> jumps_;
  std::map<std::pair<Width, uint64_t>, uint32_t> constants_;

  // Takes room in the registers of a warp.
  uint32_t room(Width width, uint32_t count);
  // A register that holds a number in all lanes.
  uint32_t constant(Width width, uint64_t bits);
  // A register, a special one, or a number as one, of a width.
  uint32_t operand(const std::string& text, Width width);
  Register found(const std::string& name);
  uint32_t special(const std::string& name);
  Width width_of(const std::string& text, const std::string& type_name);
  const Symbol* symbol(const std::string& text, uint64_t& offset);
  uint64_t shared(uint64_t bytes, uint64_t align);

  void address(Instruction& made, const std::string& text);
  void decode(Instruction& made, const std::string& name, std::vector<std::string>& operands);
  void move(Instruction& made, const std::string& name, std::vector<std::string>& operands);
  void access(Instruction& made, const std::vector<std::string>& words, const std::vector<std::string>& operands);
  void change(Instruction& made, const std::vector<std::string>& words, const std::vector<std::string>& operands);
  void shuffle(Instruction& made, const std::vector<std::string>& words, const std::vector<std::string>& operands);
  void convert(Instruction& made, const std::vector<std::string>& words, const std::vector<std::string>& operands);
  void window(Instruction& made, const std::vector<std::string>& words, const std::vector<std::string>& operands);
  void of_table(Instruction& made, const std::string& name, const std::vector<std::string>& operands);
};

}  // namespace sim::ptx
