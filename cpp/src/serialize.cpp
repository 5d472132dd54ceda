#include "waterfill/serialize.hpp"

#include <algorithm>
#include <cmath>

#include "kernels.hpp"
#include "waterfill/format.hpp"

namespace waterfill {
namespace {

constexpr std::uint32_t kMaxDims = 1u << 20;

struct DepthRecord {
  std::uint32_t refine_factor, scan_groups;
};

struct ParamsRecord {
  std::uint32_t d, p, groups, normalize, alpha_ip, alpha_l2;
  DepthRecord depth_ip, depth_l2;
  double scale_low, scale_step, cell_low, cell_step, constant_norm, pq_multiplier;
};
static_assert(sizeof(ParamsRecord) == 88);

struct CellsRecord {
  std::uint32_t cells, reserved;
  double offset_middle, offset_spread, offset_reach, reach_ip, reach_l2;
};
static_assert(sizeof(CellsRecord) == 48);

struct ShapeRecord {
  std::uint32_t width, kind;
};

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

template <class Vector>
Section section(const char* tag, const Vector& values) {
  return {tag, [&values](const Emit& emit) {
            emit(values.data(), values.size() * sizeof(typename Vector::value_type));
          }};
}

template <class T>
Section record(const char* tag, const T& value) {
  return {tag, [value](const Emit& emit) { emit(&value, sizeof value); }};
}

void wanted(bool holds, const std::string& what) {
  if (!holds) throw FormatError("damaged: " + what);
}

void append_codec(const Codec& codec, std::vector<Section>& sections) {
  const CodecParams& p = codec.params();
  sections.push_back(
      record("PARAMS", ParamsRecord{static_cast<std::uint32_t>(codec.d()),
                                    static_cast<std::uint32_t>(codec.transform().p()),
                                    static_cast<std::uint32_t>(codec.groups()),
                                    p.normalize ? 1u : 0u,
                                    p.alpha_ip.quarters,
                                    p.alpha_l2.quarters,
                                    {p.depth_ip.refine_factor, p.depth_ip.scan_groups},
                                    {p.depth_l2.refine_factor, p.depth_l2.scan_groups},
                                    p.scale.low(),
                                    p.scale.step(),
                                    p.cell_length.low(),
                                    p.cell_length.step(),
                                    p.constant_norm,
                                    p.pq_multiplier}));
  sections.push_back({"SHAPES", [&p](const Emit& emit) {
                        for (const Shape& shape : p.shapes) {
                          const ShapeRecord r{shape.width, static_cast<std::uint32_t>(shape.kind)};
                          emit(&r, sizeof r);
                        }
                      }});
  if (p.distortion > 0) sections.push_back(record("MEASURED", p.distortion));
  if (p.joint > 0) sections.push_back(record("JOINT", p.joint));
  if (!p.rests.empty()) sections.push_back(section("RESTS", p.rests));
  sections.push_back(section("MEAN", p.mean));
  sections.push_back(section("BASIS", p.basis));
  sections.push_back(section("WEIGHTS", p.weights));
  sections.push_back(section("BOOKS", p.codebooks.books));
  sections.push_back(section("CELLS", p.codebooks.cells));
  if (!p.partition.empty()) {
    sections.push_back(record(
        "CELLSPEC",
        CellsRecord{static_cast<std::uint32_t>(p.partition.size()), 0, p.offset.middle(),
                    p.offset.spread(), p.offset.reach(), p.depth_ip.reach, p.depth_l2.reach}));
    sections.push_back(section("CENTROID", p.partition.centroids()));
  }
  sections.push_back({"PLAN", [&p](const Emit& emit) { emit(p.plan.data(), p.plan.size()); }});
}

std::vector<float> finite_array(const Container& file, const char* tag, std::uint64_t count) {
  std::vector<float> values = file.array<float>(tag, count);
  for (const float value : values) {
    wanted(std::isfinite(value), std::string("section ") + tag + " has a value that is not finite");
  }
  return values;
}

void check_record(const ParamsRecord& r) {
  wanted(
      r.d >= 1 && r.d <= kMaxDims && r.p >= 1 && r.p <= 2 * r.d && r.groups >= 1 && r.groups <= r.p,
      "sizes in section PARAMS are impossible");
  wanted(r.alpha_ip <= kMaxQuarters && r.alpha_l2 <= kMaxQuarters && r.normalize <= 1,
         "settings in section PARAMS are impossible");
  for (const DepthRecord& depth : {r.depth_ip, r.depth_l2}) {
    wanted(depth.refine_factor >= 1 && depth.scan_groups <= r.groups,
           "search depths in section PARAMS are impossible");
  }
  for (const double value :
       {r.scale_low, r.scale_step, r.cell_low, r.cell_step, r.constant_norm, r.pq_multiplier}) {
    wanted(std::isfinite(value), "section PARAMS has a value that is not finite");
  }
  wanted(r.scale_step > 0 && r.cell_step > 0, "section PARAMS has a scale without steps");
}

void read_cells(const Container& file, CodecParams& p) {
  const CellsRecord r = file.array<CellsRecord>("CELLSPEC", 1)[0];
  wanted(r.cells >= 1 && r.cells <= kMaxCells,
         "section CELLSPEC has an impossible number of cells");
  for (const double value : {r.offset_middle, r.offset_spread, r.offset_reach}) {
    wanted(std::isfinite(value) && value >= 0, "section CELLSPEC has an impossible scale");
  }
  wanted(r.reach_ip >= 0 && r.reach_l2 >= 0, "section CELLSPEC has an impossible reach");
  p.offset = OffsetScale(r.offset_middle, r.offset_spread, r.offset_reach);
  p.depth_ip.reach = static_cast<float>(r.reach_ip);
  p.depth_l2.reach = static_cast<float>(r.reach_l2);
  p.partition =
      Partition(finite_array(file, "CENTROID", std::uint64_t{r.cells} * p.mean.size()), p.mean);
}

std::shared_ptr<Codec> read_codec(const Container& file) {
  const ParamsRecord r = file.array<ParamsRecord>("PARAMS", 1)[0];
  check_record(r);
  CodecParams p;
  std::uint64_t width = 0;
  for (const ShapeRecord& shape : file.array<ShapeRecord>("SHAPES", r.groups)) {
    wanted(shape.kind <= 1 && shape.width >= 1 && shape.width <= r.p,
           "section SHAPES has an impossible group");
    wanted(shape.kind == 0 || shape.width <= kBinaryDims, "a binary group is wider than a byte");
    p.shapes.push_back({shape.width, static_cast<GroupKind>(shape.kind)});
    width += shape.width;
  }
  wanted(width == r.p, "the groups of section SHAPES do not cover the basis");
  if (file.has("MEASURED")) {
    p.distortion = file.array<double>("MEASURED", 1)[0];
    wanted(std::isfinite(p.distortion) && p.distortion > 0, "section MEASURED is no distortion");
  }
  if (file.has("JOINT")) {
    p.joint = file.array<float>("JOINT", 1)[0];
    wanted(p.joint > 0 && p.joint <= 100, "section JOINT has an impossible exponent");
  }
  if (file.has("RESTS")) {
    p.rests = file.array<Rest>("RESTS", file.section_size("RESTS") / sizeof(Rest));
  }
  p.mean = finite_array(file, "MEAN", r.d);
  p.basis = finite_array(file, "BASIS", std::uint64_t{r.p} * r.d);
  p.weights = finite_array(file, "WEIGHTS", r.p);
  const auto aligned = [&](const char* name, std::uint64_t size) {
    const std::vector<float> values = finite_array(file, name, size);
    return Aligned<float>(values.begin(), values.end());
  };
  p.codebooks.books = aligned("BOOKS", std::uint64_t{r.p} * kCentroids);
  p.codebooks.cells = aligned("CELLS", std::uint64_t{r.p} * kCells);
  const std::vector<char> plan = file.array<char>("PLAN", file.section_size("PLAN"));
  p.plan.assign(plan.begin(), plan.end());
  p.alpha_ip = {r.alpha_ip};
  p.alpha_l2 = {r.alpha_l2};
  p.scale = LogScale(r.scale_low, r.scale_step);
  p.cell_length = LogScale(r.cell_low, r.cell_step);
  p.constant_norm = r.constant_norm;
  p.pq_multiplier = r.pq_multiplier;
  p.normalize = r.normalize == 1;
  p.depth_ip = {r.depth_ip.refine_factor, r.depth_ip.scan_groups};
  p.depth_l2 = {r.depth_l2.refine_factor, r.depth_l2.scan_groups};
  if (file.has("CELLSPEC")) read_cells(file, p);
  try {
    return std::make_shared<Codec>(std::move(p));
  } catch (const InvalidArgument& error) {
    throw FormatError(std::string("damaged: ") + error.what());
  }
}

// One section from one array of every segment: all of it, or a byte a vector.
enum class Part { whole, byte_a_vector };
template <class Bytes>
Section segments(const char* tag, const CodeStore& store, Bytes Segment::* array, Part part) {
  return {tag, [&store, array, part](const Emit& emit) {
            for (const List& list : store.lists()) {
              for (const Segment& segment : list.segments) {
                emit((segment.*array).data(),
                     part == Part::whole ? (segment.*array).size() : segment.size);
              }
            }
          }};
}

// The list of each vector, by label: one byte, or two where there are more than 256 lists.
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
    wanted(list < codec.lists(), "section LISTOF names a list that is not there");
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
  // SCALE must have n bytes of the file: no memory is asked for that the file could not fill.
  SectionReader scale = file.section("SCALE", n);
  const std::vector<std::uint16_t> lists = read_lists(file, n, codec);
  const std::uint64_t blocks = count_blocks(n, lists, codec.lists());
  SectionReader high = file.section("HIGH", blocks * layout.block_bytes());
  SectionReader low = file.section("LOW", n * layout.low_bytes());
  SectionReader extra = file.section("EXTRA", has_extra ? n : 0);
  const std::vector<std::int64_t> ids =
      file.has("IDS") ? file.array<std::int64_t>("IDS", n) : std::vector<std::int64_t>();
  wanted(std::find(ids.begin(), ids.end(), -1) == ids.end(), "section IDS has an id of -1");
  // One list needs no numbers, whatever the file says.
  index.load(n, codec.lists() > 1 ? lists.data() : nullptr, file.has("IDS") ? ids.data() : nullptr,
             [&](Segment& segment) {
               high.read(segment.high.data(), segment.high.size());
               low.read(segment.low.data(), segment.low.size());
               scale.read(segment.scale.data(), segment.size);
               extra.read(segment.extra.data(), segment.extra.size());
             });
  if (file.has("IDS")) index.keep_ids();  // of no vectors, too
  for (const SectionReader* reader : {&high, &low, &scale, &extra}) reader->finish();
}

}  // namespace

