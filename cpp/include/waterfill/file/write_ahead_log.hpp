// The write-ahead log of a folder: the changes since its last manifest, in order.
//
// A log is a header and records, appended one after the other. A crash may leave the last record
// incomplete, which is not damage: the change it describes was never confirmed. FORMAT.md specifies
// both byte by byte.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace waterfill {

using FingerprintPrefix = std::array<std::uint8_t, 16>;  // the first bytes of a codec's fingerprint

struct LogHeader {
  std::uint64_t number = 0;     // of the log, as in its file name
  std::uint32_t code_size = 0;  // bytes of a code
  std::uint32_t row_bytes = 0;  // bytes of a refine row; 0 without refine rows
  FingerprintPrefix fingerprint{};
  bool operator==(const LogHeader&) const = default;
};

enum class LogKind : std::uint32_t { append = 1, upsert = 2, remove = 3 };

// A change, as a view of memory that somebody else owns. The arrays need not be aligned.
struct LogRecord {
  LogKind kind = LogKind::append;
  std::uint64_t sequence = 0;   // 1, 2, 3, ... in a log
  std::size_t n = 0;            // vectors
  const void* ids = nullptr;    // int64 [n], none of them -1
  const void* codes = nullptr;  // uint8 [n][code_size]; null for removals
  const void* rows = nullptr;   // uint8 [n][row_bytes]; null for removals and without refine rows
};

// The bytes to append to the file. Throw InvalidArgument.
std::string log_header(const LogHeader& header);
std::string log_record(const LogRecord& record, std::uint32_t code_size, std::uint32_t row_bytes);

// The header of a log. Throws FormatError.
LogHeader read_log_header(const void* data, std::size_t size);

inline constexpr std::size_t kLogHeaderBytes = 64;

// Reads the records of a log in memory, which must outlive the reader and its records.
class LogReader {
 public:
  // data: the log from its first byte. offset, sequence: those of the first record to read, so that
  // a reader can go on where it stopped. Throws FormatError.
  LogReader(const void* data, std::size_t size, std::uint64_t offset = kLogHeaderBytes,
            std::uint64_t sequence = 1);

  const LogHeader& header() const { return header_; }
  // The next record, or nothing at the end. Throws FormatError for a damaged record.
  std::optional<LogRecord> next();
  // Where the next record starts, or will, and its number.
  std::uint64_t offset() const { return offset_; }
  std::uint64_t sequence() const { return sequence_; }
  // Whether an incomplete record follows the last one that `next` returned.
  bool torn() const { return torn_; }

 private:
  bool ends_in_zeros(std::uint64_t end) const;
  std::optional<LogRecord> stop_torn();

  const std::uint8_t* data_;
  std::uint64_t size_;
  LogHeader header_;
  std::uint64_t offset_, sequence_;
  bool torn_ = false;
};

}  // namespace waterfill
