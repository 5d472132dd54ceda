#include "file/index_content.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

#include "file/index_records.hpp"
#include "file/sections.hpp"
#include "kernels.hpp"

namespace waterfill {
namespace {

// Collects small pieces, since each that is emitted is a write to the file.
class Buffer {
 public:
  explicit Buffer(const Emit& emit) : emit_(emit) { bytes_.reserve(kSize); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void add(const void* data, std::size_t size) {
    if (size >= kSize) {
      flush();
      emit_(data, size);
      return;
    }
    if (bytes_.size() + size > kSize) flush();
    const auto* first = static_cast<const std::uint8_t*>(data);
    bytes_.insert(bytes_.end(), first, first + size);
  }
  template <class T>
  void add(const T& value) {
    add(&value, sizeof value);
  }
  void flush() {
    if (!bytes_.empty()) emit_(bytes_.data(), bytes_.size());
    bytes_.clear();
  }

 private:
  static constexpr std::size_t kSize = std::size_t{1} << 20;
  const Emit& emit_;
  std::vector<std::uint8_t> bytes_;
};

}  // namespace

IndexContent::IndexContent(const CodeStore& store, const Ids& ids, const RefineRows* rows,
                           Scope scope)
    : store_(store), ids_(ids), rows_(rows), first_(scope == Scope::own ? store.mapped() : 0) {
  std::uint32_t removed = 0;
  for (std::size_t w = 0; w < words_for(store.size()); ++w) {
    before_.push_back(removed);
    if (w >= store.removed().size()) continue;
    std::uint64_t bits = store.removed()[w];
    if ((w + 1) * kBitsPerWord <= first_) bits = 0;
    if (w == first_ / kBitsPerWord) bits &= ~std::uint64_t{0} << first_ % kBitsPerWord;
    removed += static_cast<std::uint32_t>(std::popcount(bits));
  }
  size_ = store.size() - first_ - removed;
  if (as_stored() || store.lists().size() == 1) return;
  labels_.reserve(store.lists().size());
  for (std::size_t l = 0; l < store.lists().size(); ++l) {
    EliasFano& own = labels_.emplace_back(label_bytes_for(store.lists().size()));
    each_label(l, [&](std::uint32_t label) { own.push_back(renumbered(label)); });
  }
}

// The number of a vector among those that are kept.
std::uint32_t IndexContent::renumbered(std::uint32_t label) const {
  const std::size_t w = label / kBitsPerWord;
  std::uint32_t removed = before_[w];
  if (w < store_.removed().size()) {
    std::uint64_t bits = store_.removed()[w] & ~(~std::uint64_t{0} << label % kBitsPerWord);
    if (w == first_ / kBitsPerWord) bits &= ~std::uint64_t{0} << first_ % kBitsPerWord;
    removed += static_cast<std::uint32_t>(std::popcount(bits));
  }
  return label - static_cast<std::uint32_t>(first_) - removed;
}

// Calls visit(label) for the vectors of a list that are kept.
template <class Visit>
void IndexContent::each_label(std::size_t list, Visit visit) const {
  store_.each_label(list, [&](std::size_t, std::uint32_t label) {
    if (label >= first_ && !store_.is_removed(label)) visit(label);
  });
}

// Calls visit(label) for all vectors that are kept, by label.
template <class Visit>
void IndexContent::each_kept(Visit visit) const {
  for (std::size_t label = first_; label < store_.size(); ++label) {
    if (!store_.is_removed(label)) visit(label);
  }
}

const EliasFano& IndexContent::labels_of(std::size_t list) const {
  return labels_.empty() ? store_.lists()[list].labels : labels_[list];
}

// Calls visit(const Segment&) for the vectors of a list that are kept, in whole blocks but for the
// last.
template <class Visit>
void IndexContent::each_segment(std::size_t list, Visit visit) const {
  const List& own = store_.lists()[list];
  const std::size_t skipped = first_ > 0 ? own.parts.size() : 0;
  bool whole = own.live.empty();
  for (std::size_t s = skipped; s + 1 < own.segments.size(); ++s) {
    whole = whole && own.segments[s].size % kBlock == 0;
  }
  if (whole) {
    for (std::size_t s = skipped; s < own.segments.size(); ++s) visit(own.segments[s]);
    return;
  }
  const Layout& layout = store_.layout();
  std::vector<std::uint8_t> code(layout.groups + 1);
  std::vector<Location> kept;
  const auto flush = [&] {
    if (kept.empty()) return;
    Segment packed;
    layout.resize(packed, kept.size(), store_.with_extra());
    for (std::size_t i = 0; i < kept.size(); ++i) {
      store_.read(kept[i], code.data());
      layout.pack(packed, i, code.data());
      if (store_.with_extra()) packed.extra.own()[i] = kept[i].segment->extra[kept[i].at];
    }
    visit(static_cast<const Segment&>(packed));
    kept.clear();
  };
  constexpr std::size_t kMost = 8192;  // a multiple of a block
  for (std::size_t s = skipped; s < own.segments.size(); ++s) {
    const Segment& segment = own.segments[s];
    for (std::size_t i = 0; i < segment.size; ++i) {
      const bool live =
          own.live.empty() || (own.live[segment.first_block + i / kBlock] >> i % kBlock & 1) != 0;
      if (live) kept.push_back({list, &segment, i});
      if (kept.size() == kMost) flush();
    }
  }
  flush();
}

Section IndexContent::codes(const char* tag, CodeBytes Segment::* bytes) const {
  return {tag, [this, bytes](const Emit& emit) {
            const bool per_vector = bytes == &Segment::scale;  // padded in memory
            Buffer buffer(emit);
            for (std::size_t l = 0; l < store_.lists().size(); ++l) {
              each_segment(l, [&](const Segment& segment) {
                buffer.add((segment.*bytes).data(),
                           per_vector ? segment.size : (segment.*bytes).size());
              });
            }
            buffer.flush();
          }};
}

// The list of each vector by label.
Section IndexContent::list_numbers(unsigned width) const {
  return {"LISTOF", [this, width](const Emit& emit) {
            std::vector<std::uint8_t> numbers(size_ * width);
            for (std::size_t l = 0; l < store_.lists().size(); ++l) {
              each_label(l, [&](std::uint32_t label) {
                std::uint8_t* own = numbers.data() + std::size_t{renumbered(label)} * width;
                for (unsigned b = 0; b < width; ++b) {
                  own[b] = static_cast<std::uint8_t>(l >> 8 * b);
                }
              });
            }
            emit(numbers.data(), numbers.size());
          }};
}

void IndexContent::append_codes(unsigned list_bytes, std::vector<Section>& sections) const {
  if (list_bytes > 0) sections.push_back(list_numbers(list_bytes));
  sections.push_back(codes("HIGH", &Segment::high));
  sections.push_back(codes("LOW", &Segment::low));
  sections.push_back(codes("SCALE", &Segment::scale));
  sections.push_back(codes("EXTRA", &Segment::extra));
}

ListRecord IndexContent::list_record(std::size_t list) const {
  ListRange range;
  each_segment(list, [&](const Segment& segment) {
    range.size += segment.size;
    for (std::size_t i = 0; i < segment.size; ++i) range.scales.include(segment.scale[i]);
    for (std::size_t i = 0; i < segment.extra.size(); ++i) range.extras.include(segment.extra[i]);
  });
  const bool several = store_.lists().size() > 1;
  return {static_cast<std::uint32_t>(range.size),
          static_cast<std::uint32_t>(several ? labels_of(list).bits().size() : 0),
          range.scales.least,
          range.scales.largest,
          range.extras.least,
          range.extras.largest,
          0};
}

template <class Array>
Section IndexContent::labels(const char* tag, Array array) const {
  const auto write = [this, array](const Emit& emit) {
    Buffer buffer(emit);
    for (std::size_t l = 0; l < store_.lists().size(); ++l) {
      const auto& values = array(labels_of(l));
      buffer.add(values.data(), values.size() * sizeof values[0]);
    }
    buffer.flush();
  };
  return {tag, write, true};
}

void IndexContent::append_lists(std::vector<Section>& sections) const {
  sections.push_back({"LISTS",
                      [this](const Emit& emit) {
                        Buffer buffer(emit);
                        for (std::size_t l = 0; l < store_.lists().size(); ++l) {
                          buffer.add(list_record(l));
                        }
                        buffer.flush();
                      },
                      true});
  if (store_.lists().size() == 1) return;
  sections.push_back(labels("LABLOW", [](const EliasFano& own) -> auto& { return own.low(); }));
  sections.push_back(labels("LABBITS", [](const EliasFano& own) -> auto& { return own.bits(); }));
  sections.push_back(
      labels("LABSAMP", [](const EliasFano& own) -> auto& { return own.samples(); }));
}

IdRecord IndexContent::id_record(bool allow_consecutive) const {
  bool consecutive = allow_consecutive, ascending = true, started = false;
  std::int64_t first = 0, last = 0;
  each_kept([&](std::size_t label) {
    const std::int64_t id = ids_[label];
    if (!started) first = id;
    consecutive = consecutive && (!started || (id > last && id - 1 == last));
    ascending = ascending && (!started || id >= last);
    last = id;
    started = true;
  });
  const IdForm form = consecutive ? IdForm::consecutive
                      : ascending ? IdForm::ascending
                                  : IdForm::ordered;
  return {ids_.next(), consecutive ? first : 0, form, 0};
}

void IndexContent::append_ids(bool allow_consecutive, std::vector<Section>& sections) const {
  const IdRecord info = id_record(allow_consecutive);
  if (info.form != IdForm::consecutive) {
    sections.push_back({"IDS", [this](const Emit& emit) {
                          Buffer buffer(emit);
                          each_kept([&](std::size_t label) { buffer.add(ids_[label]); });
                          buffer.flush();
                        }});
  }
  sections.push_back({"IDINFO", [info](const Emit& emit) { emit(&info, sizeof info); }, true});
  if (info.form != IdForm::ordered) return;
  const auto write_order = [this](const Emit& emit) {
    std::vector<std::int64_t> ids;
    ids.reserve(size_);
    each_kept([&](std::size_t label) { ids.push_back(ids_[label]); });
    std::vector<std::uint32_t> order(size_);
    std::iota(order.begin(), order.end(), std::uint32_t{0});
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
      return ids[a] != ids[b] ? ids[a] < ids[b] : a < b;
    });
    emit(order.data(), order.size() * sizeof order[0]);
  };
  sections.push_back({"IDORDER", write_order, true});
}

void IndexContent::append_rows(float k_factor, std::vector<Section>& sections) const {
  if (rows_ == nullptr || rows_->borrowed()) return;
  sections.push_back(
      record("REFINE", RefineRecord{static_cast<std::uint32_t>(rows_->kind()), k_factor}));
  sections.push_back({"ROWS", [this](const Emit& emit) {
                        const std::size_t size = row_bytes(rows_->kind(), rows_->d());
                        Buffer buffer(emit);
                        for (std::size_t label = first_; label < store_.size();) {
                          std::size_t end = label;
                          const std::size_t most = label + rows_->contiguous(label);
                          while (end < most && !store_.is_removed(end)) ++end;
                          if (end > label) buffer.add(rows_->stored(label), (end - label) * size);
                          label = std::max(end, label + (end == label ? 1 : 0));
                        }
                        buffer.flush();
                      }});
}

}  // namespace waterfill
