#include "waterfill/file/index_file.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "file/index_content.hpp"
#include "file/index_records.hpp"
#include "file/sections.hpp"
#include "kernels.hpp"
#include "waterfill/file/mapped_file.hpp"

namespace waterfill {
namespace {

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
               high.read(segment.high.own(), segment.high.size());
               low.read(segment.low.own(), segment.low.size());
               scale.read(segment.scale.own(), segment.size);
               extra.read(segment.extra.own(), segment.extra.size());
               require_valid(layout.padding_is_zero(segment),
                             "sections HIGH and LOW have padding that is not zero");
             });
  if (file.has("IDS")) index.keep_ids();  // also without vectors
  if (file.has("IDS") && file.has("LISTS")) {
    index.raise_next_id(file.array<IdRecord>("IDINFO", 1)[0].next);
  }
  for (const SectionReader* reader : {&high, &low, &scale, &extra}) reader->finish();
}

// Where refine rows are read from.
struct RowSource {
  std::shared_ptr<const void> map;  // of the container, to use them where they lie; else null
  bool verify = true;
};

void read_refine_rows(const Container& file, std::uint64_t n, const RowSource& source,
                      StoredIndex& stored) {
  if (!file.has("REFINE")) return;
  const RefineRecord r = read_refine_record(file);
  const auto kind = static_cast<RowKind>(r.kind);
  RefineRows rows(kind, stored.index->codec()->d());
  const std::uint64_t size = n * row_bytes(kind, rows.d());
  if (source.map != nullptr) {
    rows.attach(file.in_place("ROWS", size, source.verify), n);
    stored.index->keep_memory(source.map);
  } else {
    SectionReader reader = file.section("ROWS", size);
    rows.load(n, [&](std::uint8_t* bytes, std::size_t count) { reader.read(bytes, count); });
    reader.finish();
  }
  require_valid(!source.verify || rows.first_nonfinite() == n,
                "section ROWS has a value that is not finite");
  stored.index->keep_refine_rows(std::move(rows));
  stored.settings.k_factor = r.k_factor;
}

// Passes the sections of an index to `write`, under the lock of the index.
template <class Write>
void write_sections(const Index& index, const IndexSettings& settings, Write write) {
  index.visit_store([&](const CodeStore& store, const Ids& ids, const RefineRows* rows) {
    const IndexContent content(store, ids, rows, IndexContent::Scope::all);
    std::vector<Section> sections;
    append_codec(*index.codec(), true, sections);
    sections.push_back(record("INDEX", index_record(index, content.size())));
    if (settings.inverted) sections.push_back(record("IVF", IvfRecord{settings.nprobe, 0}));
    append_target_recall(settings.target_recall, sections);
    if (!settings.quantizer.empty()) {
      sections.push_back({"QUANT", [&](const Emit& emit) {
                            emit(settings.quantizer.data(), settings.quantizer.size());
                          }});
    }
    // Where vectors are only marked as removed, the others would be renumbered without ids.
    if (ids.is_explicit() || content.size() != store.size()) content.append_ids(false, sections);
    content.append_codes(static_cast<unsigned>(index.codec()->cell_bytes()), sections);
    content.append_lists(sections);
    content.append_rows(settings.k_factor, sections);
    write(settings.inverted ? FileKind::ivf_index : FileKind::flat_index, sections);
  });
}

StoredIndex read_index(const Container& file, const RowSource& rows) {
  StoredIndex stored;
  const IndexRecord r = start_index(file, stored);
  read_store(file, r.size, r.has_extra == 1, *stored.index);
  stored.index->visit_store([&](const CodeStore& store, const Ids& ids, const RefineRows*) {
    require_derived(file, IndexContent(store, ids, nullptr, IndexContent::Scope::all), false);
  });
  read_refine_rows(file, r.size, rows, stored);
  file.require_all_read();
  return stored;
}

std::vector<FileKind> index_kinds() {
  return {FileKind::flat_index, FileKind::ivf_index};
}

}  // namespace

IndexRecord index_record(const Index& index, std::size_t size) {
  return {static_cast<std::uint32_t>(index.metric()), index.keeps_extra() ? 1u : 0u, size};
}

