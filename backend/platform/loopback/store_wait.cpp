#include "backend/platform/loopback/store_wait.h"

#include <poll.h>

#include <algorithm>
#include <chrono>

namespace xenblk::loopback {
namespace {

using Time = std::chrono::steady_clock;

// Also a bound on how long a wake-up that went to somebody else can delay us.
constexpr std::int64_t kNapMsMax = 100;

std::int64_t left_ms(Time::time_point deadline) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Time::now()).count();
}

}  // namespace

bool wait_until(const std::function<bool()>& step, int fd, const Patience& patience) {
  const auto deadline = Time::now() + std::chrono::milliseconds(patience.timeout_ms);
  while (!step()) {
    const auto left = left_ms(deadline);
    if (left <= 0) return false;
    if (patience.pump) {
      patience.pump();
      continue;
    }
    pollfd wanted{.fd = fd, .events = POLLIN, .revents = 0};
    ::poll(&wanted, 1, static_cast<int>(std::min(left, kNapMsMax)));
  }
  return true;
}

NodeValue read_node(XenStore& store, std::string_view path) {
  auto value = store.read(path);
  if (!value) return std::nullopt;
  return std::move(*value);
}

bool wait_for_node(XenStore& store, std::string_view path,
                   const std::function<bool(const NodeValue&)>& accept, const Patience& patience) {
  const std::string token = "wait";
  if (!store.watch(path, token)) return false;
  const auto step = [&] {
    for (auto event = store.next_event(); event && *event;) event = store.next_event();
    return accept(read_node(store, path));
  };
  const bool accepted = wait_until(step, store.fd(), patience);
  store.unwatch(path, token);
  return accepted;
}

}  // namespace xenblk::loopback
