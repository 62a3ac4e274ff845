// Statements of PTX as instructions: which step each is, and where its registers lie.
#include <utility>

#include "ptx_text.h"

namespace sim::ptx {
namespace {

Width width_of_letter(char letter) {
  return letter == 'p' ? Width::predicate : letter == 'h' ? Width::half : letter == 'w' ? Width::word : Width::wide;
}

bool space_of(const std::string& word, Space& space) {
  static const std::map<std::string, Space> SPACES = {{"global", Space::global},
                                                      {"shared", Space::shared},
                                                      {"local", Space::local},
                                                      {"param", Space::param},
                                                      {"const", Space::constant}};
  auto is = SPACES.find(word);
  if (is != SPACES.end()) space = is->second;
  return is != SPACES.end();
}

// What stands in brackets or braces.
std::string inside(const std::string& text, char open, char close) {
  if (text.size() < 2 || text.front() != open || text.back() != close)
    refuse("not in " + std::string{open, close} + ": " + text);
  return text.substr(1, text.size() - 2);
}

std::vector<std::string> listed(const std::string& text) {
  if (text.empty() || text[0] != '{') return {text};
  std::vector<std::string> parts = split(inside(text, '{', '}'), ',');
  for (std::string& part : parts) part = trimmed(part);
  if (parts.size() != 2 && parts.size() != 4) refuse("neither two nor four: " + text);
  return parts;
}

}  // namespace

Kernel::Register Kernel::found(const std::string& name) {
  size_t digits = name.find_last_not_of("0123456789") + 1;
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    auto alone = scope->find(name);
    if (alone != scope->end()) return alone->second;
    auto many = digits < name.size() ? scope->find(name.substr(0, digits) + "<") : scope->end();
    if (many == scope->end()) continue;
    uint64_t index = number(name.substr(digits));
    if (index >= many->second.count) refuse("no register " + name);
    uint32_t bytes = many->second.width == Width::predicate ? 4 : LANES * static_cast<uint32_t>(many->second.width);
    return {many->second.at + bytes * static_cast<uint32_t>(index), 1, many->second.width};
  }
  refuse("no register " + name);
}

// Its place, 0 if it is none.
uint32_t Kernel::special(const std::string& name) {
  Special& all = entry_.special;
  uint32_t* is = name == "%laneid" ? &all.lane : nullptr;
  int axis = name.size() > 2 ? name.back() - 'x' : -1;
  if (axis >= 0 && axis < 3) {
    std::string stem = name.substr(0, name.size() - 2);
    is = stem == "%tid"      ? &all.tid[axis]
         : stem == "%ntid"   ? &all.ntid[axis]
         : stem == "%ctaid"  ? &all.ctaid[axis]
         : stem == "%nctaid" ? &all.nctaid[axis]
                             : is;
  }
  if (!is) return 0;
  if (*is == 0) *is = room(Width::word, 1);
  return *is;
}

uint32_t Kernel::operand(const std::string& text, Width width) {
  if (text.empty()) refuse("an operand of nothing");
  if (text[0] != '%') return constant(width, number(text));
  uint32_t at = special(text);
  if (at && width != Width::word) refuse("a register of another width: " + text);
  if (at) return at;
  Register is = found(text);
  if (is.width != width) refuse("a register of another width: " + text);
  return is.at;
}

// How wide a register is; what is none has the width of its type.
Width Kernel::width_of(const std::string& text, const std::string& type_name) {
  bool is_register = !text.empty() && text[0] == '%' && special(text) == 0;
  return is_register ? found(text).width : width(type(type_name));
}

// `name+4`: a variable, and how far in it.
const Symbol* Kernel::symbol(const std::string& text, uint64_t& offset) {
  size_t plus = text.find('+');
  auto is = symbols_.find(trimmed(text.substr(0, plus)));
  if (is == symbols_.end()) return nullptr;
  offset = plus == std::string::npos ? 0 : number(trimmed(text.substr(plus + 1)));
  Symbol& found = is->second;
  if (found.wanted_bytes) found.at = shared(std::exchange(found.wanted_bytes, 0), found.wanted_align);
  return &is->second;
}

void Kernel::address(Instruction& made, const std::string& text) {
  std::string is = inside(text, '[', ']');
  uint64_t offset = 0;
  if (const Symbol* found = symbol(is, offset)) {
    bool is_global = found->space == Space::global || found->space == Space::constant;
    if (found->space != made.space && !(made.space == Space::generic && is_global))
      refuse("a variable of another space: " + is);
    made.number = static_cast<int64_t>(found->at + offset);
    return;
  }
  size_t plus = is.find('+');
  made.from[0] = operand(trimmed(is.substr(0, plus)), Width::wide);
  if (plus != std::string::npos) made.number = static_cast<int64_t>(number(trimmed(is.substr(plus + 1))));
}

