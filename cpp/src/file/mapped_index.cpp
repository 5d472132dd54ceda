#include "waterfill/file/mapped_index.hpp"

#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "file/index_content.hpp"
#include "file/index_records.hpp"
#include "file/sections.hpp"
#include "kernels.hpp"
#include "waterfill/file/mapped_file.hpp"

namespace waterfill {
namespace {

constexpr std::int64_t kLargestId = std::numeric_limits<std::int64_t>::max();

struct SegmentRecord {
  CodecMark mark;
};
static_assert(sizeof(SegmentRecord) == 16);

// The sections of a mapped file, in place.
class PartReader {
 public:
  PartReader(const Container& file, const Index& index, std::size_t size, bool verify)
      : file_(file), codec_(*index.codec()), index_(index), size_(size), verify_(verify) {}

  IndexPart read(bool consecutive_ids) const {
    IndexPart part;
    part.codes = codes();
    part.ids = ids(consecutive_ids);
    if (index_.refine_row_kind().has_value()) {
      const std::size_t row = row_bytes(*index_.refine_row_kind(), codec_.d());
      part.rows = bytes("ROWS", size_ * row);
    }
    return part;
  }

 private:
  const std::uint8_t* bytes(const char* tag, std::uint64_t size) const {
    return file_.in_place(tag, size, verify_);
  }
  template <class T>
  const T* array(const char* tag, std::uint64_t count) const {
    return reinterpret_cast<const T*>(bytes(tag, count * sizeof(T)));  // aligned to 64 bytes
  }

  // Searches rely on ranges that are not empty.
  bool is_valid(const ListRecord& r) const {
    const bool filled = r.size > 0, labeled = filled && codec_.lists() > 1;
    const auto is_range = [](bool used, std::uint8_t least, std::uint8_t largest) {
      return used ? least <= largest : least == ByteRange().least && largest == ByteRange().largest;
    };
    return r.reserved == 0 && (r.label_words > 0) == labeled &&
           is_range(filled, r.scale_least, r.scale_largest) &&
           is_range(filled && index_.keeps_extra(), r.extra_least, r.extra_largest);
  }

  CodePart codes() const {
    const Layout layout(codec_.groups());
    CodePart part;
    part.size = size_;
    std::uint64_t sum = 0, blocks = 0, words = 0, samples = 0;
    for (const ListRecord& r : file_.array<ListRecord>("LISTS", codec_.lists())) {
      require_valid(is_valid(r), "section LISTS has an invalid record");
      part.lists.push_back({r.size,
                            r.label_words,
                            {r.scale_least, r.scale_largest},
                            {r.extra_least, r.extra_largest}});
      sum += r.size;
      blocks += blocks_for(r.size);
      words += r.label_words;
      samples += (r.size + EliasFanoView::kSample - 1) / EliasFanoView::kSample;
    }
    require_valid(sum == size_, "section LISTS contradicts section INDEX");
    part.scale = bytes("SCALE", size_);
    part.high = bytes("HIGH", blocks * layout.block_bytes());
    part.low = bytes("LOW", size_ * layout.low_bytes());
    part.extra = bytes("EXTRA", index_.keeps_extra() ? size_ : 0);
    part.list_bytes = static_cast<unsigned>(codec_.cell_bytes());
    if (part.list_bytes > 0) part.list_of = bytes("LISTOF", size_ * part.list_bytes);
    part.label_bytes = label_bytes_for(codec_.lists());
    if (codec_.lists() > 1) {
      part.label_lows = bytes("LABLOW", size_ * part.label_bytes);
      part.label_words = array<std::uint64_t>("LABBITS", words);
      part.label_samples = array<std::uint64_t>("LABSAMP", samples);
    }
    return part;
  }

  // consecutive: whether ids without a section of their own are those of section IDINFO.
  IdPart ids(bool consecutive) const {
    IdPart part;
    part.size = size_;
    part.next = static_cast<std::int64_t>(size_);
    if (!consecutive && !file_.has("IDS")) return part;
    const IdRecord info = file_.array<IdRecord>("IDINFO", 1)[0];
    const bool own = info.form != IdForm::consecutive;
    require_valid(info.form <= IdForm::ordered && info.reserved == 0 &&
                      (own ? info.first == 0 : consecutive) && own == file_.has("IDS"),
                  "section IDINFO has invalid settings");
    part.next = info.next;
    part.first = info.first;
    std::int64_t last = info.first;
    require_valid(own || size_ == 0 || !__builtin_add_overflow(info.first, size_ - 1, &last),
                  "section IDINFO has ids beyond int64");
    require_valid(own || size_ == 0 || info.first > -1 || last < -1,
                  "section IDINFO has an id of -1");
    if (own) part.values = array<std::int64_t>("IDS", size_);
    if (info.form == IdForm::ordered) part.order = array<std::uint32_t>("IDORDER", size_);
    return part;
  }

