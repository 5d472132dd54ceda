// The records of index files and segments.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "file/index_content.hpp"
#include "waterfill/file/container.hpp"
#include "waterfill/file/index_file.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

struct IndexRecord {
  std::uint32_t metric, has_extra;
  std::uint64_t size;
};
static_assert(sizeof(IndexRecord) == 16);

struct IvfRecord {
  std::uint32_t nprobe, reserved;
};

struct RefineRecord {
  std::uint32_t kind;
  float k_factor;
};

IndexRecord index_record(const Index& index, std::size_t size);
IndexRecord read_index_record(const Container& file);
RefineRecord read_refine_record(const Container& file);

// Reads all of an index but its vectors: the codec and the settings.
IndexRecord start_index(const Container& file, StoredIndex& stored);

// Requires the sections that follow from others to be what they follow from. Files of versions
// before 1.5 have none.
void require_derived(const Container& file, const IndexContent& content, bool allow_consecutive);

}  // namespace waterfill
