#include "backend/daemon/launch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace xenblk::daemon {

namespace {

constexpr char kReady = '+';

// What the child has to say; empty when it died without a word.
std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 512> buffer{};
  while (true) {
    const auto length = ::read(descriptor, buffer.data(), buffer.size());
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(length));
  }
}

[[noreturn]] void wait_for_child(int descriptor) {
  const auto text = read_all(descriptor);
  if (text == std::string(1, kReady)) ::_exit(0);
  fmt::print(stderr, "xenblkd: {}\n", text.empty() ? "died while starting" : text);
  std::fflush(stderr);
  ::_exit(1);
}

void detach_from_terminal() {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, standard);
  ::close(null);
}

}  // namespace

Mode choose_mode(bool debug) {
  if (debug) return Mode::foreground;
  return std::getenv("NOTIFY_SOCKET") != nullptr ? Mode::supervised : Mode::background;
}

Launch::Launch(Mode mode) : mode_(mode) {
  if (mode != Mode::background) return;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
  const auto child = ::fork();
  if (child > 0) {
    ::close(ends[1]);
    wait_for_child(ends[0]);
  }
  ::close(ends[0]);
  to_parent_ = ends[1];
  // Without a child the daemon stays where it is, which is no worse than not starting.
  if (child == 0) ::setsid();
}

Launch::~Launch() {
  if (to_parent_ >= 0) ::close(to_parent_);
}

void Launch::tell_parent(const std::string& text) {
  if (to_parent_ < 0) return;
  [[maybe_unused]] const auto written = ::write(to_parent_, text.data(), text.size());
  ::close(to_parent_);
  to_parent_ = -1;
}

void Launch::ready() {
  if (mode_ == Mode::supervised) ::sd_notify(0, "READY=1");
  if (mode_ != Mode::background) return;
  tell_parent(std::string(1, kReady));
  detach_from_terminal();
}

int Launch::failed(const std::string& reason) {
  if (to_parent_ >= 0) {
    tell_parent(reason);
  } else {
    fmt::print(stderr, "xenblkd: {}\n", reason);
  }
  return 1;
}

}  // namespace xenblk::daemon
