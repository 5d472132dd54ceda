// A set of ids as a postfix program: the counterpart of FAISS's IDSelectors, evaluated for many ids
// at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/index/ids.hpp"

namespace waterfill {

class Selector {
 public:
  // Operands.
  void range(std::int64_t first, std::int64_t end);  // first <= id < end
  void set(std::vector<std::int64_t> ascending);     // ids in a sorted array
  void bitmap(std::vector<std::uint8_t> bytes);      // bit id % 8 of byte id / 8
  void all();
  // Operators on the preceding operands.
  void logical_not();
  void logical_and();
  void logical_or();
  void logical_xor();

  bool operator==(const Selector&) const = default;

  // Throws InvalidArgument unless the program leaves exactly one operand.
  void check() const;

  // The ids of a program that is a single set; else null.
  const std::vector<std::int64_t>* as_set() const {
    return steps_.size() == 1 && steps_[0].kind == Kind::set ? &steps_[0].ids : nullptr;
  }

  // Bits of the ids 0 ... n - 1.
  Bits of_labels(std::size_t n) const;
  // Bits of any ids.
  Bits of(const std::int64_t* ids, std::size_t n) const;
  // Bits of all vectors by label.
  Bits of(const Ids& ids) const;

 private:
  enum class Kind { range, set, bitmap, all, logical_not, logical_and, logical_or, logical_xor };
  struct Step {
    Kind kind;
    std::int64_t first = 0, end = 0;
    std::vector<std::int64_t> ids;
    std::vector<std::uint8_t> bytes;  // a bitmap that starts at id `first`

    bool operator==(const Step&) const = default;
  };

  template <class Operand>
  Bits evaluate(std::size_t n, Operand operand) const;
  static void fill_labels(const Step& step, std::size_t n, Bits& bits);
  static bool contains(const Step& step, std::int64_t id);
  static std::size_t operands(Kind kind);

  std::vector<Step> steps_;
};

}  // namespace waterfill
