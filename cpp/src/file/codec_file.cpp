#include "waterfill/file/codec_file.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "file/sections.hpp"
#include "kernels.hpp"

namespace waterfill {
namespace {

// What training can write, with room: bounds that keep sums within their types.
constexpr double kMaxStep = 1;         // of a logarithmic scale
constexpr double kMaxLogarithm = 1e3;  // of the low end of one
constexpr float kMaxWeight = 1e30f;
constexpr float kMaxCentroid = 1e3f;  // a coordinate, in units of its weight

struct DepthRecord {
  std::uint32_t refine_factor, coarse_groups;
};

struct ParamsRecord {
  std::uint32_t d, p, groups, normalize, alpha_ip, alpha_l2;
  DepthRecord depth_ip, depth_l2;
  double scale_low, scale_step, cell_low, cell_step, constant_norm, pq_multiplier;
};
static_assert(sizeof(ParamsRecord) == 88);

struct CellsRecord {
  std::uint32_t cells, calibration_rows;
  double offset_middle, offset_norm_range, offset_centroid_range, prune_sigma_ip, prune_sigma_l2;
};
static_assert(sizeof(CellsRecord) == 48);

// Followed by `entries` shares for inner product, and as many for L2.
struct ProbesRecord {
  std::uint32_t entries;
  float decay_ip, decay_l2;
};

struct ShapeRecord {
  std::uint32_t width, kind;
};

void append_list_recall(const CodecParams& p, std::vector<Section>& sections) {
  const ListRecall &ip = p.list_recall_ip, &l2 = p.list_recall_l2;
  if (ip.missed.empty()) return;
  sections.push_back({"PROBES",
                      [&ip, &l2](const Emit& emit) {
                        const ProbesRecord r{static_cast<std::uint32_t>(ip.missed.size()), ip.decay,
                                             l2.decay};
                        emit(&r, sizeof r);
                        for (const ListRecall* one : {&ip, &l2}) {
                          emit(one->missed.data(), one->missed.size() * sizeof(float));
                        }
                      },
                      true});
}

}  // namespace

void append_codec(const Codec& codec, bool with_manifest, std::vector<Section>& sections) {
  const CodecParams& p = codec.params();
  sections.push_back(
      record("PARAMS", ParamsRecord{static_cast<std::uint32_t>(codec.d()),
                                    static_cast<std::uint32_t>(codec.transform().p()),
                                    static_cast<std::uint32_t>(codec.groups()),
                                    p.normalize ? 1u : 0u,
                                    p.alpha_ip.quarters,
                                    p.alpha_l2.quarters,
                                    {p.depth_ip.refine_factor, p.depth_ip.coarse_groups},
                                    {p.depth_l2.refine_factor, p.depth_l2.coarse_groups},
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
  Annotations annotations = codec.annotations();
  if (annotations.distortion > 0) {
    sections.push_back(record("MEASURED", annotations.distortion));
  }
  if (p.joint > 0) sections.push_back(record("JOINT", p.joint));
  if (!p.second_bytes.empty()) sections.push_back(section("RESTS", p.second_bytes));
  sections.push_back(section("MEAN", p.mean));
  sections.push_back(section("BASIS", p.basis));
  sections.push_back(section("WEIGHTS", p.weights));
  sections.push_back(section("BOOKS", p.codebooks.books));
  sections.push_back(section("CELLS", p.codebooks.cells));
  if (!p.partition.empty()) {
    sections.push_back(record(
        "CELLSPEC", CellsRecord{static_cast<std::uint32_t>(p.partition.size()), p.calibration_rows,
                                p.offset.middle(), p.offset.norm_range(), p.offset.centroid_range(),
                                p.depth_ip.prune_sigma, p.depth_l2.prune_sigma}));
    sections.push_back(section("CENTROID", p.partition.centroids()));
    if (p.partition.by_direction()) {
      sections.push_back(record("CELLRULE", static_cast<std::uint32_t>(p.partition.rule())));
    }
    append_list_recall(p, sections);
  }
  sections.push_back(section("PLAN", p.plan));
  if (with_manifest && !annotations.manifest.empty()) {
    sections.push_back({"MANIFEST",
                        [text = std::move(annotations.manifest)](const Emit& emit) {
                          emit(text.data(), text.size());
                        },
                        true});
  }
}

namespace {

std::vector<float> finite_array(const Container& file, const char* tag, std::uint64_t count) {
  std::vector<float> values = file.array<float>(tag, count);
  const bool finite =
      std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
  require_valid(finite, std::string("section ") + tag + " has a value that is not finite");
  return values;
}

// Whether bytes are UTF-8 as RFC 3629 defines it: no overlong form, no surrogate, no number beyond
// 0x10ffff.
bool is_utf8(const std::vector<char>& bytes) {
  const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  for (std::size_t i = 0; i < bytes.size();) {
    const std::uint32_t first = at(i);
    if (first < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (length == 0 || first > 0xf4 || length > bytes.size() - i) return false;
    std::uint32_t number = first & (0x7fu >> length);
    for (std::size_t k = 1; k < length; ++k) {
      if ((at(i + k) & 0xc0) != 0x80) return false;
      number = number << 6 | (at(i + k) & 0x3fu);
    }
    constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (number < kLeast[length] || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff)) {
      return false;
    }
    i += length;
  }
  return true;
}

std::string text(const Container& file, const char* tag) {
  const std::vector<char> bytes = file.array<char>(tag, file.section_size(tag));
  require_valid(is_utf8(bytes), std::string("section ") + tag + " is not UTF-8");
  return {bytes.begin(), bytes.end()};
}

// values: of one section, `count` for each weight.
void check_coordinates(const char* tag, const Aligned<float>& values,
                       const std::vector<float>& weights) {
  const std::size_t count = values.size() / weights.size();
  bool valid = true;
  for (std::size_t j = 0; j < weights.size(); ++j) {
    for (std::size_t c = 0; c < count; ++c) {
      valid = valid && std::abs(values[j * count + c]) <= kMaxCentroid * weights[j];
    }
  }
  require_valid(valid, std::string("section ") + tag + " has a value out of range");
}

void check_record(const ParamsRecord& r) {
  require_valid(r.d >= 1 && r.d <= kMaxDimensions && r.p >= 1 && r.p <= 2 * r.d && r.groups >= 1 &&
                    r.groups <= r.p,
                "sizes in section PARAMS are invalid");
  require_valid(r.alpha_ip <= kMaxQuarters && r.alpha_l2 <= kMaxQuarters && r.normalize <= 1,
                "settings in section PARAMS are invalid");
  for (const DepthRecord& depth : {r.depth_ip, r.depth_l2}) {
    require_valid(depth.refine_factor >= 1 && depth.coarse_groups <= r.groups,
                  "search depths in section PARAMS are invalid");
  }
  for (const double value :
       {r.scale_low, r.scale_step, r.cell_low, r.cell_step, r.constant_norm, r.pq_multiplier}) {
    require_valid(std::isfinite(value), "section PARAMS has a value that is not finite");
  }
  for (const double step : {r.scale_step, r.cell_step}) {
    require_valid(step > 0 && step <= kMaxStep, "section PARAMS has a scale step out of range");
  }
  for (const double low : {r.scale_low, r.cell_low}) {
    require_valid(std::abs(low) <= kMaxLogarithm, "section PARAMS has a scale out of range");
  }
  require_valid(r.constant_norm >= 0 && r.pq_multiplier >= 0,
                "section PARAMS has a negative norm or multiplier");
}

void read_list_recall(const Container& file, CodecParams& p) {
  const std::size_t entries = list_recall_entries(p.partition.size());
  const std::size_t numbers = sizeof(ProbesRecord) / sizeof(float);
  const std::vector<float> values = file.array<float>("PROBES", numbers + 2 * entries);
  ProbesRecord r{};
  std::memcpy(&r, values.data(), sizeof r);
  require_valid(r.entries == entries, "section PROBES does not fit the number of cells");
  const auto read = [&](std::size_t first, float decay) {
    const float* own = values.data() + numbers + first;
    ListRecall recall{{own, own + entries}, decay};
    float most = 1;
    for (const float share : recall.missed) {
      require_valid(share >= 0 && share <= most, "section PROBES has a share that rises");
      most = share;
    }
    require_valid(decay >= 0 && decay <= 1, "section PROBES has a decay out of range");
    return recall;
  };
  p.list_recall_ip = read(0, r.decay_ip);
  p.list_recall_l2 = read(entries, r.decay_l2);
}

void read_cells(const Container& file, CodecParams& p) {
  const CellsRecord r = file.array<CellsRecord>("CELLSPEC", 1)[0];
  require_valid(r.cells >= 1 && r.cells <= kMaxCells,
                "section CELLSPEC has an invalid number of cells");
  for (const double value : {r.offset_middle, r.offset_norm_range, r.offset_centroid_range}) {
    require_valid(std::isfinite(value) && value >= 0, "section CELLSPEC has an invalid scale");
  }
  require_valid(r.prune_sigma_ip >= 0 && r.prune_sigma_l2 >= 0,
                "section CELLSPEC has an invalid prune_sigma");
  p.offset = OffsetScale(r.offset_middle, r.offset_norm_range, r.offset_centroid_range);
  p.calibration_rows = r.calibration_rows;
  p.depth_ip.prune_sigma = static_cast<float>(r.prune_sigma_ip);
  p.depth_l2.prune_sigma = static_cast<float>(r.prune_sigma_l2);
  AssignmentRule rule = AssignmentRule::nearest;
  if (file.has("CELLRULE")) {
    rule = static_cast<AssignmentRule>(file.array<std::uint32_t>("CELLRULE", 1)[0]);
    require_valid(rule == AssignmentRule::direction, "section CELLRULE has an unknown rule");
  }
  p.partition = Partition(finite_array(file, "CENTROID", std::uint64_t{r.cells} * p.mean.size()),
                          p.mean, rule);
  if (file.has("PROBES")) read_list_recall(file, p);
}

}  // namespace

std::shared_ptr<Codec> read_codec(const Container& file) {
  const ParamsRecord r = file.array<ParamsRecord>("PARAMS", 1)[0];
  check_record(r);
  CodecParams p;
  Annotations annotations;
  std::uint64_t width = 0;
  for (const ShapeRecord& shape : file.array<ShapeRecord>("SHAPES", r.groups)) {
    require_valid(shape.kind <= 1 && shape.width >= 1 && shape.width <= r.p,
                  "section SHAPES has an invalid group");
    require_valid(shape.kind == 0 || shape.width <= kBinaryDims,
                  "section SHAPES has a binary group of more than 8 dimensions");
    p.shapes.push_back({shape.width, static_cast<GroupKind>(shape.kind)});
    width += shape.width;
  }
  require_valid(width == r.p, "the groups of section SHAPES do not cover the basis");
  if (file.has("MEASURED")) {
    annotations.distortion = file.array<double>("MEASURED", 1)[0];
    require_valid(std::isfinite(annotations.distortion) && annotations.distortion > 0,
                  "section MEASURED has an invalid distortion");
  }
  if (file.has("JOINT")) {
    p.joint = file.array<float>("JOINT", 1)[0];
    require_valid(p.joint > 0 && p.joint <= 100, "section JOINT has an invalid exponent");
  }
  if (file.has("RESTS")) {
    p.second_bytes =
        file.array<SecondByte>("RESTS", file.section_size("RESTS") / sizeof(SecondByte));
  }
  p.mean = finite_array(file, "MEAN", r.d);
  p.basis = finite_array(file, "BASIS", std::uint64_t{r.p} * r.d);
  require_valid(has_unit_rows(p.basis, r.d), "section BASIS has a row whose norm is not 1");
  p.weights = finite_array(file, "WEIGHTS", r.p);
  for (const float weight : p.weights) {
    require_valid(weight > 0 && weight <= kMaxWeight, "section WEIGHTS has a value out of range");
  }
  const auto aligned = [&](const char* name, std::uint64_t size) {
    const std::vector<float> values = finite_array(file, name, size);
    Aligned<float> copy(values.begin(), values.end());
    check_coordinates(name, copy, p.weights);
    return copy;
  };
  p.codebooks.books = aligned("BOOKS", std::uint64_t{r.p} * kCentroids);
  p.codebooks.cells = aligned("CELLS", std::uint64_t{r.p} * kCells);
  p.plan = text(file, "PLAN");
  if (file.has("MANIFEST")) annotations.manifest = text(file, "MANIFEST");
  p.alpha_ip = {r.alpha_ip};
  p.alpha_l2 = {r.alpha_l2};
  p.scale = LogScale(r.scale_low, r.scale_step);
  p.cell_length = LogScale(r.cell_low, r.cell_step);
  p.constant_norm = r.constant_norm;
  p.pq_multiplier = r.pq_multiplier;
  p.normalize = r.normalize == 1;
  p.depth_ip = {r.depth_ip.refine_factor, r.depth_ip.coarse_groups};
  p.depth_l2 = {r.depth_l2.refine_factor, r.depth_l2.coarse_groups};
  if (file.has("CELLSPEC")) read_cells(file, p);
  try {
    return std::make_shared<Codec>(std::move(p), std::move(annotations));
  } catch (const InvalidArgument& error) {
    throw FormatError(std::string("damaged: ") + error.what());
  }
}

std::string codec_to_bytes(const Codec& codec, bool with_manifest) {
  std::vector<Section> sections;
  append_codec(codec, with_manifest, sections);
  return to_bytes(FileKind::codec, sections);
}

std::shared_ptr<Codec> codec_from_bytes(const void* data, std::size_t size) {
  const Container file(over_bytes(data, size), {FileKind::codec});
  std::shared_ptr<Codec> codec = read_codec(file);
  file.require_all_read();
  return codec;
}

}  // namespace waterfill
