// A small coverage-guided driver for a fuzz target, for compilers without libFuzzer.
//
// The core is compiled with -fsanitize-coverage=trace-pc, so every basic block calls back here.
// Pairs of consecutive blocks are counted as in AFL; an input that reaches a new pair, or a known
// one more often than before (in powers of two), joins the corpus. The seeds and the random numbers
// are the same in each run. An input that ends the process is written to the folder for findings
// before it runs. Without the compiler's flag, mutations of the seeds run unguided.
#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "file_mutator.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using waterfill::Bytes;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kPairs = 1u << 16, kMaxBytes = 1u << 17;

std::array<std::uint8_t, kPairs> counts;  // of the current input
std::array<std::uint8_t, kPairs> seen;    // by pair: powers of two of its counts so far, as bits
thread_local std::size_t previous = 0;

Bytes read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    std::exit(2);
  }
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_bytes(const std::filesystem::path& path, const Bytes& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

// Whether the last input did something new.
bool is_new() {
  bool found = false;
  for (std::size_t i = 0; i < kPairs; ++i) {
    if (counts[i] == 0) continue;
    const auto bit = static_cast<std::uint8_t>(std::bit_floor(counts[i]));
    found = found || (seen[i] & bit) == 0;
    seen[i] |= bit;
  }
  return found;
}

bool run(const Bytes& input) {
  counts.fill(0);
  previous = 0;
  LLVMFuzzerTestOneInput(input.data(), input.size());
  return is_new();
}

void fuzz(double seconds, const std::string& seeds, const std::string& findings,
          std::uint64_t start) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(seeds)) {
    if (entry.path().extension() == ".wf") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> corpus;
  for (const auto& path : paths) {
    corpus.push_back(read_bytes(path));
    run(corpus.back());
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "no .wf file in %s\n", seeds.c_str());
    std::exit(2);
  }
  waterfill::Random random(start);
  const auto pick = [&]() -> const Bytes& { return corpus[random.next() % corpus.size()]; };
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  std::size_t runs = 0, accepted = corpus.size();
  for (; Clock::now() < end; ++runs) {
    Bytes input = waterfill::mutated(pick(), pick(), random);
    if (input.size() > kMaxBytes) continue;
    if (!findings.empty()) write_bytes(std::filesystem::path(findings) / "last.wf", input);
    if (run(input)) corpus.push_back(std::move(input));
  }
  const auto pairs = std::count_if(seen.begin(), seen.end(), [](auto bits) { return bits != 0; });
  std::printf("%zu runs, %zu seeds, %zu inputs kept, %td pairs of blocks reached\n", runs, accepted,
              corpus.size() - accepted, pairs);
}

}  // namespace

extern "C" void __sanitizer_cov_trace_pc() {
  const auto block = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  const std::size_t hash = (block ^ block >> 16) % kPairs;
  std::uint8_t& count = counts[(hash ^ previous) % kPairs];
  count = static_cast<std::uint8_t>(count + (count < 255 ? 1 : 0));
  previous = hash >> 1;
}

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  if (words.size() >= 2 && words.size() <= 4 && std::filesystem::is_directory(words[1])) {
    fuzz(std::strtod(words[0].c_str(), nullptr), words[1], words.size() > 2 ? words[2] : "",
         words.size() > 3 ? std::strtoull(words[3].c_str(), nullptr, 10) : 1);
    return 0;
  }
  for (const std::string& path : words) run(read_bytes(path));
  std::printf("%zu inputs\n", words.size());
}
