#include "waterfill/file/index_file.hpp"

#include <algorithm>
#include <cmath>

#include "file/sections.hpp"
#include "kernels.hpp"

namespace waterfill {
namespace {

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

// A section from one array of every segment: all of it, or one byte per vector.
enum class Part { all, byte_per_vector };
template <class Bytes>
Section segments(const char* tag, const CodeStore& store, Bytes Segment::* array, Part part) {
  return {tag, [&store, array, part](const Emit& emit) {
            for (const List& list : store.lists()) {
              for (const Segment& segment : list.segments) {
                emit((segment.*array).data(),
                     part == Part::all ? (segment.*array).size() : segment.size);
              }
            }
          }};
}

// The list of each vector by label: one byte, or two for more than 256 lists.
Section list_numbers(const CodeStore& store, std::size_t width) {
  return {"LISTOF", [&store, width](const Emit& emit) {
            std::vector<std::uint8_t> numbers(store.size() * width);
            for (std::size_t l = 0; l < store.lists().size(); ++l) {
              for (std::size_t i = 0; i < store.lists()[l].size; ++i) {
                std::uint8_t* own = numbers.data() + store.label(l, i) * width;
                for (std::size_t b = 0; b < width; ++b) {
                  own[b] = static_cast<std::uint8_t>(l >> (8 * b));
                }
              }
            }
            emit(numbers.data(), numbers.size());
          }};
}

std::vector<std::uint16_t> read_lists(const Container& file, std::uint64_t n, const Codec& codec) {
  if (codec.cell_bytes() == 0) return {};
  SectionReader reader = file.section("LISTOF", n * codec.cell_bytes());
  std::vector<std::uint8_t> bytes(n * codec.cell_bytes());
  reader.read(bytes.data(), bytes.size());
  reader.finish();
  std::vector<std::uint16_t> lists(n);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::size_t shift = 8 * (i % codec.cell_bytes());
    std::uint16_t& list = lists[i / codec.cell_bytes()];
    list = static_cast<std::uint16_t>(list | bytes[i] << shift);
  }
  for (const std::uint16_t list : lists) {
    require_valid(list < codec.lists(), "section LISTOF names a list that does not exist");
  }
  return lists;
}

std::uint64_t count_blocks(std::uint64_t n, const std::vector<std::uint16_t>& lists,
                           std::size_t count) {
  std::vector<std::uint64_t> sizes(count, 0);
  if (lists.empty()) sizes[0] = n;
  for (const std::uint16_t list : lists) ++sizes[list];
  std::uint64_t blocks = 0;
  for (const std::uint64_t size : sizes) blocks += size / kBlock + (size % kBlock != 0 ? 1 : 0);
  return blocks;
}

void read_store(const Container& file, std::uint64_t n, bool has_extra, Index& index) {
  const Codec& codec = *index.codec();
  const Layout layout(codec.groups());
  // SCALE must have n bytes, so no more memory is allocated than the file can fill.
  SectionReader scale = file.section("SCALE", n);
  const std::vector<std::uint16_t> lists = read_lists(file, n, codec);
  const std::uint64_t blocks = count_blocks(n, lists, codec.lists());
  SectionReader high = file.section("HIGH", blocks * layout.block_bytes());
  SectionReader low = file.section("LOW", n * layout.low_bytes());
  SectionReader extra = file.section("EXTRA", has_extra ? n : 0);
  const std::vector<std::int64_t> ids =
      file.has("IDS") ? file.array<std::int64_t>("IDS", n) : std::vector<std::int64_t>();
  require_valid(std::find(ids.begin(), ids.end(), -1) == ids.end(), "section IDS has an id of -1");
  // A single list needs no list numbers.
  index.load(n, codec.lists() > 1 ? lists.data() : nullptr, file.has("IDS") ? ids.data() : nullptr,
             [&](Segment& segment) {
               high.read(segment.high.data(), segment.high.size());
               low.read(segment.low.data(), segment.low.size());
               scale.read(segment.scale.data(), segment.size);
               extra.read(segment.extra.data(), segment.extra.size());
               require_valid(layout.padding_is_zero(segment),
                             "sections HIGH and LOW have padding that is not zero");
             });
  if (file.has("IDS")) index.keep_ids();  // also without vectors
  for (const SectionReader* reader : {&high, &low, &scale, &extra}) reader->finish();
}

void append_refine_rows(const RefineRows& rows, float k_factor, std::vector<Section>& sections) {
  sections.push_back(
      record("REFINE", RefineRecord{static_cast<std::uint32_t>(rows.kind()), k_factor}));
  sections.push_back({"ROWS", [&rows](const Emit& emit) { rows.visit_segments(emit); }});
}

void read_refine_rows(const Container& file, std::uint64_t n, StoredIndex& stored) {
  if (!file.has("REFINE")) return;
  const RefineRecord r = file.array<RefineRecord>("REFINE", 1)[0];
  require_valid(r.kind <= static_cast<std::uint32_t>(RowKind::int8) && std::isfinite(r.k_factor) &&
                    r.k_factor >= 1,
                "settings in section REFINE are invalid");
  const auto kind = static_cast<RowKind>(r.kind);
  RefineRows rows(kind, stored.index->codec()->d());
  SectionReader reader = file.section("ROWS", n * row_bytes(kind, rows.d()));
  rows.load(n, [&](std::uint8_t* bytes, std::size_t count) { reader.read(bytes, count); });
  reader.finish();
  require_valid(rows.first_nonfinite() == n, "section ROWS has a value that is not finite");
  stored.index->keep_refine_rows(std::move(rows));
  stored.settings.k_factor = r.k_factor;
}

// Passes the sections of an index to `write`, under the lock of the index.
template <class Write>
void write_sections(const Index& index, const IndexSettings& settings, Write write) {
  index.visit_store([&](const CodeStore& store, const Ids& ids, const RefineRows* rows) {
    std::vector<Section> sections;
    append_codec(*index.codec(), true, sections);
    sections.push_back(record("INDEX", IndexRecord{static_cast<std::uint32_t>(index.metric()),
                                                   index.keeps_extra() ? 1u : 0u, store.size()}));
    if (settings.inverted) sections.push_back(record("IVF", IvfRecord{settings.nprobe, 0}));
    if (!settings.quantizer.empty()) {
      sections.push_back({"QUANT", [&](const Emit& emit) {
                            emit(settings.quantizer.data(), settings.quantizer.size());
                          }});
    }
    if (ids.is_explicit()) {
      sections.push_back(
          {"IDS", [&](const Emit& emit) { emit(ids.data(), ids.size() * sizeof(std::int64_t)); }});
    }
    if (index.codec()->cell_bytes() > 0) {
      sections.push_back(list_numbers(store, index.codec()->cell_bytes()));
    }
    sections.push_back(segments("HIGH", store, &Segment::high, Part::all));
    sections.push_back(segments("LOW", store, &Segment::low, Part::all));
    sections.push_back(segments("SCALE", store, &Segment::scale, Part::byte_per_vector));
    sections.push_back(segments("EXTRA", store, &Segment::extra, Part::all));
    if (rows != nullptr && !rows->borrowed()) {
      append_refine_rows(*rows, settings.k_factor, sections);
    }
    write(settings.inverted ? FileKind::ivf_index : FileKind::flat_index, sections);
  });
}

StoredIndex read_index(const Container& file) {
  StoredIndex stored;
  const IndexRecord r = file.array<IndexRecord>("INDEX", 1)[0];
  require_valid(r.metric <= 2 && r.has_extra <= 1,
                "section INDEX names an unknown metric or setting");
  try {
    stored.index = std::make_unique<Index>(read_codec(file), static_cast<Metric>(r.metric));
  } catch (const InvalidArgument& error) {
    throw FormatError(std::string("damaged: ") + error.what());
  }
  require_valid(stored.index->keeps_extra() == (r.has_extra == 1),
                "section INDEX contradicts the settings of the codec");
  require_valid(r.size <= kMaxVectors, "section INDEX has more vectors than an index holds");
  if (file.kind() == FileKind::ivf_index) {
    const IvfRecord ivf = file.array<IvfRecord>("IVF", 1)[0];
    require_valid(
        ivf.nprobe >= 1 && ivf.reserved == 0 && !stored.index->codec()->partition().empty(),
        "section IVF has invalid settings");
    stored.settings.inverted = true;
    stored.settings.nprobe = ivf.nprobe;
  }
  if (file.has("QUANT")) {
    const std::vector<char> bytes = file.array<char>("QUANT", file.section_size("QUANT"));
    stored.settings.quantizer.assign(bytes.begin(), bytes.end());
  }
  read_store(file, r.size, r.has_extra == 1, *stored.index);
  read_refine_rows(file, r.size, stored);
  file.require_all_read();
  return stored;
}

std::vector<FileKind> index_kinds() {
  return {FileKind::flat_index, FileKind::ivf_index};
}

}  // namespace

void write_index(const Index& index, const IndexSettings& settings, int fd,
                 const std::string& path) {
  write_sections(index, settings, [&](FileKind kind, const std::vector<Section>& sections) {
    write_file(fd, path, kind, sections);
  });
}

StoredIndex read_index(const std::string& path) {
  return read_index(Container(open_file(path), index_kinds()));
}

std::string index_to_bytes(const Index& index, const IndexSettings& settings) {
  std::string bytes;
  write_sections(index, settings, [&](FileKind kind, const std::vector<Section>& sections) {
    bytes = to_bytes(kind, sections);
  });
  return bytes;
}

StoredIndex index_from_bytes(const void* data, std::size_t size) {
  return read_index(Container(over_bytes(data, size), index_kinds()));
}

}  // namespace waterfill
