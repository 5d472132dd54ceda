#include "file_mutator.hpp"

#include <algorithm>
#include <limits>

#include "byte_edits.hpp"
#include "file/header.hpp"
#include "file_pair.hpp"
#include "log_mutator.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kAlignment = 64;

struct Part {  // a section with its contents
  TableEntry entry;
  Bytes bytes;
};

struct Parts {
  Header header;
  std::vector<Part> parts;
};

Parts split(const Bytes& file) {
  Parts result{};
  if (file.size() < sizeof(Header)) return result;
  result.header = load<Header>(file, 0);
  for (std::size_t i = 0; i < std::min(result.header.sections, kMaxSections); ++i) {
    const std::size_t at = sizeof(Header) + i * sizeof(TableEntry);
    if (at + sizeof(TableEntry) > file.size()) break;
    Part part{load<TableEntry>(file, at), {}};
    const auto& [tag, offset, size, crc, flags] = part.entry;
    if (offset <= file.size() && size <= file.size() - offset) {
      const auto begin = file.begin() + static_cast<std::ptrdiff_t>(offset);
      part.bytes.assign(begin, begin + static_cast<std::ptrdiff_t>(size));
    }
    result.parts.push_back(std::move(part));
  }
  return result;
}

// A file as the writer lays it out.
Bytes join(Parts file) {
  Bytes result(sizeof(Header) + file.parts.size() * sizeof(TableEntry));
  for (std::size_t i = 0; i < file.parts.size(); ++i) {
    auto& [entry, bytes] = file.parts[i];
    result.resize((result.size() + kAlignment - 1) / kAlignment * kAlignment);
    entry.offset = result.size();
    entry.size = bytes.size();
    store(result, sizeof(Header) + i * sizeof(TableEntry), entry);
    result.insert(result.end(), bytes.begin(), bytes.end());
  }
  file.header.sections = static_cast<std::uint32_t>(file.parts.size());
  store(result, 0, file.header);
  repair_checksums(result);
  return result;
}

// Writes one number at a random place, or at every place.
void change_numbers(Bytes& bytes, Random& random) {
  constexpr float kFloats[] = {0.0f,
                               -0.0f,
                               1.0f,
                               -1.0f,
                               1e-45f,
                               1e-30f,
                               1e30f,
                               1e38f,
                               -1e38f,
                               std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::infinity(),
                               -std::numeric_limits<float>::infinity(),
                               std::numeric_limits<float>::quiet_NaN()};
  constexpr std::uint32_t kIntegers[] = {0,   1,   2,     3,          4,          127,       128,
                                         255, 256, 65535, 0x7fffffff, 0x80000000, 0xffffffff};
  const std::size_t kind = below(random, 5);
  const float real = kFloats[below(random, std::size(kFloats))];
  const std::uint32_t integer = kIntegers[below(random, std::size(kIntegers))];
  const std::size_t step = kind == 1 ? 8 : kind == 3 ? 1 : 4, count = bytes.size() / step;
  const bool all = below(random, 8) == 0;
  const std::size_t first = all ? 0 : below(random, count), last = all ? count : first + 1;
  for (std::size_t i = first; i < last && count > 0; ++i) {
    const std::size_t at = i * step;
    if (kind == 0) store(bytes, at, real);
    if (kind == 1) store(bytes, at, static_cast<double>(real));
    if (kind == 2) store(bytes, at, integer);
    if (kind == 3) store(bytes, at, static_cast<std::uint8_t>(random.next()));
    if (kind == 4) {  // a neighbor of the number that is there
      const auto near = static_cast<std::uint32_t>(below(random, 17)) - 8;
      store(bytes, at, load<std::uint32_t>(bytes, at) + near);
    }
  }
}

void change_sections(Parts& file, const Bytes& other, Random& random) {
  if (file.parts.empty()) return;
  const std::size_t i = below(random, file.parts.size());
  Part& part = file.parts[i];
  switch (below(random, 8)) {
    case 0:
      part.bytes.resize(below(random, 2 * part.bytes.size() + 2));
      return;
    case 1:
      file.parts.erase(file.parts.begin() + static_cast<std::ptrdiff_t>(i));
      return;
    case 2: {
      const Parts source = split(other);
      for (const Part& own : source.parts) {
        if (own.entry.tag == part.entry.tag) part.bytes = own.bytes;
      }
      return;
    }
    case 3: {
      const Parts source = split(other);
      if (!source.parts.empty())
        file.parts.push_back(source.parts[below(random, source.parts.size())]);
      return;
    }
    case 4:
      file.header.kind = static_cast<std::uint32_t>(1 + below(random, 7));
      return;
    default:
      change_numbers(part.bytes, random);
  }
}

