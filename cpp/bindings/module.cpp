// The Python module of the core.
#include "arrays.hpp"

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled core of waterfill.";
  waterfill::bind_runtime(m);
  waterfill::bind_analysis(m);
  waterfill::bind_plan(m);
  waterfill::bind_codec(m);
  waterfill::bind_training(m);
  waterfill::bind_index(m);
  waterfill::bind_graph(m);
  waterfill::bind_folder(m);
  waterfill::bind_drift(m);
  waterfill::bind_serving(m);
}
