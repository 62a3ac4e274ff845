// PTX text: variables, kernels with their parameters, registers and shared memory; ptx_decode.cpp makes instructions of
// statements.
//
// The grammar is what NVRTC writes for our kernels (one function a kernel, everything inlined) and no more; the rest is
// refused with the line and the statement.
#include <cstdlib>
#include <set>

#include "ptx_text.h"

namespace sim::ptx {

[[noreturn]] void refuse(const std::string& why) { throw Refused{INVALID_PTX, why}; }

std::string Module::line(uint32_t number) const {
  size_t from = 0;
  for (uint32_t k = 1; k < number && from != std::string::npos; k++) from = text.find('\n', from) + 1;
  std::string is = text.substr(from, text.find('\n', from) - from);
  size_t first = is.find_first_not_of(" \t");
  std::string trimmed = first == std::string::npos ? "" : is.substr(first);
  for (char& c : trimmed) c = c == '\t' ? ' ' : c;
  return trimmed;
}

// What a block may have without being told so by the program.
constexpr uint64_t SHARED_BYTES = 48 << 10;

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (char c : text) {
    depth += (c == '{' || c == '[' || c == '(') - (c == '}' || c == ']' || c == ')');
    if (c == at && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}
std::string trimmed(const std::string& text) {
  size_t first = text.find_first_not_of(" \t\n"), last = text.find_last_not_of(" \t\n");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}
uint64_t number(const std::string& text) {
  bool is_hexadecimal_float = text.size() > 2 && text[0] == '0' && strchr("fFdD", text[1]);
  if (is_hexadecimal_float) return strtoull(text.c_str() + 2, nullptr, 16);
  char* end;
  uint64_t value =
      text[0] == '-' ? static_cast<uint64_t>(strtoll(text.c_str(), &end, 0)) : strtoull(text.c_str(), &end, 0);
  if (text.empty() || (*end && strcmp(end, "U") != 0)) refuse("not a number: " + text);
  return value;
}
Type type(const std::string& text) {
  static const std::set<std::string> KNOWN = {"pred", "b8",  "u8",  "s8",  "b16", "u16", "s16", "b32",
                                              "u32",  "s32", "f32", "b64", "u64", "s64", "f64"};
  if (!KNOWN.count(text)) refuse("unknown type " + text);
  if (text == "pred") return {'p', 1};
  return {text[0], static_cast<unsigned>(atoi(text.c_str() + 1))};
}
Width width(Type type) {
  if (type.bits == 8) refuse("a register of 8 bits");
  return type.kind == 'p'  ? Width::predicate
         : type.bits == 16 ? Width::half
         : type.bits == 32 ? Width::word
                           : Width::wide;
}

Declared declared(const std::string& text) {
  Declared is{};
  size_t equals = text.find('=');
  if (equals != std::string::npos) is.values = trimmed(text.substr(equals + 1));
  std::vector<std::string> words;
  for (const std::string& word : split(trimmed(text.substr(0, equals)), ' ')) {
    if (!trimmed(word).empty()) words.push_back(trimmed(word));
  }
  size_t k = 0;
  if (k + 1 < words.size() && words[k] == ".align") {
    is.align = number(words[k + 1]);
    k += 2;
  }
  if (k + 2 != words.size() || words[k][0] != '.') refuse("a declaration that is not known: " + trimmed(text));
  is.type = type(words[k].substr(1));
  uint64_t bytes = is.type.bits / 8;
  if (is.align == 0) is.align = bytes;
  size_t bracket = words[k + 1].find('[');
  is.name = words[k + 1].substr(0, bracket);
  is.is_array = bracket != std::string::npos;
  is.bytes =
      is.is_array ? bytes * number(words[k + 1].substr(bracket + 1, words[k + 1].find(']') - bracket - 1)) : bytes;
  return is;
}

namespace {

class Parser {
 public:
  explicit Parser(std::string text) : module_(new Module) { module_->text = std::move(text); }

  std::unique_ptr<Module> parse() {
    try {
      for (std::string word = next_word(); !word.empty(); word = next_word()) directive(word);
      if (peek()) refuse(std::string("a ") + peek() + " that nothing began");
      return std::move(module_);
    } catch (Refused& refused) {
      refused.words = "line " + std::to_string(statement_line_) + ": " + refused.words;
      if (!statement_.empty()) refused.words += ": " + statement_;
      throw;
    }
  }

 private:
  std::unique_ptr<Module> module_;
  size_t at_ = 0;
  // Of the text, and of what is read, for who is told.
  uint32_t line_ = 1, statement_line_ = 1;
  std::string statement_;
  std::map<std::string, Symbol> globals_;

  void directive(const std::string& word) {
    if (word == ".version" || word == ".target") {
      rest_of_line();
    } else if (word == ".address_size") {
      if (rest_of_line() != "64") refuse("addresses that are not of 64 bits");
    } else if (word == ".entry") {
      entry();
    } else if (word == ".global" || word == ".const") {
      variable(word == ".global" ? Space::global : Space::constant, until(';'));
    } else if (word == ".shared") {
      Declared is = declared(until(';'));
      globals_[is.name] = {Space::shared, 0, is.bytes, is.align};
    } else if (word != ".visible") {
      refuse("unknown directive " + word);
    }
  }
  char peek() const { return at_ < module_->text.size() ? module_->text[at_] : '\0'; }
  char take() {
    char is = peek();
    at_++;
    line_ += is == '\n';
    return is;
  }
  void skip() {
    for (;;) {
      while (peek() == ' ' || peek() == '\t' || peek() == '\n') take();
      if (module_->text.compare(at_, 2, "//") != 0) break;
      while (peek() && peek() != '\n') take();
    }
    statement_line_ = line_;
  }
  std::string next_word() {
    skip();
    statement_.clear();
    std::string word;
    while (peek() && !strchr(" \t\n(){};,", peek())) word += take();
    return word;
  }
  std::string rest_of_line() {
    std::string rest;
    while (peek() && peek() != '\n') rest += take();
    return trimmed(rest.substr(0, rest.find("//")));
  }
  std::string until(char end) {
    std::string text;
    while (peek() != end) {
      if (!peek()) refuse(std::string("the text ends before a ") + end);
      text += take();
    }
    take();
    return text;
  }

  void variable(Space space, const std::string& text) {
    Declared is = declared(text);
    Variable made{std::unique_ptr<char[]>(new char[is.bytes + is.align]()), 0, is.bytes, space};
    made.at = aligned(reinterpret_cast<uint64_t>(made.held.get()), is.align);
    std::string values = is.values;
    if (is.is_array && !values.empty()) values = values.substr(1, values.find('}') - 1);
    uint64_t to = made.at, bytes = is.type.bits / 8;
    for (const std::string& value : values.empty() ? std::vector<std::string>() : split(values, ',')) {
      uint64_t bits = number(trimmed(value));
      if (to + bytes > made.at + is.bytes) refuse("more values than " + is.name + " has");
      memcpy(reinterpret_cast<void*>(to), &bits, bytes);
      to += bytes;
    }
    globals_[is.name] = {space, made.at};
    module_->variables.push_back(std::move(made));
  }

  void entry() {
    std::string name = next_word();
    if (module_->entries.count(name)) refuse("another kernel " + name);
    Entry& entry = module_->entries[name];
    entry.name = name;
    entry.module = module_.get();
    Kernel kernel(entry, globals_);
    skip();
    if (take() != '(') refuse("no parameters of " + name);
    std::string parameters = trimmed(until(')'));
    if (!parameters.empty()) {
      for (const std::string& parameter : split(parameters, ',')) kernel.parameter(trimmed(parameter));
    }
    limits(entry);
    body(kernel);
  }

  // What stands between a kernel's parameters and its body.
  void limits(Entry& entry) {
    for (std::string word = next_word(); !word.empty(); word = next_word()) {
      std::string values = rest_of_line();
      if (word == ".maxntid") {
        entry.max_threads = 1;
        for (const std::string& value : split(values, ','))
          entry.max_threads *= static_cast<uint32_t>(number(trimmed(value)));
      } else if (word != ".minnctapersm") {
        refuse("unknown directive " + word);
      }
    }
    if (take() != '{') refuse("no body of " + entry.name);
  }

  void body(Kernel& kernel) {
    for (int depth = 1; depth > 0;) {
      skip();
      statement_.clear();
      if (peek() == '{' || peek() == '}') {
        bool is_open = take() == '{';
        depth += is_open ? 1 : -1;
        kernel.scope(is_open);
        continue;
      }
      std::string text;
      while (peek() && peek() != ';' && peek() != ':') text += take();
      if (!peek()) refuse("the text ends within a kernel");
      bool is_label = take() == ':';
      statement_ = trimmed(text);
      if (is_label) {
        kernel.label(statement_);
      } else if (statement_[0] == '.') {
        kernel.declare(statement_);
      } else {
        kernel.instruction(statement_, statement_line_);
      }
    }
    statement_.clear();
    kernel.end();
  }
};

}  // namespace

Kernel::Kernel(Entry& entry, const std::map<std::string, Symbol>& globals)
    : entry_(entry), scopes_(1), symbols_(globals) {}

void Kernel::parameter(const std::string& text) {
  if (text.compare(0, 7, ".param ") != 0) refuse("not a parameter: " + text);
  Declared is = declared(text.substr(7));
  uint64_t at = aligned(entry_.parameter_bytes, is.align);
  symbols_[is.name] = {Space::param, at};
  entry_.parameters.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(is.bytes)});
  entry_.parameter_bytes = static_cast<uint32_t>(at + is.bytes);
}

