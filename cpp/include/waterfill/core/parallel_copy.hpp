// Copies of memory that a device reads next.
#pragma once

#include <cstddef>
#include <cstdint>

namespace waterfill {

// Copies bytes with all threads, and past the caches where the processor can: a single thread reads
// and writes memory more slowly than a bus does, and the bus reads the copy, not this processor.
void copy_for_bus(const std::uint8_t* source, std::uint8_t* target, std::size_t size);

}  // namespace waterfill
