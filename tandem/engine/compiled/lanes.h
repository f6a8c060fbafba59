// Sixteen floats at once, of GCC's and Clang's vector types.
#pragma once

#include <cstdint>
#include <cstring>

namespace tandem {

// As many floats as a processor's widest registers hold.
constexpr int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));

inline Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

inline void store(float* to, const Lanes& lanes) { std::memcpy(to, &lanes, sizeof lanes); }

// e to the power of numbers of at most 0, to a relative 2e-7; 0 below what a float can hold.
// The fraction of the power of two by its Taylor series, the whole part into the exponent's bits.
inline Lanes exp_of(Lanes x) {
  typedef int32_t Bits __attribute__((vector_size(kLanes * sizeof(int32_t))));
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to a whole number
  const Lanes none = {};
  const Lanes bounded = x < -87.0f ? none - 87.0f : x;
  const Lanes shifted = bounded * 1.44269504f + kShift, whole = shifted - kShift;
  const Lanes rest = bounded - whole * 0.693145752f - whole * 1.42860677e-6f;
  Lanes series = rest * (1.0f / 720) + (1.0f / 120);
  series = series * rest + (1.0f / 24);
  series = series * rest + (1.0f / 6);
  series = series * rest + 0.5f;
  series = series * rest + 1.0f;
  series = series * rest + 1.0f;
  Bits bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits - 0x4b400000 + 127) << 23;
  Lanes power;
  std::memcpy(&power, &bits, sizeof power);
  return x < -87.0f ? none : series * power;
}

}  // namespace tandem
