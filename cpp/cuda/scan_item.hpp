// What a block of a scan reads for which queries: see waterfill/device/scan_plan.py.
#pragma once

#include "device.hpp"

namespace waterfill {
namespace {

constexpr unsigned kQueries = 4;

// Blocks [first, first + count) of a list, and the queries that scan them, -1 for none.
struct Item {
  unsigned first, count, list;
  int queries[kQueries];
  float terms[kQueries];
};

}  // namespace
}  // namespace waterfill
