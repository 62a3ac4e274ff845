// Conversions: between integers of any widths, between floating-point types, and from one to the other. Integers
// saturate where a floating-point value is beyond them; the rounding is the one that the instruction names. Source: PTX
// ISA 8.0, cvt.
#include <cfenv>
#include <cmath>
#include <limits>

#include "ptx.h"

namespace sim::ptx {
namespace {

using Half = _Float16;
struct Bits16 {
  uint16_t bits;
};
float value_of(Bits16 from) {
  Half half;
  memcpy(&half, &from.bits, 2);
  return one_nan(float(half));
}
template <class T>
T value_of(T from) {
  return from;
}
template <class D>
struct To {
  template <class S>
  static D of(S value) {
    return D(value);
  }
};
template <>
struct To<float> {
  template <class S>
  static float of(S value) {
    return one_nan(float(value));
  }
};
template <>
struct To<Bits16> {
  static Bits16 of(float value) {
    Half half = Half(value);
    Bits16 to;
    memcpy(&to.bits, &half, 2);
    if (value != value) to.bits = 0x7fff;
    return to;
  }
};
template <class D, class S>
void cast(Warp& warp, const Instruction& i, uint32_t on) {
  D* to = warp.reg<D>(i.to[0]);
  S* from = warp.reg<S>(i.from[0]);
  each(on, [=](int k) { to[k] = To<D>::of(value_of(from[k])); });
}
template <int MODE, class T>
T whole(T value) {
  return MODE == FE_TONEAREST    ? std::nearbyint(value)
         : MODE == FE_TOWARDZERO ? std::trunc(value)
         : MODE == FE_DOWNWARD   ? std::floor(value)
                                 : std::ceil(value);
}
template <class D, class S, int MODE>
void to_integer(Warp& warp, const Instruction& i, uint32_t on) {
  D* to = warp.reg<D>(i.to[0]);
  S* from = warp.reg<S>(i.from[0]);
  using Limits = std::numeric_limits<D>;
  constexpr bool IS_WIDE = sizeof(D) == 8 || sizeof(S) == 8;
  each(on, [=](int k) {
    S value = whole<MODE>(from[k]);
    if (value != value) {
      to[k] = IS_WIDE ? D(uint64_t(1) << (8 * sizeof(D) - 1)) : D(0);
    } else {
      to[k] = value >= S(Limits::max()) ? Limits::max() : value <= S(Limits::min()) ? Limits::min() : D(value);
    }
  });
}
template <class T, int MODE>
void to_whole(Warp& warp, const Instruction& i, uint32_t on) {
  T *to = warp.reg<T>(i.to[0]), *from = warp.reg<T>(i.from[0]);
  each(on, [=](int k) { to[k] = one_nan(whole<MODE>(from[k])); });
}

template <class S>
void from_integers(Table& table, const std::string& type, const char* to_32, const char* to_64) {
  table["cvt.rn.f32." + type] = {to_32, cast<float, S>};
  table["cvt.rn.f64." + type] = {to_64, cast<double, S>};
}
template <class D, class S>
void to_integers(Table& table, const std::string& types, const char* widths) {
  table["cvt.rni." + types] = {widths, to_integer<D, S, FE_TONEAREST>};
  table["cvt.rzi." + types] = {widths, to_integer<D, S, FE_TOWARDZERO>};
  table["cvt.rmi." + types] = {widths, to_integer<D, S, FE_DOWNWARD>};
  table["cvt.rpi." + types] = {widths, to_integer<D, S, FE_UPWARD>};
}

template <class T>
void to_wholes(Table& table, const std::string& type, const char* widths) {
  table["cvt.rni." + type + "." + type] = {widths, to_whole<T, FE_TONEAREST>};
  table["cvt.rzi." + type + "." + type] = {widths, to_whole<T, FE_TOWARDZERO>};
  table["cvt.rmi." + type + "." + type] = {widths, to_whole<T, FE_DOWNWARD>};
  table["cvt.rpi." + type + "." + type] = {widths, to_whole<T, FE_UPWARD>};
}

// Takes the low bits of a register, as `to` and `from` say in `number`: bits and a sign each, a byte a type.
template <class D, class S>
void between_integers(Warp& warp, const Instruction& i, uint32_t on) {
  D* to = warp.reg<D>(i.to[0]);
  S* from = warp.reg<S>(i.from[0]);
  int from_rest = 64 - (i.number & 0x7f), to_rest = 64 - (i.number >> 8 & 0x7f);
  bool from_sign = i.number & 0x80, to_sign = i.number >> 8 & 0x80;
  auto extended = [](uint64_t value, int rest, bool has_sign) {
    return has_sign ? uint64_t(int64_t(value << rest) >> rest) : value << rest >> rest;
  };
  each(on, [=](int k) { to[k] = D(extended(extended(from[k], from_rest, from_sign), to_rest, to_sign)); });
}
template <class D>
Step of_source(Width from) {
  return from == Width::half   ? between_integers<D, uint16_t>
         : from == Width::word ? between_integers<D, uint32_t>
                               : between_integers<D, uint64_t>;
}

// The first part is the lowest.
template <class P, class W>
void pack(Warp& warp, const Instruction& i, uint32_t on) {
  each(on, [&](int lane) {
    W whole = 0;
    for (int n = 0; n < i.count; n++)
      whole = static_cast<W>(whole | W(warp.reg<P>(i.from[n])[lane]) << (8 * sizeof(P) * n));
    warp.reg<W>(i.to[0])[lane] = whole;
  });
}
template <class P, class W>
void unpack(Warp& warp, const Instruction& i, uint32_t on) {
  each(on, [&](int lane) {
    W whole = warp.reg<W>(i.from[0])[lane];
    for (int n = 0; n < i.count; n++) {
      // Some parts are wanted by nobody.
      if (i.to[n]) warp.reg<P>(i.to[n])[lane] = static_cast<P>(whole >> (8 * sizeof(P) * n));
    }
  });
}

}  // namespace

Step pack_step(Width part, Width whole) {
  if (part == Width::half) return whole == Width::word ? pack<uint16_t, uint32_t> : pack<uint16_t, uint64_t>;
  return part == Width::word && whole == Width::wide ? pack<uint32_t, uint64_t> : Step();
}
Step unpack_step(Width part, Width whole) {
  if (part == Width::half) return whole == Width::word ? unpack<uint16_t, uint32_t> : unpack<uint16_t, uint64_t>;
  return part == Width::word && whole == Width::wide ? unpack<uint32_t, uint64_t> : Step();
}

Step convert_step(Width to, Width from) {
  return to == Width::half   ? of_source<uint16_t>(from)
         : to == Width::word ? of_source<uint32_t>(from)
                             : of_source<uint64_t>(from);
}

void add_conversions(Table& table) {
  table["cvt.f32.f16"] = {"wh", cast<float, Bits16>};
  table["cvt.rn.f16.f32"] = {"hw", cast<Bits16, float>};
  table["cvt.f64.f32"] = {"dw", cast<double, float>};
  table["cvt.rn.f32.f64"] = {"wd", cast<float, double>};
  from_integers<uint16_t>(table, "u16", "wh", "dh");
  from_integers<int16_t>(table, "s16", "wh", "dh");
  from_integers<uint32_t>(table, "u32", "ww", "dw");
  from_integers<int32_t>(table, "s32", "ww", "dw");
  from_integers<uint64_t>(table, "u64", "wd", "dd");
  from_integers<int64_t>(table, "s64", "wd", "dd");
  to_integers<uint16_t, float>(table, "u16.f32", "hw");
  to_integers<int16_t, float>(table, "s16.f32", "hw");
  to_integers<uint32_t, float>(table, "u32.f32", "ww");
  to_integers<int32_t, float>(table, "s32.f32", "ww");
  to_integers<uint64_t, float>(table, "u64.f32", "dw");
  to_integers<int64_t, float>(table, "s64.f32", "dw");
  to_integers<uint32_t, double>(table, "u32.f64", "wd");
  to_integers<int32_t, double>(table, "s32.f64", "wd");
  to_integers<uint64_t, double>(table, "u64.f64", "dd");
  to_integers<int64_t, double>(table, "s64.f64", "dd");
  to_wholes<float>(table, "f32", "ww");
  to_wholes<double>(table, "f64", "dd");
}

}  // namespace sim::ptx
