// A part of a code store in memory that somebody else owns: what a mapped file holds of an index.
//
// The arrays are read in place. Whatever their bytes are, reading them is safe if they have the
// sizes given here; a damaged file gives wrong answers, and no access beyond it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "waterfill/index/block_layout.hpp"

namespace waterfill {

struct CodePart {
  struct List {
    std::uint32_t size = 0;
    std::uint32_t label_words = 0;  // of its label sequence
    ByteRange scales, extras;       // of its vectors
  };

  std::size_t size = 0;     // vectors
  std::vector<List> lists;  // whose sizes sum to `size`
  // In the order of slots: blocks, list by list, rows of low nibbles, scale bytes, second bytes.
  const std::uint8_t *high = nullptr, *low = nullptr, *scale = nullptr, *extra = nullptr;
  // With more than one list: the list of each vector by label, in one byte or two, and the labels
  // of each list as an Elias-Fano sequence: low bytes, words and samples, list by list.
  unsigned list_bytes = 1;
  const std::uint8_t* list_of = nullptr;
  unsigned label_bytes = 1;
  const std::uint8_t* label_lows = nullptr;
  const std::uint64_t* label_words = nullptr;
  const std::uint64_t* label_samples = nullptr;

  std::size_t list_of_vector(std::size_t label) const {
    const std::uint8_t* own = list_of + label * list_bytes;
    return list_bytes == 1 ? own[0] : static_cast<std::size_t>(own[0] | own[1] << 8);
  }
};

// Low bytes per label, for a number of lists. From many lists on, the labels of a list lie so far
// apart that two low bytes are smaller.
inline unsigned label_bytes_for(std::size_t lists) {
  constexpr std::size_t kManyLists = 2048;
  return lists > kManyLists ? 2 : 1;
}

}  // namespace waterfill
