// The host around the daemon: is there room for us, and who knows that we run.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "xenblk/error.h"

namespace xenblk::daemon {

inline constexpr const char* kStateDirectory = "/run/xenblk";
inline constexpr const char* kDriverDirectory = "/sys/bus/xen-backend/drivers";

// A kernel driver of the same name would take the devices from us, and we from it. Errors:
// unavailable, with what to do about it. `driver_directory` is a parameter for tests.
Expected<void> refuse_kernel_backend(const std::vector<std::string>& kinds,
                                     const std::string& driver_directory = kDriverDirectory);

// The number of this group. Errors: not_found.
Expected<gid_t> group_number(const std::string& name);

// Held for as long as the daemon runs; a second one is refused. Move-only.
class PidFile {
 public:
  // Makes the directory if need be. Errors: unavailable (another daemon runs, its pid is in the
  // text), io, permission.
  static Expected<PidFile> take(const std::string& directory);
  PidFile(PidFile&& other) noexcept;
  PidFile& operator=(PidFile&&) = delete;
  ~PidFile();

 private:
  PidFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  std::string path_;
  int descriptor_;
};

}  // namespace xenblk::daemon
