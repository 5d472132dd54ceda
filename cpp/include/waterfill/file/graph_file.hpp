// Files of graph indexes: a graph as the sections of a container.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "waterfill/file/byte_io.hpp"
#include "waterfill/graph/graph_index.hpp"

namespace waterfill {

// The settings that a file keeps with a graph.
struct GraphSettings {
  std::uint32_t search_effort = 0;        // efSearch
  std::uint32_t construction_effort = 0;  // efConstruction
};

struct StoredGraph {
  std::unique_ptr<GraphIndex> index;
  GraphSettings settings;
};

// Throw std::system_error for errors of the file system and FormatError for invalid contents.
void write_graph(const GraphIndex& index, const GraphSettings& settings, FileHandle file,
                 const std::string& path);
StoredGraph read_graph(const std::string& path);
std::string graph_to_bytes(const GraphIndex& index, const GraphSettings& settings);
StoredGraph graph_from_bytes(const void* data, std::size_t size);

}  // namespace waterfill
