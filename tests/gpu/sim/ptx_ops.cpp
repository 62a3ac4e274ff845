// What PTX instructions of arithmetic do, as a table of operations by name and type.
//
// Integers wrap; shifts by more than a width give 0 or signs; floating-point arithmetic is IEEE's with subnormals, to
// nearest unless an instruction says otherwise, and a NaN that it makes is the one NaN of a GPU. What is not in the table
// is refused: `.ftz` and `.approx` forms and operations that a compiler may fuse (`mul.f32` without a rounding) are left
// out, because their bits are not the processor's.
// Source: PTX ISA 8.0, chapter 9.
#include <cfenv>
#include <cmath>
#include <limits>

#include "ptx.h"

namespace sim::ptx {
namespace {

#define OF_ONE(name, expression) \
  struct name {                  \
    template <class T>           \
    static T of(T a) {           \
      return T(expression);      \
    }                            \
  };
#define OF_TWO(name, expression) \
  struct name {                  \
    template <class T>           \
    static T of(T a, T b) {      \
      return T(expression);      \
    }                            \
  };
#define TEST(name, expression)    \
  struct name {                   \
    template <class T>            \
    static bool of(T a, T b) {    \
      return expression;          \
    }                             \
  };

template <class T>
constexpr int BITS = 8 * sizeof(T);

OF_ONE(Copy, a)
OF_ONE(Not, ~a)
OF_ONE(Negative, 0 - uint64_t(a))
OF_ONE(Magnitude, a < 0 ? 0 - uint64_t(a) : uint64_t(a))
OF_ONE(Negated, -a)
OF_ONE(Absolute, std::fabs(a))
OF_ONE(Root, one_nan(std::sqrt(a)))
OF_ONE(Inverse, one_nan(T(1) / a))
OF_TWO(Add, uint64_t(a) + uint64_t(b))
OF_TWO(Sub, uint64_t(a) - uint64_t(b))
OF_TWO(Mul, uint64_t(a) * uint64_t(b))
OF_TWO(And, a & b)
OF_TWO(Or, a | b)
OF_TWO(Xor, a ^ b)
OF_TWO(Min, b < a ? b : a)
OF_TWO(Max, a < b ? b : a)
OF_TWO(FAdd, one_nan(a + b))
OF_TWO(FSub, one_nan(a - b))
OF_TWO(FMul, one_nan(a * b))
OF_TWO(FDiv, one_nan(a / b))
// Of a number and a NaN the number; -0 is less than 0.
OF_TWO(FMin, a != a ? one_nan(b) : b != b ? a : a == b ? (std::signbit(a) ? a : b) : a < b ? a : b)
OF_TWO(FMax, a != a ? one_nan(b) : b != b ? a : a == b ? (std::signbit(a) ? b : a) : a < b ? b : a)
TEST(Eq, a == b)
TEST(Ne, a != b)
TEST(Lt, a < b)
TEST(Le, a <= b)
TEST(Gt, a > b)
TEST(Ge, a >= b)
TEST(FNe, a < b || a > b)
TEST(Equ, !(a < b || a > b))
TEST(Ltu, !(a >= b))
TEST(Leu, !(a > b))
TEST(Gtu, !(a <= b))
TEST(Geu, !(a < b))
TEST(Num, a == a && b == b)
TEST(Nan, a != a || b != b)

// The upper half of a product.
struct High {
  template <class T>
  static T of(T a, T b) {
    using Wide = std::conditional_t<std::is_signed<T>::value, __int128, unsigned __int128>;
    return T((Wide(a) * Wide(b)) >> BITS<T>);
  }
};

template <class T, class F>
void one(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *a = warp.reg<T>(i.from[0]);
  each(on, [=](int k) { to[k] = F::of(a[k]); });
}
template <class T, class F>
void two(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *a = warp.reg<T>(i.from[0]), *b = warp.reg<T>(i.from[1]);
  each(on, [=](int k) { to[k] = F::of(a[k], b[k]); });
}
template <class T, bool IS_REST>
void divided(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *a = warp.reg<T>(i.from[0]), *b = warp.reg<T>(i.from[1]);
  for (; on; on &= on - 1) {
    int k = __builtin_ctz(on);
    // What a GPU gives is not said.
    if (b[k] == 0) warp.fault(i, k, "division by zero");
    // The least number by -1 would trap.
    bool is_minus = std::is_signed<T>::value && b[k] == T(-1);
    if (IS_REST) {
      to[k] = is_minus ? T(0) : T(a[k] % b[k]);
    } else {
      to[k] = is_minus ? T(0 - uint64_t(a[k])) : T(a[k] / b[k]);
    }
  }
}
// In another rounding than the usual one.
template <class T, class F, int MODE>
void directed(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *a = warp.reg<T>(i.from[0]), *b = warp.reg<T>(i.from[1]);
  fesetround(MODE);
  for (; on; on &= on - 1) {
    int k = __builtin_ctz(on);
    // Volatile, so that the sum is not made before the rounding is set.
    volatile T x = a[k], y = b[k], sum = F::of(T(x), T(y));
    to[k] = sum;
  }
  fesetround(FE_TONEAREST);
}
template <class T, int MODE>
void fused(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *a = warp.reg<T>(i.from[0]), *b = warp.reg<T>(i.from[1]), *c = warp.reg<T>(i.from[2]);
  if (MODE != FE_TONEAREST) fesetround(MODE);
  each(on, [=](int k) { to[k] = one_nan(std::fma(a[k], b[k], c[k])); });
  if (MODE != FE_TONEAREST) fesetround(FE_TONEAREST);
}
template <class T>
void mad(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *a = warp.reg<T>(i.from[0]), *b = warp.reg<T>(i.from[1]), *c = warp.reg<T>(i.from[2]);
  each(on, [=](int k) { to[k] = T(uint64_t(a[k]) * b[k] + c[k]); });
}
template <class T, class W, bool ADDS>
void wide(Warp& warp, const Instruction& i, uint32_t on) {
  W* to = warp.reg<W>(i.to[0]);
  T *a = warp.reg<T>(i.from[0]), *b = warp.reg<T>(i.from[1]);
  W* c = warp.reg<W>(i.from[2]);
  each(on, [=](int k) { to[k] = W(uint64_t(W(a[k])) * uint64_t(W(b[k])) + (ADDS ? uint64_t(c[k]) : 0)); });
}
template <class T>
void shift_left(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *a = warp.reg<T>(i.from[0]);
  uint32_t* by = warp.reg<uint32_t>(i.from[1]);
  each(on, [=](int k) { to[k] = by[k] < BITS<T> ? T(uint64_t(a[k]) << (by[k] & 63)) : T(0); });
}
template <class T>
void shift_right(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *a = warp.reg<T>(i.from[0]);
  uint32_t* by = warp.reg<uint32_t>(i.from[1]);
  constexpr uint32_t LAST = BITS<T> - 1;
  each(on, [=](int k) {
    bool is_beyond = by[k] > LAST && !std::is_signed<T>::value;
    to[k] = is_beyond ? T(0) : T(a[k] >> (by[k] > LAST ? LAST : by[k]));
  });
}
template <class T, class F>
void test(Warp& warp, const Instruction& i, uint32_t on) {
  T *a = warp.reg<T>(i.from[0]), *b = warp.reg<T>(i.from[1]);
  uint32_t bits = 0;
  for (int k = 0; k < LANES; k++) bits |= uint32_t(F::of(a[k], b[k])) << k;
  uint32_t& to = *warp.reg<uint32_t>(i.to[0]);
  to = (to & ~on) | (bits & on);
}
template <class F>
void of_predicates(Warp& warp, const Instruction& i, uint32_t on) {
  uint32_t a = *warp.reg<uint32_t>(i.from[0]), b = *warp.reg<uint32_t>(i.from[1]);
  uint32_t& to = *warp.reg<uint32_t>(i.to[0]);
  to = (to & ~on) | (F::of(a, b) & on);
}
template <class F>
void of_predicate(Warp& warp, const Instruction& i, uint32_t on) {
  uint32_t& to = *warp.reg<uint32_t>(i.to[0]);
  to = (to & ~on) | (F::of(*warp.reg<uint32_t>(i.from[0])) & on);
}
template <class T>
void select(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *a = warp.reg<T>(i.from[0]), *b = warp.reg<T>(i.from[1]);
  uint32_t which = *warp.reg<uint32_t>(i.from[2]);
  each(on, [=](int k) { to[k] = which >> k & 1 ? a[k] : b[k]; });
}
template <class T, int WHAT>
void counted(Warp& warp, const Instruction& i, uint32_t on) {
  T* a = warp.reg<T>(i.from[0]);
  uint32_t* to = warp.reg<uint32_t>(i.to[0]);
  each(on, [=](int k) {
    uint64_t value = a[k];
    to[k] = uint32_t(WHAT == 0 ? __builtin_popcountll(value)
                     : value   ? __builtin_clzll(value) - (64 - BITS<T>)
                               : BITS<T>);
  });
}
template <class T>
void reversed(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *a = warp.reg<T>(i.from[0]);
  each(on, [=](int k) {
    T value = 0;
    for (int bit = 0; bit < BITS<T>; bit++) value |= T(a[k] >> bit & 1) << (BITS<T> - 1 - bit);
    to[k] = value;
  });
}
template <class T>
T field_mask(uint32_t count) {
  return count >= BITS<T> ? T(~T(0)) : T((T(1) << count) - 1);
}
// Puts the low bits of `a` into `b`, at a place.
template <class T>
void inserted(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *a = warp.reg<T>(i.from[0]), *b = warp.reg<T>(i.from[1]);
  uint32_t *at = warp.reg<uint32_t>(i.from[2]), *count = warp.reg<uint32_t>(i.from[3]);
  each(on, [=](int k) {
    uint32_t first = at[k] & 0xff;
    T mask = first < BITS<T> ? T(field_mask<T>(count[k] & 0xff) << first) : T(0);
    to[k] = T((b[k] & ~mask) | (T(a[k] << (first & (BITS<T> - 1))) & mask));
  });
}
template <class T>
void extracted(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *a = warp.reg<T>(i.from[0]);
  uint32_t *at = warp.reg<uint32_t>(i.from[1]), *count = warp.reg<uint32_t>(i.from[2]);
  each(on, [=](int k) {
    uint32_t first = at[k] & 0xff, bits = count[k] & 0xff;
    using U = std::make_unsigned_t<T>;
    U last = first + bits - 1 < uint32_t(BITS<T>) ? first + bits - 1 : BITS<T> - 1;
    bool is_minus = std::is_signed<T>::value && bits && (U(a[k]) >> last & 1);
    U mask = field_mask<U>(bits), value = first < BITS<T> ? U(U(a[k]) >> first) : U(0);
    U kept = first < BITS<T> ? field_mask<U>(BITS<T> - first) & mask : U(0);
    to[k] = T((value & kept) | (is_minus ? U(~kept) : U(0)));
  });
}
void permute(Warp& warp, const Instruction& i, uint32_t on) {
  uint32_t *to = warp.reg<uint32_t>(i.to[0]), *a = warp.reg<uint32_t>(i.from[0]), *b = warp.reg<uint32_t>(i.from[1]);
  uint32_t* which = warp.reg<uint32_t>(i.from[2]);
  each(on, [=](int k) {
    uint64_t all = uint64_t(b[k]) << 32 | a[k];
    uint32_t bytes = 0;
    for (int n = 0; n < 4; n++) {
      uint32_t digit = which[k] >> (4 * n), byte = uint32_t(all >> (8 * (digit & 7))) & 0xff;
      bytes |= (digit & 8 ? (byte & 0x80 ? 0xffu : 0) : byte) << (8 * n);
    }
    to[k] = bytes;
  });
}
template <bool IS_LEFT, bool CLAMPS>
void funnel(Warp& warp, const Instruction& i, uint32_t on) {
  uint32_t *to = warp.reg<uint32_t>(i.to[0]), *a = warp.reg<uint32_t>(i.from[0]), *b = warp.reg<uint32_t>(i.from[1]);
  uint32_t* by = warp.reg<uint32_t>(i.from[2]);
  each(on, [=](int k) {
    uint32_t n = CLAMPS ? (by[k] > 32 ? 32 : by[k]) : by[k] & 31;
    uint64_t both = uint64_t(b[k]) << 32 | a[k];
    to[k] = IS_LEFT ? uint32_t((both << n) >> 32) : uint32_t(both >> n);
  });
}
void logic_of_three(Warp& warp, const Instruction& i, uint32_t on) {
  uint32_t *to = warp.reg<uint32_t>(i.to[0]), *a = warp.reg<uint32_t>(i.from[0]), *b = warp.reg<uint32_t>(i.from[1]);
  uint32_t *c = warp.reg<uint32_t>(i.from[2]), *table = warp.reg<uint32_t>(i.from[3]);
  each(on, [=](int k) {
    uint32_t value = 0;
    for (int row = 0; row < 8; row++) {
      uint32_t is = (row & 4 ? a[k] : ~a[k]) & (row & 2 ? b[k] : ~b[k]) & (row & 1 ? c[k] : ~c[k]);
      if (table[k] >> row & 1) value |= is;
    }
    to[k] = value;
  });
}
template <class A, class B>
void dot(Warp& warp, const Instruction& i, uint32_t on) {
  uint32_t *to = warp.reg<uint32_t>(i.to[0]), *a = warp.reg<uint32_t>(i.from[0]), *b = warp.reg<uint32_t>(i.from[1]);
  uint32_t* c = warp.reg<uint32_t>(i.from[2]);
  each(on, [=](int k) {
    uint32_t sum = c[k];
    for (int n = 0; n < 32; n += 8) sum += uint32_t(int32_t(A(a[k] >> n)) * int32_t(B(b[k] >> n)));
    to[k] = sum;
  });
}

template <class T>
void integers(Table& table, const std::string& type, const char* two_of, const char* three_of, const char* test_of) {
  using U = std::make_unsigned_t<T>;
  table["add." + type] = {two_of, two<U, Add>};
  table["sub." + type] = {two_of, two<U, Sub>};
  table["mul.lo." + type] = {two_of, two<U, Mul>};
  table["mul.hi." + type] = {two_of, two<T, High>};
  table["mad.lo." + type] = {three_of, mad<U>};
  table["div." + type] = {two_of, divided<T, false>};
  table["rem." + type] = {two_of, divided<T, true>};
  table["min." + type] = {two_of, two<T, Min>};
  table["max." + type] = {two_of, two<T, Max>};
  table["setp.lt." + type] = {test_of, test<T, Lt>};
  table["setp.le." + type] = {test_of, test<T, Le>};
  table["setp.gt." + type] = {test_of, test<T, Gt>};
  table["setp.ge." + type] = {test_of, test<T, Ge>};
}
template <class U>
void bits(Table& table, const std::string& width, const char* one_of, const char* two_of, const char* test_of,
          const char* select_of, const char* shift_of) {
  using S = std::make_signed_t<U>;
  for (const char* kind : {"b", "u", "s", "f"}) {
    std::string type = kind + width;
    if (kind[0] == 'f' && width == "16") continue;
    table["mov." + type] = {one_of, one<U, Copy>};
    table["selp." + type] = {select_of, select<U>};
    if (kind[0] == 'f') continue;
    table["setp.eq." + type] = {test_of, test<U, Eq>};
    table["setp.ne." + type] = {test_of, test<U, Ne>};
  }
  table["and.b" + width] = {two_of, two<U, And>};
  table["or.b" + width] = {two_of, two<U, Or>};
  table["xor.b" + width] = {two_of, two<U, Xor>};
  table["not.b" + width] = {one_of, one<U, Not>};
  table["neg.s" + width] = {one_of, one<U, Negative>};
  table["abs.s" + width] = {one_of, one<S, Magnitude>};
  table["shl.b" + width] = {shift_of, shift_left<U>};
  table["shr.u" + width] = table["shr.b" + width] = {shift_of, shift_right<U>};
  table["shr.s" + width] = {shift_of, shift_right<S>};
}
template <class T>
void floats(Table& table, const std::string& type, const char* one_of, const char* two_of, const char* three_of,
            const char* test_of) {
  table["add.rn." + type] = {two_of, two<T, FAdd>};
  table["sub.rn." + type] = {two_of, two<T, FSub>};
  table["mul.rn." + type] = {two_of, two<T, FMul>};
  table["div.rn." + type] = {two_of, two<T, FDiv>};
  table["add.rz." + type] = {two_of, directed<T, FAdd, FE_TOWARDZERO>};
  table["sub.rz." + type] = {two_of, directed<T, FSub, FE_TOWARDZERO>};
  table["mul.rz." + type] = {two_of, directed<T, FMul, FE_TOWARDZERO>};
  table["div.rz." + type] = {two_of, directed<T, FDiv, FE_TOWARDZERO>};
  table["add.rm." + type] = {two_of, directed<T, FAdd, FE_DOWNWARD>};
  table["add.rp." + type] = {two_of, directed<T, FAdd, FE_UPWARD>};
  table["fma.rn." + type] = {three_of, fused<T, FE_TONEAREST>};
  table["fma.rz." + type] = {three_of, fused<T, FE_TOWARDZERO>};
  table["min." + type] = {two_of, two<T, FMin>};
  table["max." + type] = {two_of, two<T, FMax>};
  table["neg." + type] = {one_of, one<T, Negated>};
  table["abs." + type] = {one_of, one<T, Absolute>};
  table["sqrt.rn." + type] = {one_of, one<T, Root>};
  table["rcp.rn." + type] = {one_of, one<T, Inverse>};
  const std::pair<const char*, Step> tests[] = {
      {"eq", test<T, Eq>},   {"ne", test<T, FNe>},  {"lt", test<T, Lt>},   {"le", test<T, Le>},   {"gt", test<T, Gt>},
      {"ge", test<T, Ge>},   {"equ", test<T, Equ>}, {"neu", test<T, Ne>},  {"ltu", test<T, Ltu>}, {"leu", test<T, Leu>},
      {"gtu", test<T, Gtu>}, {"geu", test<T, Geu>}, {"num", test<T, Num>}, {"nan", test<T, Nan>}};
  for (auto& [name, step] : tests) table[std::string("setp.") + name + "." + type] = {test_of, step};
}

Table all() {
  Table table;
  integers<uint16_t>(table, "u16", "hhh", "hhhh", "phh");
  integers<int16_t>(table, "s16", "hhh", "hhhh", "phh");
  integers<uint32_t>(table, "u32", "www", "wwww", "pww");
  integers<int32_t>(table, "s32", "www", "wwww", "pww");
  integers<uint64_t>(table, "u64", "ddd", "dddd", "pdd");
  integers<int64_t>(table, "s64", "ddd", "dddd", "pdd");
  bits<uint16_t>(table, "16", "hh", "hhh", "phh", "hhhp", "hhw");
  bits<uint32_t>(table, "32", "ww", "www", "pww", "wwwp", "www");
  bits<uint64_t>(table, "64", "dd", "ddd", "pdd", "dddp", "ddw");
  floats<float>(table, "f32", "ww", "www", "wwww", "pww");
  floats<double>(table, "f64", "dd", "ddd", "dddd", "pdd");

  table["mul.wide.u16"] = {"whh", wide<uint16_t, uint32_t, false>};
  table["mul.wide.s16"] = {"whh", wide<int16_t, int32_t, false>};
  table["mul.wide.u32"] = {"dww", wide<uint32_t, uint64_t, false>};
  table["mul.wide.s32"] = {"dww", wide<int32_t, int64_t, false>};
  table["mad.wide.u16"] = {"whhw", wide<uint16_t, uint32_t, true>};
  table["mad.wide.s16"] = {"whhw", wide<int16_t, int32_t, true>};
  table["mad.wide.u32"] = {"dwwd", wide<uint32_t, uint64_t, true>};
  table["mad.wide.s32"] = {"dwwd", wide<int32_t, int64_t, true>};

  table["mov.pred"] = {"pp", of_predicate<Copy>};
  table["not.pred"] = {"pp", of_predicate<Not>};
  table["and.pred"] = {"ppp", of_predicates<And>};
  table["or.pred"] = {"ppp", of_predicates<Or>};
  table["xor.pred"] = {"ppp", of_predicates<Xor>};

  table["popc.b32"] = {"ww", counted<uint32_t, 0>};
  table["popc.b64"] = {"wd", counted<uint64_t, 0>};
  table["clz.b32"] = {"ww", counted<uint32_t, 1>};
  table["clz.b64"] = {"wd", counted<uint64_t, 1>};
  table["brev.b32"] = {"ww", reversed<uint32_t>};
  table["brev.b64"] = {"dd", reversed<uint64_t>};
  table["bfi.b32"] = {"wwwww", inserted<uint32_t>};
  table["bfi.b64"] = {"dddww", inserted<uint64_t>};
  table["bfe.u32"] = {"wwww", extracted<uint32_t>};
  table["bfe.s32"] = {"wwww", extracted<int32_t>};
  table["bfe.u64"] = {"ddww", extracted<uint64_t>};
  table["bfe.s64"] = {"ddww", extracted<int64_t>};
  table["prmt.b32"] = {"wwww", permute};
  table["lop3.b32"] = {"wwwww", logic_of_three};
  table["shf.l.wrap.b32"] = {"wwww", funnel<true, false>};
  table["shf.l.clamp.b32"] = {"wwww", funnel<true, true>};
  table["shf.r.wrap.b32"] = {"wwww", funnel<false, false>};
  table["shf.r.clamp.b32"] = {"wwww", funnel<false, true>};
  table["dp4a.u32.u32"] = {"wwww", dot<uint8_t, uint8_t>};
  table["dp4a.u32.s32"] = {"wwww", dot<uint8_t, int8_t>};
  table["dp4a.s32.u32"] = {"wwww", dot<int8_t, uint8_t>};
  table["dp4a.s32.s32"] = {"wwww", dot<int8_t, int8_t>};

  add_conversions(table);
  return table;
}

}  // namespace

const Table& operations() {
  static const Table table = all();
  return table;
}

}  // namespace sim::ptx
