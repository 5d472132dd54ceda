#include "dispatch.hpp"

#include <atomic>
#include <cstdlib>

#include "kernels.hpp"
#include "waterfill/core/types.hpp"

#if defined(WATERFILL_X86)
#include <cpuid.h>
#endif

namespace waterfill {
namespace {

#if defined(WATERFILL_X86)
// Instruction sets that the CPU has and the operating system (or hypervisor) enables: XCR0 says
// which registers are saved.
struct Cpu {
  bool avx2 = false, avx512 = false, avx512_vbmi = false;

  Cpu() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    constexpr unsigned kOsxsave = 1u << 27, kAvx = 1u << 28;
    constexpr unsigned kF16c = 1u << 29;
    if ((c & kOsxsave) == 0 || (c & kAvx) == 0 || (c & kF16c) == 0) return;
    unsigned saved = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    constexpr unsigned kAvxState = 0x6, kAvx512State = 0xe6;
    if ((saved & kAvxState) != kAvxState || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    constexpr unsigned kAvx2 = 1u << 5;
    constexpr unsigned kAvx512 = 1u << 16 | 1u << 30 | 1u << 31;  // F, BW and VL
    constexpr unsigned kVnni = 1u << 11;  // CPUs without it lower their clock for 512-bit code
    avx2 = (b & kAvx2) != 0;
    avx512 = avx2 && (saved & kAvx512State) == kAvx512State && (b & kAvx512) == kAvx512 &&
             (c & kVnni) != 0;
    constexpr unsigned kVbmi = 1u << 1;
    avx512_vbmi = avx512 && (c & kVbmi) != 0;
  }
};
#endif

std::vector<const Kernels*> runnable() {
  std::vector<const Kernels*> list{&scalar_kernels()};
#if defined(WATERFILL_X86)
  static const Cpu cpu;
  if (cpu.avx2) list.push_back(&avx2_kernels());
  if (cpu.avx512) list.push_back(&avx512_kernels());
  if (cpu.avx512_vbmi) list.push_back(&avx512_vbmi_kernels());
#endif
#if defined(WATERFILL_ARM64)
  list.push_back(&neon_kernels());  // part of every 64-bit ARM
#endif
  return list;
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

const Kernels& find(const std::string& name, const char* argument) {
  for (const Kernels* table : runnable()) {
    if (name == table->isa) return *table;
  }
  throw InvalidArgument(
      std::string(argument) + " is '" + name +
      "', expected an instruction set that this machine supports: " + join(available_isas()));
}

std::atomic<const Kernels*> in_use{nullptr};

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Kernels* table : runnable()) names.emplace_back(table->isa);
  return names;
}

void select_isa(const std::string& name) {
  in_use.store(&find(name, "isa"));
}

const Kernels& kernels() {
  const Kernels* table = in_use.load(std::memory_order_acquire);
  if (table != nullptr) return *table;
  const char* requested = std::getenv("WATERFILL_ISA");
  table = requested != nullptr && *requested != '\0' ? &find(requested, "WATERFILL_ISA")
                                                     : runnable().back();
  in_use.store(table, std::memory_order_release);
  return *table;
}

}  // namespace waterfill
