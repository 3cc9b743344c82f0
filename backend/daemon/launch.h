// From the shell's child to a service: the command returns when the daemon is serving, or says why
// not.
#pragma once

#include <cstdint>
#include <string>

namespace xenblk::daemon {

enum class Mode : std::uint8_t {
  foreground,  // -D
  supervised,  // started by systemd, which is told about readiness
  background,  // started from a shell: detaches itself
};

Mode choose_mode(bool debug);

// In background mode the constructor forks; the parent waits for ready() or failed() and exits with
// the result. To be made before any thread or handle exists.
class Launch {
 public:
  explicit Launch(Mode mode);
  ~Launch();
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  // The daemon serves now.
  void ready();
  // It cannot. Prints one line; returns the exit status.
  int failed(const std::string& reason);

 private:
  void tell_parent(const std::string& text);
  const Mode mode_;
  int to_parent_ = -1;
};

}  // namespace xenblk::daemon
