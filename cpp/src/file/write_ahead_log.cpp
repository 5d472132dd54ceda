#include "waterfill/file/write_ahead_log.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "file/log_layout.hpp"
#include "waterfill/file/byte_io.hpp"

namespace waterfill {
namespace {

[[noreturn]] void fail_at(std::uint64_t offset, const std::string& what) {
  throw FormatError("damaged: the record at byte " + std::to_string(offset) + " of the log " +
                    what);
}

bool is_known(std::uint32_t kind) {
  return kind >= static_cast<std::uint32_t>(LogKind::append) &&
         kind <= static_cast<std::uint32_t>(LogKind::remove);
}

bool has_id_of_minus_one(const void* ids, std::size_t n) {
  const auto* bytes = static_cast<const char*>(ids);
  for (std::size_t i = 0; i < n; ++i) {
    std::int64_t id = 0;
    std::memcpy(&id, bytes + i * sizeof id, sizeof id);
    if (id == -1) return true;
  }
  return false;
}

// The fault of what a header says besides its checksum, or null.
const char* fault_of(const LogHeader& header) {
  if (header.number == 0) return "has the number 0";
  if (header.code_size == 0 || header.code_size > kMaxCodeSize)
    return "has an impossible code size";
  if (header.row_bytes > kMaxRowBytes) return "has refine rows of an impossible size";
  return nullptr;
}

// Checks a record's header, whose checksum is right. Returns the size of the whole record.
std::uint64_t record_bytes(const LogRecordHeader& record, const LogHeader& log,
                           std::uint64_t offset, std::uint64_t sequence) {
  if (!is_known(record.kind)) fail_at(offset, "has an unknown kind");
  if (record.sequence != sequence) {
    fail_at(offset, "has the number " + std::to_string(record.sequence) + ", expected " +
                        std::to_string(sequence));
  }
  const std::uint64_t expected =
      payload_bytes(static_cast<LogKind>(record.kind), record.n, log.code_size, log.row_bytes);
  if (record.payload != expected) {
    fail_at(offset, "has " + std::to_string(record.payload) + " bytes of contents, expected " +
                        std::to_string(expected));
  }
  return sizeof record + expected + kLogEndMark.size();
}

// A view of a complete record, with or without codes and rows.
LogRecord view_of(const LogRecordHeader& record, const LogHeader& log,
                  const std::uint8_t* payload) {
  LogRecord result{
      static_cast<LogKind>(record.kind), record.sequence, record.n, payload, nullptr, nullptr};
  if (result.kind == LogKind::remove) return result;
  const std::uint8_t* codes = payload + result.n * sizeof(std::int64_t);
  result.codes = codes;
  if (log.row_bytes > 0) result.rows = codes + result.n * log.code_size;
  return result;
}

}  // namespace

std::string log_header(const LogHeader& header) {
  if (const char* fault = fault_of(header)) {
    throw InvalidArgument(std::string("header: the log ") + fault);
  }
  LogFileHeader file{kLogMagic,
                     kLogMajor,
                     kLogMinor,
                     header.code_size,
                     header.row_bytes,
                     0,
                     header.number,
                     header.fingerprint,
                     {},
                     0};
  file.crc = crc32c(&file, offsetof(LogFileHeader, crc));
  return {reinterpret_cast<const char*>(&file), sizeof file};
}

std::string log_record(const LogRecord& record, std::uint32_t code_size, std::uint32_t row_bytes) {
  require(record.n <= std::numeric_limits<std::uint32_t>::max(),
          "ids: a record holds fewer than 2^32 vectors, got " + std::to_string(record.n));
  require(record.sequence > 0, "sequence must be 1 or more");
  require(!has_id_of_minus_one(record.ids, record.n), "ids must not be -1");
  require(code_size <= kMaxCodeSize && row_bytes <= kMaxRowBytes,
          "codes and rows must have at most " + std::to_string(kMaxCodeSize) + " and " +
              std::to_string(kMaxRowBytes) + " bytes per vector");
  const std::uint64_t payload = payload_bytes(record.kind, record.n, code_size, row_bytes);
  LogRecordHeader header{static_cast<std::uint32_t>(record.kind),
                         static_cast<std::uint32_t>(record.n),
                         record.sequence,
                         payload,
                         0,
                         0};
  std::string bytes;
  bytes.reserve(sizeof header + payload + kLogEndMark.size());
  const auto append = [&bytes](const void* data, std::size_t size) {
    if (size > 0) bytes.append(static_cast<const char*>(data), size);
  };
  append(&header, sizeof header);
  append(record.ids, record.n * sizeof(std::int64_t));
  if (record.kind != LogKind::remove) {
    append(record.codes, record.n * code_size);
    append(record.rows, record.n * row_bytes);
  }
  header.payload_crc = crc32c(bytes.data() + sizeof header, payload);
  header.crc = crc32c(&header, offsetof(LogRecordHeader, crc));
  std::memcpy(bytes.data(), &header, sizeof header);
  append(kLogEndMark.data(), kLogEndMark.size());
  return bytes;
}

LogHeader read_log_header(const void* data, std::size_t size) {
  LogFileHeader file;
  if (size < sizeof file) {
    throw FormatError("not a write-ahead log: " + std::to_string(size) +
                      " bytes are fewer than a header has");
  }
  std::memcpy(&file, data, sizeof file);
  if (file.magic != kLogMagic) {
    throw FormatError("not a write-ahead log: the first bytes differ");
  }
  if (file.crc != crc32c(&file, offsetof(LogFileHeader, crc))) {
    throw FormatError("damaged: the checksum of the log's header does not match");
  }
  // A later minor version may have records that this release does not know.
  if (file.major != kLogMajor || file.minor != kLogMinor) {
    throw FormatError("log version " + std::to_string(file.major) + "." +
                      std::to_string(file.minor) + " is not known to this release, which reads " +
                      std::to_string(kLogMajor) + "." + std::to_string(kLogMinor));
  }
  const auto& padding = file.padding;
  if (file.reserved != 0 ||
      std::any_of(padding.begin(), padding.end(), [](std::uint8_t byte) { return byte != 0; })) {
    throw FormatError("damaged: a reserved byte of the log's header is not zero");
  }
  const LogHeader header{file.number, file.code_size, file.row_bytes, file.fingerprint};
  if (const char* fault = fault_of(header)) {
    throw FormatError(std::string("damaged: the log ") + fault);
  }
  return header;
}

LogReader::LogReader(const void* data, std::size_t size, std::uint64_t offset,
                     std::uint64_t sequence)
    : data_(static_cast<const std::uint8_t*>(data)),
      size_(size),
      header_(read_log_header(data, size)),
      offset_(offset),
      sequence_(sequence) {
  if (offset < kLogHeaderBytes || offset > size_) {
    throw FormatError("the log has " + std::to_string(size_) +
                      " bytes; no record can start at byte " + std::to_string(offset));
  }
}

// Whether a part of the record at `offset_`, up to `end`, ends in zeros that a crash may have left:
// with all bytes behind them up to the end of the file, and at least from the start of a sector on,
// unless the whole record is zeros.
bool LogReader::ends_in_zeros(std::uint64_t end) const {
  std::uint64_t zeros = size_;  // where they start
  while (zeros > offset_ && data_[zeros - 1] == 0) --zeros;
  if (zeros == offset_) return true;
  const std::uint64_t sector = (zeros + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  return zeros < end && sector < size_;
}

std::optional<LogRecord> LogReader::stop_torn() {
  torn_ = true;
  return std::nullopt;
}

std::optional<LogRecord> LogReader::next() {
  const std::uint64_t left = size_ - offset_;
  if (left == 0) return std::nullopt;
  LogRecordHeader record;
  if (left < sizeof record) return stop_torn();
  const std::uint8_t* start = data_ + offset_;
  std::memcpy(&record, start, sizeof record);
  if (record.crc != crc32c(&record, offsetof(LogRecordHeader, crc))) {
    if (ends_in_zeros(offset_ + sizeof record)) return stop_torn();
    fail_at(offset_, "has a header whose checksum does not match");
  }
  const std::uint64_t size = record_bytes(record, header_, offset_, sequence_);
  if (size > left) return stop_torn();
  const std::uint8_t* payload = start + sizeof record;
  const bool has_end =
      std::memcmp(start + size - kLogEndMark.size(), kLogEndMark.data(), kLogEndMark.size()) == 0;
  if (!has_end || crc32c(payload, record.payload) != record.payload_crc) {
    if (ends_in_zeros(offset_ + size)) return stop_torn();
    fail_at(offset_, has_end ? "has contents whose checksum does not match" : "has no end mark");
  }
  if (has_id_of_minus_one(payload, record.n)) fail_at(offset_, "has an id of -1");
  offset_ += size;
  ++sequence_;
  return view_of(record, header_, payload);
}

}  // namespace waterfill
