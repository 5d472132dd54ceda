// Bindings of the files of a folder: its write-ahead log, manifest, and tombstones.
#include <pybind11/operators.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "arrays.hpp"
#include "waterfill/file/manifest.hpp"
#include "waterfill/file/tombstones.hpp"
#include "waterfill/file/write_ahead_log.hpp"
#include "waterfill/index/refine_rows.hpp"

namespace waterfill {
namespace {

FingerprintPrefix fingerprint_argument(const py::bytes& value) {
  const std::string_view bytes = value;
  FingerprintPrefix prefix{};
  require(bytes.size() == prefix.size(), "fingerprint: expected the first " +
                                             std::to_string(prefix.size()) + " bytes, got " +
                                             std::to_string(bytes.size()));
  std::copy(bytes.begin(), bytes.end(), prefix.begin());
  return prefix;
}

py::bytes to_bytes_object(const FingerprintPrefix& prefix) {
  return {reinterpret_cast<const char*>(prefix.data()), prefix.size()};
}

constexpr const char* kKindNames[] = {"append", "upsert", "remove"};  // from LogKind::append on

LogKind kind_argument(const std::string& name) {
  const auto* const found = std::find(std::begin(kKindNames), std::end(kKindNames), name);
  require(found != std::end(kKindNames),
          "kind: expected 'append', 'upsert' or 'remove', got '" + name + "'");
  return static_cast<LogKind>(found - std::begin(kKindNames) + 1);
}

const char* kind_name(LogKind kind) {
  return kKindNames[static_cast<std::size_t>(kind) - 1];
}

// Codes or refine rows of a record, or none.
class RecordBytes {
 public:
  RecordBytes(const py::object& value, const char* name, std::size_t n) {
    if (value.is_none()) return;
    if (py::isinstance<RefineRows>(value)) {
      const auto& rows = value.cast<const RefineRows&>();
      if (rows.size() == n && n > 0 && rows.contiguous(0) == n) {  // else copied, below
        rows_ = rows.stored(0);
        rows_width_ = static_cast<std::uint32_t>(row_bytes(rows.kind(), rows.d()));
        return;
      }
    }
    const py::object given = py::isinstance<RefineRows>(value) ? value.attr("to_array")() : value;
    array_ = checked<std::uint8_t>(given, name, 2, "uint8 (n, bytes)");
    require(static_cast<std::size_t>(array_->shape(0)) == n,
            std::string(name) + ": " + std::to_string(array_->shape(0)) + " rows for " +
                std::to_string(n) + " ids");
    require(
        static_cast<std::uint64_t>(array_->shape(1)) <= std::numeric_limits<std::uint32_t>::max(),
        std::string(name) + " have more than 2^32 - 1 bytes per vector");
  }
  bool has_value() const { return array_.has_value() || rows_ != nullptr; }
  const std::uint8_t* data() const { return array_ ? array_->data() : rows_; }
  std::uint32_t width() const {
    return array_ ? static_cast<std::uint32_t>(array_->shape(1)) : rows_width_;
  }

