// Mutations of waterfill files that keep the checksums right, so that a fuzzer reaches what lies
// behind them.
#pragma once

#include "byte_edits.hpp"

namespace waterfill {

// Computes all checksums and the file size of a container anew, as far as its table can be read;
// or all checksums of a write-ahead log.
void repair_checksums(Bytes& file);

// Changes a file in a random way: bytes anywhere, numbers of a section, the table, or whole
// sections, perhaps those of `other`. Most results have right checksums.
Bytes mutated(const Bytes& file, const Bytes& other, Random& random);

}  // namespace waterfill
