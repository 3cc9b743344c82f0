#include "backend/platform/libxen/interrupt_steering.h"

#include <pthread.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <utility>

namespace xenblk::libxen {

InterruptSteering::InterruptSteering(std::uint32_t cpu, std::string directory)
    : cpu_(std::to_string(cpu)), directory_(std::move(directory)) {
  std::array<char, 16> thread = {};
  ::pthread_getname_np(::pthread_self(), thread.data(), thread.size());
  name_ = std::string("evtchn:") + thread.data();
}

void InterruptSteering::steer_new() {
  std::error_code error;
  std::filesystem::directory_iterator entry(directory_, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const auto& interrupt = entry->path();
    if (steered_.contains(interrupt.filename())) continue;
    std::error_code unknown;
    if (!std::filesystem::exists(interrupt / name_, unknown)) continue;
    std::ofstream(interrupt / "smp_affinity_list") << cpu_;
    steered_.insert(interrupt.filename());
  }
}

}  // namespace xenblk::libxen
