// Reading scattered rows of a mapped file ahead: a disk serves many requests at once much faster
// than one after the other.
//
// Asking costs a system call per row, which is wasted if the rows are in memory already. So a
// thread asks only after it had to wait for a page.
#pragma once

namespace waterfill {

// Whether this thread should request the rows that it is about to read.
class ReadAhead {
 public:
  ReadAhead() noexcept;
  // To be called after a row has been read; true if rows should be requested from now on.
  bool wanted() noexcept;

 private:
  long reads_;
};

}  // namespace waterfill