void Kernel::of_table(Instruction& made, const std::string& name, const std::vector<std::string>& operands) {
  auto is = operations().find(name);
  if (is == operations().end()) refuse("unknown instruction " + name);
  std::string widths = is->second.widths;
  if (operands.size() != widths.size()) refuse(std::to_string(operands.size()) + " operands");
  if (operands[0].empty() || operands[0][0] != '%') refuse("the result is in no register");
  made.step = is->second.step;
  made.to[0] = operand(operands[0], width_of_letter(widths[0]));
  for (size_t k = 1; k < operands.size(); k++) made.from[k - 1] = operand(operands[k], width_of_letter(widths[k]));
}

// Besides registers: addresses of variables, and words of which a wider one is made or which are made of it.
void Kernel::move(Instruction& made, const std::string& name, std::vector<std::string>& operands) {
  if (operands.size() != 2) refuse(std::to_string(operands.size()) + " operands");
  bool is_pack = operands[1][0] == '{', is_unpack = operands[0][0] == '{';
  if (is_pack || is_unpack) {
    std::vector<std::string> parts = listed(operands[is_pack ? 1 : 0]);
    unsigned bits = type(name.substr(4)).bits, part = bits / static_cast<unsigned>(parts.size());
    Width whole = width({'b', bits}), piece = width({'b', part});
    made.step = is_pack ? pack_step(piece, whole) : unpack_step(piece, whole);
    if (!made.step) refuse("unknown instruction " + name);
    made.count = static_cast<uint8_t>(parts.size());
    (is_pack ? made.to : made.from)[0] = operand(operands[is_pack ? 0 : 1], whole);
    for (size_t k = 0; k < parts.size(); k++)
      (is_pack ? made.from : made.to)[k] = parts[k] == "_" ? 0 : operand(parts[k], piece);
    return;
  }
  uint64_t offset = 0;
  if (const Symbol* found = symbol(operands[1], offset)) operands[1] = std::to_string(found->at + offset);
  of_table(made, name, operands);
}

// Loads and stores: `ld.volatile.shared.v4.u32 {…}, [%rd1+16]`.
void Kernel::access(Instruction& made, const std::vector<std::string>& words,
                    const std::vector<std::string>& operands) {
  bool is_load = words[0] == "ld";
  if (operands.size() != 2 || words.size() < 2) refuse("not two operands");
  size_t vector = 1;
  for (size_t k = 1; k + 1 < words.size(); k++) {
    const std::string& word = words[k];
    if (word == "v2" || word == "v4")
      vector = word == "v2" ? 2 : 4;
    else if (word != "volatile" && word != "nc" && !space_of(word, made.space))
      refuse("unknown modifier " + word);
  }
  std::vector<std::string> registers = listed(operands[is_load ? 0 : 1]);
  if (registers.size() != vector) refuse("another count of registers");
  made.count = static_cast<uint8_t>(vector);
  Width width = width_of(registers[0], words.back());
  made.step = is_load ? load_step(words.back(), width) : store_step(words.back(), width);
  if (!made.step) refuse("unknown type " + words.back() + " of these registers");
  for (size_t k = 0; k < vector; k++) made.to[k] = operand(registers[k], width);
  address(made, operands[is_load ? 1 : 0]);
}

// `atom.global.add.u32 %r1, [%rd1], %r2`, `red` without the first.
void Kernel::change(Instruction& made, const std::vector<std::string>& words,
                    const std::vector<std::string>& operands) {
  bool has_result = words[0] == "atom";
  size_t at = 1;
  if (at < words.size() && space_of(words[at], made.space)) at++;
  if (at + 2 != words.size() || operands.size() != (has_result ? 3u : 2u)) refuse("unknown form of an atomic");
  made.step = atomic_step(words[at], words.back(), has_result);
  if (!made.step) refuse("unknown instruction");
  Width is = width(type(words.back()));
  if (has_result) made.to[0] = operand(operands[0], is);
  address(made, operands[has_result ? 1 : 0]);
  made.from[1] = operand(operands.back(), is);
}

