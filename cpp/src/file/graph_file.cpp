#include "waterfill/file/graph_file.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "file/sections.hpp"

namespace waterfill {
namespace {

struct GraphRecord {
  std::uint32_t metric, d, links, search_effort, construction_effort, has_ids;
  std::uint64_t size;
};
static_assert(sizeof(GraphRecord) == 32);

struct NextId {
  std::int64_t next;
};

// Passes the sections of a graph to `write`, under the lock of the index.
template <class Write>
void write_sections(const GraphIndex& index, const GraphSettings& settings, Write write) {
  index.visit([&](const Graph& graph, const Ids& ids) {
    const GraphRows& rows = graph.rows();
    const std::size_t n = graph.size();
    const GraphRecord record_of_graph{static_cast<std::uint32_t>(index.metric()),
                                      static_cast<std::uint32_t>(rows.d()),
                                      static_cast<std::uint32_t>(graph.links()),
                                      settings.search_effort,
                                      settings.construction_effort,
                                      ids.is_explicit() ? 1u : 0u,
                                      n};
    std::vector<Section> sections;
    sections.push_back(record("GRAPH", record_of_graph));
    sections.push_back(section("MEAN", rows.space().mean()));
    sections.push_back(section("BASIS", rows.space().basis()));
    sections.push_back(section("STEPS", rows.space().steps()));
    sections.push_back(
        {"FRONTS", [&, n](const Emit& emit) { emit(rows.lines(), n * GraphRows::kLineBytes); }});
    sections.push_back(
        {"REMAINS", [&, n](const Emit& emit) { emit(rows.rests(), n * rows.rest_bytes()); }});
    sections.push_back(section("LINKS", graph.link_array()));
    std::vector<std::int64_t> values;
    if (ids.is_explicit()) {
      values.reserve(n);
      for (std::size_t i = 0; i < n; ++i) values.push_back(ids[i]);
      sections.push_back(section("IDS", values));
      sections.push_back(record("NEXTID", NextId{ids.next()}));
    }
    write(sections);
  });
}

StoredGraph read_graph(const Container& file) {
  const GraphRecord r = file.array<GraphRecord>("GRAPH", 1)[0];
  require_valid(r.metric <= 2 && r.has_ids <= 1, "section GRAPH has an unknown metric or setting");
  require_valid(r.d >= 1 && r.d <= kMaxDimensions && r.links >= 2 && r.links <= kMostLinks,
                "section GRAPH has invalid dimensions or links");
  require_valid(r.search_effort >= 1 && r.construction_effort >= 1,
                "section GRAPH has invalid settings");
  require_valid(r.size <= kMostGraphRows, "section GRAPH has more vectors than an index holds");
  const std::uint64_t d = r.d, n = r.size;
  StoredGraph stored;
  stored.settings = {r.search_effort, r.construction_effort};
  const auto metric = static_cast<Metric>(r.metric);
  // Sections must have the sizes that the record says, so no more memory is allocated than the file
  // can fill.
  SectionReader link_reader = file.section("LINKS", n * r.links * sizeof(std::uint32_t));
  Aligned<std::uint32_t> links(n * r.links);
  link_reader.read(links.data(), links.size() * sizeof(std::uint32_t));
  link_reader.finish();
  std::vector<std::int64_t> ids;
  if (r.has_ids == 1) ids = file.array<std::int64_t>("IDS", n);
  require_valid(std::find(ids.begin(), ids.end(), -1) == ids.end(), "section IDS has an id of -1");
  SectionReader fronts = file.section("FRONTS", n * GraphRows::kLineBytes);
  SectionReader rests = file.section("REMAINS", n * GraphRows::rest_bytes(d));
  try {
    GraphSpace space(file.array<float>("MEAN", d), file.array<float>("BASIS", d * d),
                     file.array<float>("STEPS", d));
    stored.index = std::make_unique<GraphIndex>(std::move(space), metric, r.links);
    stored.index->load(n, r.has_ids == 1 ? ids.data() : nullptr, std::move(links),
                       [&](GraphRows& rows) {
                         fronts.read(rows.own_lines(), n * GraphRows::kLineBytes);
                         rests.read(rows.own_rests(), n * rows.rest_bytes());
                         fronts.finish();
                         rests.finish();
                       });
  } catch (const InvalidArgument& error) {
    throw FormatError(std::string("damaged: ") + error.what());
  }
  if (r.has_ids == 1) {
    stored.index->keep_ids();  // also without vectors
    const std::int64_t next = file.array<NextId>("NEXTID", 1)[0].next;
    stored.index->visit([&](const Graph&, const Ids& own) {
      require_valid(next >= own.next(), "section NEXTID has the id of a vector");
    });
    stored.index->raise_next_id(next);
  }
  file.require_all_read();
  return stored;
}

}  // namespace

void write_graph(const GraphIndex& index, const GraphSettings& settings, FileHandle file,
                 const std::string& path) {
  write_sections(index, settings, [&](const std::vector<Section>& sections) {
    write_file(file, path, FileKind::graph_index, sections);
  });
}

StoredGraph read_graph(const std::string& path) {
  return read_graph(Container(open_file(path), {FileKind::graph_index}));
}

std::string graph_to_bytes(const GraphIndex& index, const GraphSettings& settings) {
  std::string bytes;
  const std::size_t size = index.bytes();
  write_sections(index, settings, [&](const std::vector<Section>& sections) {
    bytes = to_bytes(FileKind::graph_index, sections, size + size / 64);
  });
  return bytes;
}

StoredGraph graph_from_bytes(const void* data, std::size_t size) {
  return read_graph(Container(over_bytes(data, size), {FileKind::graph_index}));
}

}  // namespace waterfill
