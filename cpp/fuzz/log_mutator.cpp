#include "log_mutator.hpp"

#include <algorithm>
#include <iterator>

#include "file/log_layout.hpp"
#include "waterfill/file/byte_io.hpp"

namespace waterfill {
namespace {

std::ptrdiff_t signed_offset(std::size_t at) {
  return static_cast<std::ptrdiff_t>(at);
}

// The size of the record at `at` by what its header says, or 0 if it exceeds the file.
std::size_t record_size(const Bytes& file, std::size_t at) {
  if (at > file.size() || file.size() - at < sizeof(LogRecordHeader)) return 0;
  const std::size_t room = file.size() - at - sizeof(LogRecordHeader);
  const auto payload = load<LogRecordHeader>(file, at).payload;
  if (payload > room || room - payload < kLogEndMark.size()) return 0;
  return sizeof(LogRecordHeader) + payload + kLogEndMark.size();
}

// Where each complete record starts, and where the last one ends.
std::vector<std::size_t> bounds_of(const Bytes& file) {
  std::vector<std::size_t> bounds{kLogHeaderBytes};
  while (const std::size_t size = record_size(file, bounds.back())) {
    bounds.push_back(bounds.back() + size);
  }
  return bounds;
}

void change_number(Bytes& file, std::size_t at, std::size_t size, Random& random) {
  constexpr std::uint32_t kNumbers[] = {0, 1, 2, 3, 4, 0x7fffffff, 0x80000000, 0xffffffff};
  const std::size_t place = at + 4 * below(random, size / 4);
  if (place + 4 > file.size()) return;
  const std::uint32_t number =
      below(random, 2) == 0
          ? kNumbers[below(random, std::size(kNumbers))]
          : load<std::uint32_t>(file, place) + static_cast<std::uint32_t>(below(random, 9)) - 4;
  store(file, place, number);
}

// Zeros from some byte or sector on, or a file that ends there, or more zeros.
void crash(Bytes& file, Random& random) {
  std::size_t at = below(random, file.size());
  if (below(random, 2) == 0) at = at / kSectorBytes * kSectorBytes;
  switch (below(random, 3)) {
    case 0:
      file.resize(at);
      return;
    case 1:
      std::fill(file.begin() + signed_offset(at), file.end(), std::uint8_t{0});
      return;
    default:
      file.resize(file.size() + below(random, 2 * kSectorBytes));
  }
}

// Gives the records the numbers that they should have.
void renumber(Bytes& file) {
  const std::vector<std::size_t> bounds = bounds_of(file);
  for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
    store(file, bounds[i] + offsetof(LogRecordHeader, sequence), std::uint64_t{i} + 1);
  }
}

// Changes the number of vectors of a record together with its size.
void resize_record(Bytes& file, std::size_t at, std::size_t size, Random& random) {
  auto header = load<LogRecordHeader>(file, at);
  const auto log = load<LogFileHeader>(file, 0);
  header.kind = static_cast<std::uint32_t>(1 + below(random, 3));
  header.n = static_cast<std::uint32_t>(below(random, 9));
  header.payload = payload_bytes(static_cast<LogKind>(header.kind), header.n,
                                 std::min(log.code_size, 64u), std::min(log.row_bytes, 64u));
  Bytes payload(header.payload);
  for (std::uint8_t& byte : payload) byte = static_cast<std::uint8_t>(random.next());
  payload.insert(payload.end(), kLogEndMark.begin(), kLogEndMark.end());
  const auto begin = file.begin() + signed_offset(at + sizeof header);
  const auto end = file.begin() + signed_offset(at + size);
  file.insert(file.erase(begin, end), payload.begin(), payload.end());
  store(file, at, header);
}

void change_records(Bytes& file, Random& random) {
  const std::vector<std::size_t> bounds = bounds_of(file);
  const std::size_t i = below(random, bounds.size()), at = bounds[i];
  if (i + 1 == bounds.size()) {
    change_number(file, 0, kLogHeaderBytes, random);
    return;
  }
  const std::size_t size = bounds[i + 1] - at;
  const auto begin = file.begin() + signed_offset(at), end = begin + signed_offset(size);
  switch (below(random, 5)) {
    case 0:
      file.erase(begin, end);
      break;
    case 1: {
      const Bytes copy(begin, end);
      file.insert(begin, copy.begin(), copy.end());
      break;
    }
    case 2:
      change_number(file, at, sizeof(LogRecordHeader), random);
      return;
    case 3:
      change_number(file, at, size, random);
      return;
    default:
      resize_record(file, at, size, random);
  }
  if (below(random, 4) != 0) renumber(file);
}

}  // namespace

bool is_log(const Bytes& file) {
  return file.size() >= kLogMagic.size() &&
         std::equal(kLogMagic.begin(), kLogMagic.end(), file.begin());
}

void repair_log(Bytes& file) {
  if (file.size() < kLogHeaderBytes) return;
  store(file, offsetof(LogFileHeader, crc), crc32c(file.data(), offsetof(LogFileHeader, crc)));
  const std::vector<std::size_t> bounds = bounds_of(file);
  for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
    const std::size_t at = bounds[i];
    auto header = load<LogRecordHeader>(file, at);
    header.payload_crc = crc32c(file.data() + at + sizeof header, header.payload);
    header.crc = crc32c(&header, offsetof(LogRecordHeader, crc));
    store(file, at, header);
  }
}

Bytes mutated_log(const Bytes& file, Random& random) {
  Bytes result = file;
  for (std::size_t left = 1 + below(random, 3); left > 0 && is_log(result); --left) {
    if (result.size() >= kLogHeaderBytes) change_records(result, random);
  }
  if (below(random, 8) != 0) repair_log(result);
  if (below(random, 4) == 0) crash(result, random);
  if (below(random, 8) == 0 && !result.empty()) {
    std::uint8_t& byte = result[below(random, result.size())];
    byte = static_cast<std::uint8_t>(byte ^ 1u << below(random, 8));
  }
  return result;
}

}  // namespace waterfill