std::string codec_to_bytes(const Codec& codec) {
  std::vector<Section> sections;
  append_codec(codec, sections);
  return to_bytes(FileKind::codec, sections);
}

std::shared_ptr<Codec> codec_from_bytes(const void* data, std::size_t size) {
  return read_codec(Container(over_bytes(data, size), {FileKind::codec}));
}

namespace {

void append_exact(const ExactRows& rows, float k_factor, std::vector<Section>& sections) {
  sections.push_back(
      record("REFINE", RefineRecord{static_cast<std::uint32_t>(rows.kind()), k_factor}));
  sections.push_back({"ROWS", [&rows](const Emit& emit) { rows.visit_segments(emit); }});
}

void read_exact(const Container& file, std::uint64_t n, StoredIndex& stored) {
  if (!file.has("REFINE")) return;
  const RefineRecord r = file.array<RefineRecord>("REFINE", 1)[0];
  wanted(r.kind <= static_cast<std::uint32_t>(RowKind::int8) && std::isfinite(r.k_factor) &&
             r.k_factor >= 1,
         "settings in section REFINE are impossible");
  const auto kind = static_cast<RowKind>(r.kind);
  ExactRows rows(kind, stored.index->codec()->d());
  SectionReader reader = file.section("ROWS", n * row_bytes(kind, rows.d()));
  rows.load(n, [&](std::uint8_t* bytes, std::size_t count) { reader.read(bytes, count); });
  reader.finish();
  wanted(rows.first_nonfinite() == n, "section ROWS has a value that is not finite");
  stored.index->keep_exact(std::move(rows));
  stored.settings.k_factor = r.k_factor;
}

// Hands the sections of an index to `write`, while it cannot change.
template <class Write>
void write_sections(const Index& index, const IndexSettings& settings, Write write) {
  index.visit_store([&](const CodeStore& store, const Ids& ids, const ExactRows* exact) {
    std::vector<Section> sections;
    append_codec(*index.codec(), sections);
    sections.push_back(record("INDEX", IndexRecord{static_cast<std::uint32_t>(index.metric()),
                                                   index.keeps_extra() ? 1u : 0u, store.size()}));
    if (settings.inverted) sections.push_back(record("IVF", IvfRecord{settings.nprobe, 0}));
    if (!settings.quantizer.empty()) {
      sections.push_back({"QUANT", [&](const Emit& emit) {
                            emit(settings.quantizer.data(), settings.quantizer.size());
                          }});
    }
    if (ids.given()) {
      sections.push_back(
          {"IDS", [&](const Emit& emit) { emit(ids.data(), ids.size() * sizeof(std::int64_t)); }});
    }
    if (index.codec()->cell_bytes() > 0) {
      sections.push_back(list_numbers(store, index.codec()->cell_bytes()));
    }
    sections.push_back(segments("HIGH", store, &Segment::high, Part::whole));
    sections.push_back(segments("LOW", store, &Segment::low, Part::whole));
    sections.push_back(segments("SCALE", store, &Segment::scale, Part::byte_a_vector));
    sections.push_back(segments("EXTRA", store, &Segment::extra, Part::whole));
    if (exact != nullptr && !exact->borrowed()) append_exact(*exact, settings.k_factor, sections);
    write(settings.inverted ? FileKind::ivf_index : FileKind::flat_index, sections);
  });
}

StoredIndex read_index(const Container& file) {
  StoredIndex stored;
  const IndexRecord r = file.array<IndexRecord>("INDEX", 1)[0];
  wanted(r.metric <= 2, "section INDEX names an unknown metric");
  try {
    stored.index = std::make_unique<Index>(read_codec(file), static_cast<Metric>(r.metric));
  } catch (const InvalidArgument& error) {
    throw FormatError(std::string("damaged: ") + error.what());
  }
  wanted(stored.index->keeps_extra() == (r.has_extra == 1),
         "section INDEX contradicts the codec's settings");
  wanted(r.size <= kMaxVectors, "section INDEX has more vectors than an index holds");
  if (file.kind() == FileKind::ivf_index) {
    const IvfRecord ivf = file.array<IvfRecord>("IVF", 1)[0];
    wanted(ivf.nprobe >= 1 && !stored.index->codec()->partition().empty(),
           "section IVF has impossible settings");
    stored.settings.inverted = true;
    stored.settings.nprobe = ivf.nprobe;
  }
  if (file.has("QUANT")) {
    const std::vector<char> bytes = file.array<char>("QUANT", file.section_size("QUANT"));
    stored.settings.quantizer.assign(bytes.begin(), bytes.end());
  }
  read_store(file, r.size, r.has_extra == 1, *stored.index);
  read_exact(file, r.size, stored);
  return stored;
}

const std::vector<FileKind> kIndexKinds{FileKind::flat_index, FileKind::ivf_index};

}  // namespace

void write_index(const Index& index, const IndexSettings& settings, const std::string& path) {
  write_sections(index, settings, [&](FileKind kind, const std::vector<Section>& sections) {
    write_file(path, kind, sections);
  });
}

StoredIndex read_index(const std::string& path) {
  return read_index(Container(open_file(path), kIndexKinds));
}

std::string index_to_bytes(const Index& index, const IndexSettings& settings) {
  std::string bytes;
  write_sections(index, settings, [&](FileKind kind, const std::vector<Section>& sections) {
    bytes = to_bytes(kind, sections);
  });
  return bytes;
}

StoredIndex index_from_bytes(const void* data, std::size_t size) {
  return read_index(Container(over_bytes(data, size), kIndexKinds));
}

}  // namespace waterfill