IndexRecord read_index_record(const Container& file) {
  const IndexRecord r = file.array<IndexRecord>("INDEX", 1)[0];
  require_valid(r.metric <= 2 && r.has_extra <= 1,
                "section INDEX names an unknown metric or setting");
  require_valid(r.size <= kMaxVectors, "section INDEX has more vectors than an index holds");
  return r;
}

RefineRecord read_refine_record(const Container& file) {
  const RefineRecord r = file.array<RefineRecord>("REFINE", 1)[0];
  require_valid(r.kind <= static_cast<std::uint32_t>(RowKind::int8) && std::isfinite(r.k_factor) &&
                    r.k_factor >= 1,
                "settings in section REFINE are invalid");
  return r;
}

void require_derived(const Container& file, const IndexContent& content, bool allow_consecutive) {
  if (!file.has("LISTS")) return;
  std::vector<Section> sections;
  content.append_lists(sections);
  if (allow_consecutive || file.has("IDS")) content.append_ids(allow_consecutive, sections);
  for (const Section& section : sections) {
    if (!section.optional) continue;
    SectionReader reader = file.section(section.tag, file.section_size(section.tag));
    std::vector<std::uint8_t> bytes;
    section.write([&](const void* data, std::size_t size) {
      require_valid(size <= reader.left(), "section " + section.tag + " ends early");
      bytes.resize(size);
      reader.read(bytes.data(), size);
      require_valid(size == 0 || std::memcmp(bytes.data(), data, size) == 0,
                    "section " + section.tag + " contradicts the codes or the ids");
    });
    reader.finish();
  }
}

IndexRecord start_index(const Container& file, StoredIndex& stored) {
  const IndexRecord r = read_index_record(file);
  try {
    stored.index = std::make_unique<Index>(read_codec(file), static_cast<Metric>(r.metric));
  } catch (const InvalidArgument& error) {
    throw FormatError(std::string("damaged: ") + error.what());
  }
  require_valid(stored.index->keeps_extra() == (r.has_extra == 1),
                "section INDEX contradicts the settings of the codec");
  if (file.kind() == FileKind::ivf_index) {
    const IvfRecord ivf = file.array<IvfRecord>("IVF", 1)[0];
    require_valid(
        ivf.nprobe >= 1 && ivf.reserved == 0 && !stored.index->codec()->partition().empty(),
        "section IVF has invalid settings");
    stored.settings.inverted = true;
    stored.settings.nprobe = ivf.nprobe;
    stored.settings.target_recall = read_target_recall(file);
    require_valid(is_target_recall(stored.settings.target_recall.value_or(1)),
                  "section TARGET is not above 0 and at most 1");
  }
  if (file.has("QUANT")) {
    const std::vector<char> bytes = file.array<char>("QUANT", file.section_size("QUANT"));
    stored.settings.quantizer.assign(bytes.begin(), bytes.end());
  }
  return r;
}

void write_index(const Index& index, const IndexSettings& settings, FileHandle file,
                 const std::string& path) {
  write_sections(index, settings, [&](FileKind kind, const std::vector<Section>& sections) {
    write_file(file, path, kind, sections);
  });
}

StoredIndex read_index(const std::string& path) {
  return read_index(Container(open_file(path), index_kinds()), {});
}

StoredIndex read_codes_and_map_rows(const std::string& path, bool verify) {
  const auto map = std::make_shared<const MappedFile>(path);
  return read_index(Container(over_bytes(map->data(), map->size()), index_kinds()), {map, verify});
}

std::string index_to_bytes(const Index& index, const IndexSettings& settings) {
  std::string bytes;
  const std::size_t size = index.bytes();  // before the lock of the index, which it takes too
  write_sections(index, settings, [&](FileKind kind, const std::vector<Section>& sections) {
    bytes = to_bytes(kind, sections, size + size / 64);
  });
  return bytes;
}

StoredIndex index_from_bytes(const void* data, std::size_t size) {
  return read_index(Container(over_bytes(data, size), index_kinds()), {});
}

}  // namespace waterfill