  const Container& file_;
  const Codec& codec_;
  const Index& index_;
  std::size_t size_;
  bool verify_;
};

// Requires each label to be where section LISTOF says, once.
void require_labels(const CodePart& part, const CodeStore& store) {
  if (store.lists().size() == 1) {
    for (std::size_t i = 0; part.list_of != nullptr && i < part.size; ++i) {
      require_valid(part.list_of_vector(i) == 0, "section LISTOF names a list that does not exist");
    }
    return;
  }
  for (std::size_t l = 0; l < store.lists().size(); ++l) {
    std::int64_t last = -1;
    std::size_t count = 0;
    store.each_label(l, [&](std::size_t, std::uint32_t label) {
      require_valid(std::int64_t{label} > last && part.list_of_vector(label) == l,
                    "the labels of a list contradict section LISTOF");
      last = label;
      ++count;
    });
    require_valid(count == store.lists()[l].size, "a list has fewer labels than vectors");
  }
}

// Verifies all that reading relies on for right answers, as reading into memory does.
void verify_content(const Container& file, const Index& index, const CodePart& part,
                    bool consecutive_ids) {
  index.visit_store([&](const CodeStore& store, const Ids& ids, const RefineRows* rows) {
    require_labels(part, store);
    for (const List& list : store.lists()) {
      for (const Segment& segment : list.segments) {
        require_valid(store.layout().padding_is_zero(segment),
                      "sections HIGH and LOW have padding that is not zero");
      }
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
      require_valid(ids[i] != -1, "section IDS has an id of -1");
      require_valid(!ids.is_explicit() || ids[i] < ids.next() || ids.next() == kLargestId,
                    "section IDINFO gives an id twice");
    }
    require_valid(rows == nullptr || rows->first_nonfinite() == store.size(),
                  "section ROWS has a value that is not finite");
    require_derived(file, IndexContent(store, ids, rows, IndexContent::Scope::all),
                    consecutive_ids);
  });
}

}  // namespace

StoredIndex map_index(const std::string& path, bool verify) {
  auto map = std::make_shared<const MappedFile>(path);
  const Container file(over_bytes(map->data(), map->size()),
                       {FileKind::flat_index, FileKind::ivf_index});
  require(file.has("LISTS"),
          "the file has a format before 1.5, which cannot be mapped; read it into memory and write "
          "it again");
  StoredIndex stored;
  const IndexRecord r = start_index(file, stored);
  if (file.has("REFINE")) {
    const RefineRecord refine = read_refine_record(file);
    stored.settings.k_factor = refine.k_factor;
    stored.index->keep_refine_rows(
        RefineRows(static_cast<RowKind>(refine.kind), stored.index->codec()->d()));
  }
  IndexPart part = PartReader(file, *stored.index, r.size, verify).read(false);
  part.memory = std::move(map);
  if (file.has("IDS")) stored.index->keep_ids();
  stored.index->attach({part}, {{}});
  if (verify) verify_content(file, *stored.index, part.codes, false);
  file.require_all_read();
  return stored;
}

IndexPart map_segment(const std::string& path, const Index& index, const CodecMark& mark,
                      bool verify) {
  auto map = std::make_shared<const MappedFile>(path);
  const Container file(over_bytes(map->data(), map->size()), {FileKind::segment});
  const SegmentRecord own = file.array<SegmentRecord>("SEGMENT", 1)[0];
  require_valid(own.mark == mark, "the segment belongs to another codec");
  const IndexRecord r = read_index_record(file);
  require_valid(
      static_cast<Metric>(r.metric) == index.metric() && (r.has_extra == 1) == index.keeps_extra(),
      "section INDEX contradicts the settings of the folder");
  std::optional<RowKind> rows;
  if (file.has("REFINE")) rows = static_cast<RowKind>(read_refine_record(file).kind);
  require_valid(rows == index.refine_row_kind(),
                "the segment has other refine rows than the folder");
  IndexPart part = PartReader(file, index, r.size, verify).read(true);
  part.memory = std::move(map);
  if (verify) {
    Index alone(index.codec(), index.metric());
    if (index.refine_row_kind().has_value()) {
      alone.keep_refine_rows(RefineRows(*index.refine_row_kind(), index.codec()->d()));
    }
    alone.attach({part}, {{}});
    verify_content(file, alone, part.codes, true);
  }
  file.require_all_read();
  return part;
}

std::size_t write_segment(const Index& index, const CodecMark& mark, bool own, FileHandle file,
                          const std::string& path) {
  std::size_t size = 0;
  index.visit_store([&](const CodeStore& store, const Ids& ids, const RefineRows* rows) {
    const IndexContent content(store, ids, rows,
                               own ? IndexContent::Scope::own : IndexContent::Scope::all);
    size = content.size();
    std::vector<Section> sections;
    sections.push_back(record("SEGMENT", SegmentRecord{mark}));
    sections.push_back(record("INDEX", index_record(index, size)));
    content.append_ids(true, sections);
    content.append_codes(static_cast<unsigned>(index.codec()->cell_bytes()), sections);
    content.append_lists(sections);
    content.append_rows(1, sections);
    write_file(file, path, FileKind::segment, sections);
  });
  return size;
}

}  // namespace waterfill