void Kernel::scope(bool is_open) {
  if (is_open) {
    scopes_.push_back({});
  } else {
    scopes_.pop_back();
  }
}

void Kernel::label(const std::string& name) { labels_[name] = static_cast<uint32_t>(entry_.code.size()); }

void Kernel::end() {
  // A kernel that runs off its end leaves.
  entry_.code.emplace_back();
  entry_.code.back().kind = Kind::leave;
  for (auto& [at, label] : jumps_) {
    auto is = labels_.find(label);
    if (is == labels_.end()) refuse("no label " + label);
    entry_.code[at].number = is->second;
  }
}

void Kernel::declare(const std::string& statement) {
  size_t space = statement.find_first_of(" \t");
  std::string word = statement.substr(0, space), rest = trimmed(statement.substr(std::min(space, statement.size())));
  for (char& c : rest) c = c == '\t' ? ' ' : c;
  if (word == ".pragma") return;
  if (word == ".reg") {
    size_t name = rest.find('%');
    if (name == std::string::npos) refuse("registers without a name");
    Width is = width(type(trimmed(rest.substr(1, name - 1))));
    std::string names = trimmed(rest.substr(name));
    size_t angle = names.find('<');
    bool is_many = angle != std::string::npos;
    uint32_t count = is_many ? static_cast<uint32_t>(number(names.substr(angle + 1, names.find('>') - angle - 1))) : 1;
    scopes_.back()[names.substr(0, angle) + (is_many ? "<" : "")] = {room(is, count), count, is};
  } else if (word == ".shared" || word == ".local") {
    Declared is = declared(rest);
    if (word == ".shared") {
      symbols_[is.name] = {Space::shared, shared(is.bytes, is.align)};
    } else {
      uint64_t at = aligned(entry_.local_bytes, is.align);
      symbols_[is.name] = {Space::local, at};
      // What threads have behind each other is as well aligned as what the first has.
      entry_.local_bytes = static_cast<uint32_t>(aligned(at + is.bytes, 16));
    }
  } else {
    refuse("a declaration that is not known");
  }
}

uint32_t Kernel::room(Width width, uint32_t count) {
  bool is_predicate = width == Width::predicate;
  uint32_t bytes = is_predicate ? 4 : LANES * static_cast<uint32_t>(width);
  uint32_t at = static_cast<uint32_t>(aligned(entry_.register_bytes, is_predicate ? 4 : 64));
  entry_.register_bytes = at + bytes * count;
  return at;
}

uint64_t Kernel::shared(uint64_t bytes, uint64_t align) {
  uint64_t at = aligned(entry_.shared_bytes, align);
  if (at + bytes > SHARED_BYTES) refuse("more than 48 KiB of shared memory");
  entry_.shared_bytes = static_cast<uint32_t>(at + bytes);
  return at;
}

uint32_t Kernel::constant(Width width, uint64_t bits) {
  auto [is, is_new] = constants_.try_emplace({width, bits}, 0);
  if (is_new) {
    is->second = room(width, 1);
    entry_.constants.push_back({is->second, width, bits});
  }
  return is->second;
}

std::unique_ptr<Module> parse(std::string text) { return Parser(std::move(text)).parse(); }

}  // namespace sim::ptx
