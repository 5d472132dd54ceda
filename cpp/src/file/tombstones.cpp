#include "waterfill/file/tombstones.hpp"

#include <bit>

#include "file/sections.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

enum class LabelForm : std::uint32_t { sorted = 0, bitmap = 1 };

struct DeadRecord {
  std::uint64_t segment, vectors, count;
  LabelForm form;
  std::uint32_t reserved;
};
static_assert(sizeof(DeadRecord) == 32);

std::uint64_t bitmap_bytes(std::uint64_t vectors) {
  return vectors / 8 + (vectors % 8 != 0 ? 1 : 0);
}

// The first fault, or null.
const char* fault_of(const Tombstones& tombstones) {
  if (tombstones.segment == 0) return "the segment has the number 0";
  if (tombstones.vectors > kMaxVectors) return "the segment has more vectors than an index holds";
  std::uint64_t least = 0;
  for (const std::uint32_t label : tombstones.labels) {
    if (label < least) return "labels do not ascend";
    if (label >= tombstones.vectors) return "a label is not less than the number of vectors";
    least = std::uint64_t{label} + 1;
  }
  return nullptr;
}

std::vector<std::uint8_t> to_bitmap(const Tombstones& tombstones) {
  std::vector<std::uint8_t> bitmap(bitmap_bytes(tombstones.vectors));
  for (const std::uint32_t label : tombstones.labels) {
    std::uint8_t& byte = bitmap[label / 8];
    byte = static_cast<std::uint8_t>(byte | 1u << label % 8);
  }
  return bitmap;
}

// The labels of set bits. They are counted first, so that memory follows from bits that are set.
std::vector<std::uint32_t> to_labels(const std::vector<std::uint8_t>& bitmap, std::uint64_t count) {
  std::uint64_t set = 0;
  for (const std::uint8_t byte : bitmap) set += static_cast<std::uint64_t>(std::popcount(byte));
  require_valid(set == count, "section LABELS has another number of bits than section DEAD says");
  std::vector<std::uint32_t> labels;
  labels.reserve(count);
  for (std::size_t i = 0; i < bitmap.size(); ++i) {
    for (unsigned bits = bitmap[i]; bits != 0; bits &= bits - 1) {
      labels.push_back(static_cast<std::uint32_t>(8 * i) +
                       static_cast<std::uint32_t>(std::countr_zero(bits)));
    }
  }
  return labels;
}

std::vector<std::uint32_t> read_labels(const Container& file, const DeadRecord& dead) {
  if (dead.form == LabelForm::sorted) return file.array<std::uint32_t>("LABELS", dead.count);
  return to_labels(file.array<std::uint8_t>("LABELS", bitmap_bytes(dead.vectors)), dead.count);
}

}  // namespace

std::string tombstones_to_bytes(const Tombstones& tombstones) {
  if (const char* fault = fault_of(tombstones)) {
    throw InvalidArgument(std::string("tombstones: ") + fault);
  }
  const std::uint64_t count = tombstones.labels.size();
  const bool sorted = count * sizeof(std::uint32_t) <= bitmap_bytes(tombstones.vectors);
  const DeadRecord dead{tombstones.segment, tombstones.vectors, count,
                        sorted ? LabelForm::sorted : LabelForm::bitmap, 0};
  const std::vector<std::uint8_t> bitmap =
      sorted ? std::vector<std::uint8_t>() : to_bitmap(tombstones);
  return to_bytes(FileKind::tombstones,
                  {record("DEAD", dead),
                   sorted ? section("LABELS", tombstones.labels) : section("LABELS", bitmap)});
}

Tombstones tombstones_from_bytes(const void* data, std::size_t size) {
  const Container file(over_bytes(data, size), {FileKind::tombstones});
  const auto dead = file.array<DeadRecord>("DEAD", 1)[0];
  require_valid(dead.form <= LabelForm::bitmap && dead.reserved == 0,
                "section DEAD has an unknown form of labels");
  require_valid(dead.vectors <= kMaxVectors && dead.count <= dead.vectors,
                "section DEAD has more vectors than an index holds or the segment has");
  Tombstones tombstones{dead.segment, dead.vectors, read_labels(file, dead)};
  if (const char* fault = fault_of(tombstones)) {
    throw FormatError(std::string("damaged: tombstones: ") + fault);
  }
  file.require_all_read();
  return tombstones;
}

}  // namespace waterfill
