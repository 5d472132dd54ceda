// Mutations of write-ahead logs that keep the checksums right, and those that a crash leaves.
#pragma once

#include "byte_edits.hpp"

namespace waterfill {

bool is_log(const Bytes& file);

// Computes the checksums of the header and of all complete records anew.
void repair_log(Bytes& file);

// Changes a log in a random way: bytes anywhere, numbers of a header or of contents, whole records,
// its end. Most results have right checksums.
Bytes mutated_log(const Bytes& file, Random& random);

}  // namespace waterfill
