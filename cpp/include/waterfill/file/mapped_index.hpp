// Index files and segments that are used where they lie, in a mapped file.
//
// A segment is a part of an index in a folder: codes, ids and refine rows, without the codec.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "waterfill/file/byte_io.hpp"
#include "waterfill/file/index_file.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

// The first bytes of the fingerprint of a codec.
using CodecMark = std::array<std::uint8_t, 16>;

// Maps an index file of format 1.5 or later. Header, section table and all small sections are
// verified; verify: everything else too, which reads the whole file. Throws as `read_index`, and
// InvalidArgument for files of earlier versions.
StoredIndex map_index(const std::string& path, bool verify);

// Maps a segment for an index, whose codec must have this mark.
IndexPart map_segment(const std::string& path, const Index& index, const CodecMark& mark,
                      bool verify);

// Writes the vectors of an index that are not removed as a segment. own: without those of mapped
// parts. Returns their number. To an open file; path: for messages.
std::size_t write_segment(const Index& index, const CodecMark& mark, bool own, FileHandle file,
                          const std::string& path);

}  // namespace waterfill
