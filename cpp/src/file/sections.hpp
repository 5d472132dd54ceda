// What is written and read of codecs and indexes: sections made of arrays and records.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "waterfill/codec/codec.hpp"
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

inline void wanted(bool holds, const std::string& what) {
  if (!holds) throw FormatError("damaged: " + what);
}

// A codec's sections; the manifest is left out where only what codes depend on is wanted.
void append_codec(const Codec& codec, bool with_manifest, std::vector<Section>& sections);
std::shared_ptr<Codec> read_codec(const Container& file);

}  // namespace waterfill