void change_bytes(Bytes& file, Random& random) {
  const std::size_t head = std::min<std::size_t>(file.size(), 640);  // header and table
  for (std::size_t left = 1 + below(random, 4); left > 0; --left) {
    const std::size_t at = below(random, below(random, 2) == 0 ? head : file.size());
    if (at >= file.size()) return;
    switch (below(random, 4)) {
      case 0:
        file[at] = static_cast<std::uint8_t>(file[at] ^ 1u << below(random, 8));
        break;
      case 1:
        file[at] = static_cast<std::uint8_t>(random.next());
        break;
      case 2:
        file[at] = static_cast<std::uint8_t>(file[at] + below(random, 9) - 4);
        break;
      default:
        if (below(random, 8) == 0) file.resize(at);
    }
  }
}

std::ptrdiff_t signed_offset(std::size_t at) {
  return static_cast<std::ptrdiff_t>(at);
}

Bytes first_part(const Bytes& pair, std::size_t first) {
  return {pair.begin(), pair.begin() + signed_offset(first)};
}

Bytes second_part(const Bytes& pair, std::size_t first) {
  return {pair.begin() + signed_offset(first), pair.end()};
}

// Changes one container of a pair, mostly the second. Sections come from the same of `other`.
Bytes mutated_pair(const Bytes& pair, const Bytes& other, Random& random) {
  const std::size_t first = first_of_pair(pair), cut = first_of_pair(other);
  Bytes head = first_part(pair, first), tail = second_part(pair, first);
  if (below(random, 8) == 0) {
    head = mutated(head, first_part(other, cut), random);
  } else {
    tail = mutated(tail, second_part(other, cut), random);
  }
  head.insert(head.end(), tail.begin(), tail.end());
  return head;
}

}  // namespace

void repair_checksums(Bytes& file) {
  if (is_log(file)) return repair_log(file);
  if (const std::size_t first = first_of_pair(file)) {
    Bytes head = first_part(file, first), tail = second_part(file, first);
    repair_checksums(head);
    repair_checksums(tail);
    std::copy(head.begin(), head.end(), file.begin());
    std::copy(tail.begin(), tail.end(), file.begin() + signed_offset(first));
    return;
  }
  if (file.size() < sizeof(Header)) return;
  auto header = load<Header>(file, 0);
  const std::size_t room = (file.size() - sizeof(Header)) / sizeof(TableEntry);
  const std::size_t sections = std::min<std::size_t>(header.sections, room);
  for (std::size_t i = 0; i < sections; ++i) {
    const std::size_t at = sizeof(Header) + i * sizeof(TableEntry);
    auto entry = load<TableEntry>(file, at);
    if (entry.offset > file.size() || entry.size > file.size() - entry.offset) continue;
    entry.crc = crc32c(file.data() + entry.offset, entry.size);
    store(file, at, entry);
  }
  header.file_size = file.size();
  header.table_crc = crc32c(file.data() + sizeof(Header), sections * sizeof(TableEntry));
  header.header_crc = crc32c(&header, offsetof(Header, header_crc));
  store(file, 0, header);
}

Bytes mutated(const Bytes& file, const Bytes& other, Random& random) {
  if (is_log(file)) return mutated_log(file, random);
  if (first_of_pair(file) != 0) return mutated_pair(file, other, random);
  Bytes result = file;
  if (below(random, 4) == 0) {
    change_bytes(result, random);
    if (below(random, 4) != 0) repair_checksums(result);
    return result;
  }
  Parts parts = split(result);
  for (std::size_t left = 1 + below(random, 3); left > 0; --left) {
    change_sections(parts, other, random);
  }
  return join(std::move(parts));
}

}  // namespace waterfill

#ifdef WATERFILL_LIBFUZZER
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  using namespace waterfill;
  Random random(seed);
  Bytes file(data, data + size);
  if (random.next() % 4 == 0) {
    file.resize(max_size);
    std::copy_n(data, size, file.begin());
    file.resize(LLVMFuzzerMutate(file.data(), size, max_size));
    repair_checksums(file);
  } else {
    file = mutated(file, file, random);
  }
  file.resize(std::min(file.size(), max_size));
  std::copy(file.begin(), file.end(), data);
  return file.size();
}
#endif
