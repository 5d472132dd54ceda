// What coarse scores of L2 indexes are computed from.
#pragma once

namespace waterfill {

// A function of a side byte that is exponential in it, but for byte 0: `zero` for 0, else
// high[byte / 16] * low[byte % 16], at most the largest float. Each half fits a register.
struct SideTable {
  float high[16], low[16], zero;
};

// The terms of a query and a list, with z = z(scale byte) and t = bias + step * sum.
struct CoarseTerms {
  const SideTable *z, *rho, *factor;  // without cells: rho / z and s / z of the second byte
  float bias, step, w;
  float list_term, gain, middle, norm_range, line;  // with cells
};

}  // namespace waterfill
