// Numbers in a byte string, and random choices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/random.hpp"

namespace waterfill {

using Bytes = std::vector<std::uint8_t>;

// A number less than n; 0 if n is 0.
inline std::size_t below(Random& random, std::size_t n) {
  return n == 0 ? 0 : static_cast<std::size_t>(random.next() % n);
}

template <class T>
T load(const Bytes& bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// Does nothing where the value does not fit.
template <class T>
void store(Bytes& bytes, std::size_t at, const T& value) {
  if (at + sizeof value <= bytes.size()) std::memcpy(bytes.data() + at, &value, sizeof value);
}

}  // namespace waterfill
