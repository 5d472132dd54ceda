// What a file holds of an index: its vectors without removed ones, numbered anew, as sections.
//
// An index without mapped parts and removed vectors is written as it lies in memory. Otherwise its
// lists are packed anew, one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "waterfill/file/container.hpp"
#include "waterfill/index/code_store.hpp"
#include "waterfill/index/ids.hpp"
#include "waterfill/index/refine_rows.hpp"

namespace waterfill {

// A record of section LISTS.
struct ListRecord {
  std::uint32_t size, label_words;
  std::uint8_t scale_least, scale_largest, extra_least, extra_largest;
  std::uint32_t reserved;
};
static_assert(sizeof(ListRecord) == 16);

// How a file gives the ids of its vectors.
enum class IdForm : std::uint32_t { consecutive = 0, ascending = 1, ordered = 2 };

// The record of section IDINFO.
struct IdRecord {
  std::int64_t next, first;  // first: of consecutive ids, else 0
  IdForm form;
  std::uint32_t reserved;
};
static_assert(sizeof(IdRecord) == 24);

class IndexContent {
 public:
  // Which vectors: all, or those that do not belong to mapped parts.
  enum class Scope { all, own };

  IndexContent(const CodeStore& store, const Ids& ids, const RefineRows* rows, Scope scope);

  std::size_t size() const { return size_; }
  // Appends sections, which refer to this object.
  void append_codes(unsigned list_bytes, std::vector<Section>& sections) const;
  // What a mapped file needs besides, and what follows from the codes and ids.
  void append_lists(std::vector<Section>& sections) const;
  // allow_consecutive: consecutive ids need no section of their own.
  void append_ids(bool allow_consecutive, std::vector<Section>& sections) const;
  void append_rows(float k_factor, std::vector<Section>& sections) const;

 private:
  bool as_stored() const { return first_ == 0 && store_.mapped() == 0 && size_ == store_.size(); }
  std::uint32_t renumbered(std::uint32_t label) const;
  template <class Visit>
  void each_label(std::size_t list, Visit visit) const;
  template <class Visit>
  void each_kept(Visit visit) const;
  template <class Visit>
  void each_segment(std::size_t list, Visit visit) const;
  const EliasFano& labels_of(std::size_t list) const;
  Section codes(const char* tag, CodeBytes Segment::* bytes) const;
  Section list_numbers(unsigned width) const;
  template <class Array>
  Section labels(const char* tag, Array array) const;
  ListRecord list_record(std::size_t list) const;
  IdRecord id_record(bool allow_consecutive) const;

  const CodeStore& store_;
  const Ids& ids_;
  const RefineRows* rows_;
  std::size_t first_;                  // label
  std::size_t size_ = 0;               // vectors that are kept
  std::vector<std::uint32_t> before_;  // removed vectors before each word of labels
  std::vector<EliasFano> labels_;      // of lists, if they are numbered anew
};

}  // namespace waterfill
