// What the daemon may still do once it runs, should an attacker ever get code of his own into it.
// docs/confinement.md is the whole picture; each part can be turned off by itself.
#pragma once

#include <string>
#include <vector>

#include "xenblk/error.h"

namespace spdlog {
class logger;
}

namespace xenblk::daemon {

struct ConfinementOptions {
  // Who to become when such a user exists; empty: stay who we are.
  std::string user = "xenblk";
  bool capabilities = true;
  bool file_system = true;
  bool system_calls = true;
  // Beneath which images may be opened: files or directories, absolute. Never empty with
  // `file_system`.
  std::vector<std::string> image_roots;
  // May be read besides: where parents lie.
  std::vector<std::string> parent_directories;
  // May be read besides: the configuration, where it is not at its usual place.
  std::vector<std::string> configuration_directories;
  // May be changed as one likes besides: where statistics are left for other programs, and
  // journals elsewhere than in `state_directory`.
  std::vector<std::string> statistics_directories;
  // Is given to the user, and may be changed as one likes.
  std::string state_directory;
  // Numbers of system calls that are allowed too. The daemon has none: these are for simulations
  // that have guests inside the process.
  std::vector<int> more_system_calls = {};
};

// Once, before the process has a second thread: what the kernel keeps for each thread is inherited
// by those that come later. A kernel without Landlock is a warning. Errors: unavailable,
// permission, with the setting that turns the part off.
Expected<void> confine_before_threads(const ConfinementOptions& options, spdlog::logger& log);

// Once all threads, rings and handles are there; holds for all threads.
Expected<void> confine_after_start(const ConfinementOptions& options);

// Where images may lie on a host that says nothing about it: all that is at the top of the file
// system but what makes up the host itself (programs, /etc, /root, /var...), block devices, and the
// directories where Xen's toolstacks keep images.
std::vector<std::string> usual_image_roots(const std::string& top = "/");

}  // namespace xenblk::daemon