// `shfl.sync.bfly.b32 %r1|%p1, %r2, %r3, %r4, %r5`.
void Kernel::shuffle(Instruction& made, const std::vector<std::string>& words,
                     const std::vector<std::string>& operands) {
  static const std::string MODES[] = {"bfly", "idx", "up", "down"};
  bool is_known = words.size() == 4 && words[1] == "sync" && words[3] == "b32" && operands.size() == 5;
  if (!is_known || std::find(std::begin(MODES), std::end(MODES), words[2]) == std::end(MODES))
    refuse("unknown form of a shuffle");
  made.kind = Kind::shuffle;
  made.number = words[2][0];
  std::vector<std::string> results = split(operands[0], '|');
  made.to[0] = operand(trimmed(results[0]), Width::word);
  if (results.size() > 1) made.to[1] = operand(trimmed(results[1]), Width::predicate);
  for (size_t k = 0; k < 4; k++) made.from[k] = operand(operands[k + 1], Width::word);
}

// `cvta.to.shared.u64`, from and to generic addresses.
void Kernel::window(Instruction& made, const std::vector<std::string>& words,
                    const std::vector<std::string>& operands) {
  bool is_to = words.size() > 1 && words[1] == "to";
  Space space = Space::generic;
  if (words.size() != (is_to ? 4u : 3u) || words.back() != "u64" || !space_of(words[is_to ? 2 : 1], space))
    refuse("unknown form of cvta");
  if (space == Space::param) refuse("parameters have no generic address here");
  uint64_t base = space == Space::shared ? SHARED_WINDOW : space == Space::local ? LOCAL_WINDOW : 0;
  std::vector<std::string> all = operands;
  all.push_back(std::to_string(base));
  of_table(made, is_to ? "sub.s64" : "add.s64", all);
}

// Between integers: registers may be wider than the types that the name says.
void Kernel::convert(Instruction& made, const std::vector<std::string>& words,
                     const std::vector<std::string>& operands) {
  if (operands.size() != 2) refuse(std::to_string(operands.size()) + " operands");
  Type to = type(words[1]), from = type(words[2]);
  Width to_width = width_of(operands[0], words[1]), from_width = width_of(operands[1], words[2]);
  if (8 * unsigned(to_width) < to.bits || 8 * unsigned(from_width) < from.bits)
    refuse("a register narrower than its type");
  made.step = convert_step(to_width, from_width);
  auto bits = [](Type type) { return type.bits | (type.kind == 's' ? 0x80 : 0); };
  made.number = bits(from) | bits(to) << 8;
  made.to[0] = operand(operands[0], to_width);
  made.from[0] = operand(operands[1], from_width);
}

void Kernel::decode(Instruction& made, const std::string& name, std::vector<std::string>& operands) {
  std::vector<std::string> words = split(name, '.');
  const std::string& word = words[0];
  if (name == "bra" || name == "bra.uni") {
    if (operands.size() != 1) refuse("not one label");
    made.kind = Kind::branch;
    jumps_.emplace_back(entry_.code.size(), operands[0]);
  } else if (name == "ret" || name == "exit") {
    made.kind = Kind::leave;
  } else if (name == "bar.sync") {
    if (operands.size() != 1 || operands[0] != "0") refuse("another barrier than that of all threads");
    made.kind = Kind::barrier;
  } else if (word == "shfl") {
    shuffle(made, words, operands);
  } else if (word == "ld" || word == "st") {
    access(made, words, operands);
  } else if (word == "atom" || word == "red") {
    change(made, words, operands);
  } else if (word == "cvta") {
    window(made, words, operands);
  } else if (word == "mov") {
    move(made, name, operands);
  } else if (word == "cvt" && words.size() == 3 && strchr("us", words[1][0]) && strchr("us", words[2][0])) {
    convert(made, words, operands);
  } else {
    of_table(made, name, operands);
  }
}

void Kernel::instruction(const std::string& statement, uint32_t line) {
  Instruction made;
  made.line = line;
  std::string text = statement;
  if (text[0] == '@') {
    size_t space = text.find_first_of(" \t");
    made.is_guard_inverted = text[1] == '!';
    made.guard = operand(text.substr(made.is_guard_inverted ? 2 : 1, space - (made.is_guard_inverted ? 2 : 1)),
                         Width::predicate);
    text = trimmed(text.substr(space));
  }
  size_t space = std::min(text.find_first_of(" \t"), text.size());
  std::string name = text.substr(0, space), rest = trimmed(text.substr(space));
  std::vector<std::string> operands = rest.empty() ? std::vector<std::string>() : split(rest, ',');
  for (std::string& operand : operands) operand = trimmed(operand);
  decode(made, name, operands);
  entry_.code.push_back(made);
}

}  // namespace sim::ptx
