// Building blocks of codec and index files: sections of arrays and records.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "waterfill/codec/codec.hpp"
#include "waterfill/core/types.hpp"
#include "waterfill/file/container.hpp"

namespace waterfill {

template <class Vector>
Section section(const char* tag, const Vector& values) {
  return {tag, [&values](const Emit& emit) {
            emit(values.data(), values.size() * sizeof(typename Vector::value_type));
          }};
}

template <class T>
Section record(const char* tag, const T& value) {
  return {tag, [value](const Emit& emit) { emit(&value, sizeof value); }};
}

// what: a view, since a string for each of many values would take most of the time of reading.
inline void require_valid(bool holds, std::string_view what) {
  if (!holds) throw FormatError("damaged: " + std::string(what));
}

// The target recall that nprobe follows, in files and folders with lists. Readers before 1.7 skip
// it and take nprobe.
inline void append_target_recall(std::optional<double> target, std::vector<Section>& sections) {
  if (!target.has_value()) return;
  sections.push_back(record("TARGET", *target));
  sections.back().optional = true;
}

inline std::optional<double> read_target_recall(const Container& file) {
  if (!file.has("TARGET")) return std::nullopt;
  return file.array<double>("TARGET", 1)[0];
}

inline bool is_target_recall(double value) {
  return value > 0 && value <= 1;
}

// Appends the sections of a codec. Codes do not depend on the manifest.
void append_codec(const Codec& codec, bool with_manifest, std::vector<Section>& sections);
std::shared_ptr<Codec> read_codec(const Container& file);

}  // namespace waterfill
