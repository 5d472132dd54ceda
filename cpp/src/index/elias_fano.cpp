#include "waterfill/index/elias_fano.hpp"

#include <array>

#include "waterfill/core/types.hpp"

namespace waterfill {
namespace {

// Grows by an eighth: doubling would waste up to half of the memory.
template <class T>
void make_room(std::vector<T>& values, std::size_t size) {
  if (size > values.capacity()) values.reserve(size + size / 8 + 1);
}

// Entry 256 r + b is the position of the one bit of byte b that has r ones below it.
constexpr std::array<std::uint8_t, 8 * 256> select_table() {
  std::array<std::uint8_t, 8 * 256> table{};
  for (std::size_t byte = 0; byte < 256; ++byte) {
    for (std::size_t at = 0, rank = 0; at < 8; ++at) {
      if ((byte >> at & 1) != 0) table[256 * rank++ + byte] = static_cast<std::uint8_t>(at);
    }
  }
  return table;
}

constexpr std::array<std::uint8_t, 8 * 256> kSelectInByte = select_table();

// Byte b of the result is the number of ones in bytes 0 to b.
std::uint64_t ones_up_to_bytes(std::uint64_t bits) {
  constexpr std::uint64_t kPairs = 0x5555555555555555u, kFours = 0x3333333333333333u;
  constexpr std::uint64_t kBytes = 0x0f0f0f0f0f0f0f0fu, kOnes = 0x0101010101010101u;
  bits -= bits >> 1 & kPairs;
  bits = (bits & kFours) + (bits >> 2 & kFours);
  return ((bits + (bits >> 4)) & kBytes) * kOnes;
}

}  // namespace

EliasFano::EliasFano(unsigned low_bytes) : low_bytes_(low_bytes) {
  if (low_bytes == 1 || low_bytes == 2) return;  // no message in advance: it would allocate
  throw InvalidArgument("low_bytes is " + std::to_string(low_bytes) + ", expected 1 or 2");
}

std::size_t EliasFano::bytes() const {
  return low_.capacity() + (bits_.capacity() + samples_.capacity()) * sizeof(std::uint64_t);
}

void EliasFano::push_back(std::uint32_t value) {
  // The position of a one bit is its index plus the high part of its value.
  const std::size_t i = size(), at = i + (value >> 8 * low_bytes_);
  const std::size_t words = at / kWord + 1, samples = i / kSample + 1;
  make_room(bits_, words);
  make_room(samples_, samples);
  make_room(low_, low_.size() + low_bytes_);
  bits_.resize(words, 0);
  bits_[at / kWord] |= std::uint64_t{1} << at % kWord;
  if (i % kSample == 0) samples_.push_back(at);
  low_.push_back(static_cast<std::uint8_t>(value & 255));
  if (low_bytes_ == 2) low_.push_back(static_cast<std::uint8_t>(value >> 8 & 255));
}

std::size_t EliasFanoView::position(std::size_t i) const {
  const std::size_t start = samples_[i / kSample];
  std::size_t word = start / kWord, left = i % kSample;
  if (word >= words_) return 0;  // damaged
  std::uint64_t bits = bits_[word] & (~std::uint64_t{0} << start % kWord);
  std::uint64_t ones = ones_up_to_bytes(bits);
  while (ones >> 56 <= left) {
    if (word + 1 >= words_) return 0;  // damaged
    left -= ones >> 56;
    bits = bits_[++word];
    ones = ones_up_to_bytes(bits);
  }
  // The byte with the bit is the first with more than `left` ones up to it (Vigna 2008). Without
  // branches: they would not be predicted.
  constexpr std::uint64_t kOnes = 0x0101010101010101u, kHighs = 0x8080808080808080u;
  const std::uint64_t reached = ((left * kOnes | kHighs) - ones) & kHighs;  // at most `left` ones
  const auto at = static_cast<std::size_t>(((reached >> 7) * kOnes >> 56) * 8);
  const std::size_t before = (ones << 8) >> at & 255;
  return word * kWord + at + kSelectInByte[256 * (left - before) + (bits >> at & 255)];
}

std::uint32_t EliasFanoView::operator[](std::size_t i) const {
  const std::size_t high = position(i) - i;
  return low_bytes_ == 1 ? value<std::uint8_t>(high, i) : value<std::uint16_t>(high, i);
}

std::size_t EliasFanoView::count_below(std::uint32_t value) const {
  std::size_t low = 0, high = size_;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if ((*this)[middle] < value) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

void EliasFano::truncate(std::size_t size) {
  if (size >= this->size()) return;
  const std::size_t end = size == 0 ? 0 : view().position(size - 1) + 1;  // of the used bits
  low_.resize(size * low_bytes_);
  samples_.resize((size + kSample - 1) / kSample);
  bits_.resize((end + kWord - 1) / kWord);
  if (end % kWord != 0) bits_.back() &= ~(~std::uint64_t{0} << end % kWord);
}

}  // namespace waterfill
