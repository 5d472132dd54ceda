// Building blocks of codec and index files: sections of arrays and records.
#pragma once

#include <memory>
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

// Appends the sections of a codec. Codes do not depend on the manifest.
void append_codec(const Codec& codec, bool with_manifest, std::vector<Section>& sections);
std::shared_ptr<Codec> read_codec(const Container& file);

}  // namespace waterfill
