// Divides rows by their norms, as normalize_rows of the core: a thread per row adds the squares in
// float64 by ascending index. Zero rows stay zero.
#include "device.hpp"

using namespace waterfill;

extern "C" __global__ void normalize_rows(const float* x, unsigned n, unsigned d, float* out) {
  const std::size_t i = thread_of_grid();
  if (i >= n) return;
  const float* row = x + i * d;
  double squares = 0;
  for (unsigned k = 0; k < d; ++k) squares += static_cast<double>(row[k]) * row[k];
  const double inverse = 1 / sqrt(squares);  // exceeds float32 for very short rows
  for (unsigned k = 0; k < d; ++k) {
    out[i * d + k] = squares == 0 ? row[k] : static_cast<float>(row[k] * inverse);
  }
}