 private:
  const std::uint8_t* rows_ = nullptr;
  std::uint32_t rows_width_ = 0;
  std::optional<Array<std::uint8_t>> array_;
};

py::bytes make_log_header(std::uint64_t number, std::uint32_t code_size, std::uint32_t row_bytes,
                          const py::bytes& fingerprint) {
  return log_header({number, code_size, row_bytes, fingerprint_argument(fingerprint)});
}

Array<std::uint8_t> make_log_record(const std::string& kind_value, std::uint64_t sequence,
                                    const py::object& ids_value, const py::object& codes_value,
                                    const py::object& rows_value) {
  const auto ids = checked<std::int64_t>(ids_value, "ids", 1, "int64 (n,)");
  const auto n = static_cast<std::size_t>(ids.shape(0));
  const LogKind kind = kind_argument(kind_value);
  const RecordBytes codes(codes_value, "codes", n), rows(rows_value, "rows", n);
  if (kind == LogKind::remove) {
    require(!codes.has_value() && !rows.has_value(), "codes and rows must be None for removals");
  } else {
    require(codes.has_value(), "codes are missing; only removals have none");
  }
  const LogRecord record{kind, sequence, n, ids.data(), codes.data(), rows.data()};
  return to_array(unlocked([&] { return log_record(record, codes.width(), rows.width()); }));
}

py::tuple parse_log_header(const py::buffer& value) {
  const BytesArgument bytes(value);
  const LogHeader header = read_log_header(bytes.data(), bytes.size());
  return py::make_tuple(header.number, header.code_size, header.row_bytes,
                        to_bytes_object(header.fingerprint));
}

py::object copied(const void* bytes, std::size_t n, std::size_t width) {
  if (bytes == nullptr) return py::none();
  auto result = new_matrix<std::uint8_t>(n, width);
  std::copy_n(static_cast<const std::uint8_t*>(bytes), n * width, result.mutable_data());
  return std::move(result);
}

py::tuple to_tuple(const LogRecord& record, const LogHeader& header) {
  Array<std::int64_t> ids(static_cast<py::ssize_t>(record.n));
  std::copy_n(static_cast<const char*>(record.ids), record.n * sizeof(std::int64_t),
              reinterpret_cast<char*>(ids.mutable_data()));
  return py::make_tuple(kind_name(record.kind), ids,
                        copied(record.codes, record.n, header.code_size),
                        copied(record.rows, record.n, header.row_bytes));
}

py::tuple read_log(const py::buffer& value, std::uint64_t offset, std::uint64_t sequence) {
  require(offset != 0 || sequence == 1, "sequence must be 1 where offset is 0");
  const BytesArgument bytes(value);
  LogReader reader(bytes.data(), bytes.size(), offset == 0 ? kLogHeaderBytes : offset, sequence);
  std::vector<LogRecord> records;
  unlocked([&] {
    while (const std::optional<LogRecord> record = reader.next()) records.push_back(*record);
  });
  py::list result;
  for (const LogRecord& record : records) result.append(to_tuple(record, reader.header()));
  return py::make_tuple(result, reader.offset(), reader.sequence(), reader.torn());
}

py::bytes make_tombstones(std::uint64_t segment, std::uint64_t n, const py::object& labels) {
  return tombstones_to_bytes({segment, n, vector_argument<std::uint32_t>(labels, "labels")});
}

py::tuple parse_tombstones(const py::buffer& value) {
  const BytesArgument bytes(value);
  const Tombstones tombstones =
      unlocked([&] { return tombstones_from_bytes(bytes.data(), bytes.size()); });
  return py::make_tuple(tombstones.segment, tombstones.vectors, to_array(tombstones.labels));
}

// Sequences are tuples in Python: a change of a list would not reach the manifest.
template <class Entry>
py::tuple tuple_of(const std::vector<Entry>& entries) {
  py::tuple result(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) result[i] = py::cast(entries[i]);
  return result;
}

void bind_log(py::module_& m) {
  m.def("log_header", &make_log_header, py::arg("number"), py::arg("code_size"),
        py::arg("row_bytes"), py::arg("fingerprint"),
        "Return the header of a write-ahead log. row_bytes: 0 without refine rows. fingerprint: "
        "the first 16 bytes of that of the codec.");
  m.def("log_record", &make_log_record, py::arg("kind"), py::arg("sequence"), py::arg("ids"),
        py::arg("codes") = py::none(), py::arg("rows") = py::none(),
        "Return a record of a write-ahead log, uint8 (bytes,). kind: 'append', 'upsert' or "
        "'remove'. rows: as stored, or RefineRows.");
  m.def("read_log_header", &parse_log_header, py::arg("data"),
        "Return number, code_size, row_bytes and fingerprint of a write-ahead log.");
  m.def("read_log", &read_log, py::arg("data"), py::arg("offset") = 0, py::arg("sequence") = 1,
        "Return the records of a write-ahead log as (kind, ids, codes, rows), the offset behind "
        "the last one, the number of the next one, and whether an incomplete one follows. data: "
        "the file from its first byte. offset and sequence: those of the first record to read.");
}

void bind_manifest_entries(py::module_& m) {
  using Codec = ManifestCodec;
  py::class_<Codec>(m, "ManifestCodec", "A codec file of a folder.")
      .def(py::init([](std::uint64_t number, const py::bytes& fingerprint) {
             return Codec{number, fingerprint_argument(fingerprint)};
           }),
           py::arg("number"), py::arg("fingerprint"))
      .def(py::self == py::self)
      .def_readonly("number", &Codec::number, "Number of the file.")
      .def_property_readonly(
          "fingerprint", [](const Codec& self) { return to_bytes_object(self.fingerprint); },
          "The first 16 bytes of the codec's fingerprint.");

  using Segment = ManifestSegment;
  py::class_<Segment>(m, "ManifestSegment", "A segment file of a folder, with its tombstones.")
      .def(py::init([](std::uint64_t number, std::uint64_t vectors, std::uint64_t bytes,
                       std::uint64_t codec, std::uint32_t crc, std::uint64_t tombstones,
                       std::uint64_t dead, std::uint32_t tombstones_crc) {
             return Segment{number, vectors, bytes, codec, tombstones, dead, crc, tombstones_crc};
           }),
           py::kw_only(), py::arg("number"), py::arg("vectors"), py::arg("bytes"), py::arg("codec"),
           py::arg("crc"), py::arg("tombstones") = 0, py::arg("dead") = 0,
           py::arg("tombstones_crc") = 0)
      .def(py::self == py::self)
      .def_readonly("number", &Segment::number, "Number of the segment file.")
      .def_readonly("vectors", &Segment::vectors, "Vectors, with those that are removed.")
      .def_readonly("bytes", &Segment::bytes, "Size of the segment file.")
      .def_readonly("codec", &Segment::codec, "Number of its codec.")
      .def_readonly("crc", &Segment::crc, "CRC-32C of the first 64 bytes of the segment file.")
      .def_readonly("tombstones", &Segment::tombstones,
                    "Number of the file of tombstones; 0 without.")
      .def_readonly("dead", &Segment::dead, "Number of removed vectors.")
      .def_readonly("tombstones_crc", &Segment::tombstones_crc,
                    "CRC-32C of the first 64 bytes of the file of tombstones; 0 without.");
}

FolderManifest make_manifest(Metric metric, std::uint32_t d, std::uint64_t number,
                             std::uint64_t log, std::uint64_t next_file, std::int64_t next_id,
                             std::uint32_t nprobe, std::optional<double> target_recall,
                             std::optional<RowKind> row_kind, float k_factor,
                             std::vector<ManifestCodec> codecs,
                             std::vector<ManifestSegment> segments) {
  return {metric,
          d,
          number,
          log,
          next_file,
          next_id,
          nprobe,
          target_recall,
          row_kind,
          k_factor,
          std::move(codecs),
          std::move(segments)};
}

void bind_manifest(py::module_& m) {
  using Self = FolderManifest;
  py::class_<Self>(m, "Manifest",
                   "The manifest of a folder. Values are checked when it is written and read.")
      .def(py::init(&make_manifest), py::kw_only(), py::arg("metric"), py::arg("d"),
           py::arg("number"), py::arg("log"), py::arg("next_file"), py::arg("next_id") = 0,
           py::arg("nprobe") = 0, py::arg("target_recall") = py::none(),
           py::arg("row_kind") = py::none(), py::arg("k_factor") = 1.0f, py::arg("codecs"),
           py::arg("segments") = py::tuple())
      .def(py::self == py::self)
      .def("__copy__", [](const Self& self) { return Self(self); })
      .def_readwrite("metric", &Self::metric, "The metric.")
      .def_readwrite("d", &Self::d, "Number of dimensions.")
      .def_readwrite("number", &Self::number, "Number of this manifest.")
      .def_readwrite("log", &Self::log, "Number of its write-ahead log.")
      .def_readwrite("next_file", &Self::next_file, "More than any number in the manifest.")
      .def_readwrite("next_id", &Self::next_id, "Id of the next vector without an explicit one.")
      .def_readwrite("nprobe", &Self::nprobe, "Lists that a search scans; 0: all.")
      .def_readwrite("target_recall", &Self::target_recall,
                     "The target recall that nprobe follows, or None.")
      .def_readwrite("row_kind", &Self::row_kind, "Format of the refine rows, or None.")
      .def_readwrite("k_factor", &Self::k_factor, "Refine candidates per neighbor.")
      .def_property(
          "codecs", [](const Self& self) { return tuple_of(self.codecs); },
          [](Self& self, std::vector<ManifestCodec> value) { self.codecs = std::move(value); },
          "Codecs by ascending number; the last codes new vectors.")
      .def_property(
          "segments", [](const Self& self) { return tuple_of(self.segments); },
          [](Self& self, std::vector<ManifestSegment> value) { self.segments = std::move(value); },
          "Segments by ascending number.")
      .def(
          "to_bytes", [](const Self& self) { return py::bytes(manifest_to_bytes(self)); },
          "Return the manifest in the file format.")
      .def_static(
          "from_bytes",
          [](const py::buffer& value) {
            const BytesArgument bytes(value);
            return manifest_from_bytes(bytes.data(), bytes.size());
          },
          py::arg("data"), "Read a manifest from bytes of the file format.");
}

}  // namespace

void bind_folder(py::module_& m) {
  bind_log(m);
  bind_manifest_entries(m);
  bind_manifest(m);
  m.def("tombstones_to_bytes", &make_tombstones, py::arg("segment"), py::arg("n"),
        py::arg("labels"),
        "Return a file of tombstones: ascending labels of the n vectors of a segment.");
  m.def("tombstones_from_bytes", &parse_tombstones, py::arg("data"),
        "Return the number of the segment, its vectors and the labels of removed ones.");
}

}  // namespace waterfill
