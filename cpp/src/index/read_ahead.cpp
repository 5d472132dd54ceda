#include "index/read_ahead.hpp"

#include "waterfill/core/system.hpp"

namespace waterfill {
namespace {

// Calls without a wait after which a thread stops asking.
constexpr int kCalls = 256;
thread_local int calls_left = 0;

}  // namespace

ReadAhead::ReadAhead() noexcept : reads_(page_reads()) {}

bool ReadAhead::wanted() noexcept {
  if (page_reads() != reads_) {
    calls_left = kCalls;
  } else if (calls_left > 0) {
    --calls_left;
  }
  return calls_left > 0;
}

}  // namespace waterfill
