// Power: `x^y` with the processor's bits. Nothing here is fused, and the one rounding to f32 is the last step.
// Source: src/quant/search/power.rs, which says why, and how exact it is.
#pragma once
#include "port.cuh"

// Of the series of the logarithm and of the exponential.
CONSTANT f64 LOGARITHM[9] = {1.0,        1.0 / 3.0,  1.0 / 5.0,  1.0 / 7.0, 1.0 / 9.0,
                             1.0 / 11.0, 1.0 / 13.0, 1.0 / 15.0, 1.0 / 17.0};
CONSTANT f64 EXPONENTIAL[12] = {1.0,         1.0,          1.0 / 2.0,     1.0 / 6.0,      1.0 / 24.0,      1.0 / 120.0,
                                1.0 / 720.0, 1.0 / 5040.0, 1.0 / 40320.0, 1.0 / 362880.0, 1.0 / 3628800.0, 1.0 / 39916800.0};

// The sum of a series from its last part on.
DEV f64 series(const f64* parts, u32 count, f64 of) {
  f64 sum = 0.0;
#pragma unroll 1
  for (u32 k = count; k > 0; --k) sum = sum * of + parts[k - 1];
  return sum;
}

// Of a base that is not negative.
DEV f32 power(f32 base, f32 exponent) {
  const f64 ln_2 = 0.693147180559945309417232121458, ones = 6755399441055744.0;
  const u64 one = 1023, from_root = (one << 52) - 0x3fe6a09e667f3bcdull;
  if (base == 1.0f || exponent == 0.0f) return 1.0f;
  f64 logarithm = (f64)base;
  // Of 0, of infinity, and of what has none.
  if (base == 0.0f) logarithm = -1.0 / 0.0;
  else if (!(base >= 0.0f)) logarithm = of_bits64(0x7ff8000000000000ull);
  else if (base < of_bits(0x7f800000u)) {
    u64 bits = bits64_of((f64)base), biased = (bits + from_root) >> 52;
    f64 mantissa = of_bits64(bits + (one << 52) - (biased << 52));
    f64 ratio = (mantissa - 1.0) / (mantissa + 1.0);
    logarithm = ((f64)(u32)biased - (f64)one) * ln_2 + 2.0 * ratio * series(LOGARITHM, 9, ratio * ratio);
  }
  f64 value = logarithm * (f64)exponent;
  value = value > 200.0 ? 200.0 : value;
  value = value < -200.0 ? -200.0 : value;
  f64 whole = value * (1.0 / ln_2) + ones, rest = value - (whole - ones) * ln_2;
  return (f32)(series(EXPONENTIAL, 12, rest) * of_bits64((bits64_of(whole) + one) << 52));
}
