// The control plane's loop and the thread for work that may block.
#include "backend/event_loop.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "backend/work_queue.h"

namespace xenblk::backend {
namespace {

TEST(EventLoop, RunsPostedWorkInOrder) {
  const auto loop = std::move(*EventLoop::make());
  std::string order;
  loop->post([&] { order += "a"; });
  loop->post([&] { order += "b"; });
  loop->post([&] { loop->stop(); });
  loop->run();
  EXPECT_EQ(order, "ab");
}

TEST(EventLoop, NeverRunsWorkInsidePost) {
  const auto loop = std::move(*EventLoop::make());
  bool inside = false, nested = false;
  loop->post([&] {
    inside = true;
    loop->post([&] { nested = inside, loop->stop(); });
    inside = false;
  });
  loop->run();
  EXPECT_FALSE(nested);
}

TEST(EventLoop, TakesWorkFromAnotherThread) {
  const auto loop = std::move(*EventLoop::make());
  std::thread other([&] { loop->post([&] { loop->stop(); }); });
  loop->run();
  other.join();
}

class Pipe {
 public:
  Pipe() { EXPECT_EQ(::pipe(ends_.data()), 0); }
  ~Pipe() { ::close(ends_[0]), ::close(ends_[1]); }
  int reader() const { return ends_[0]; }
  void fill() const { EXPECT_EQ(::write(ends_[1], "x", 1), 1); }

 private:
  std::array<int, 2> ends_{};
};

TEST(EventLoop, CallsForAReadableDescriptorUntilItIsForgotten) {
  const auto loop = std::move(*EventLoop::make());
  const Pipe pipe;
  pipe.fill();
  int calls = 0;
  loop->watch_descriptor(pipe.reader(), [&] {
    if (++calls < 3) return;
    loop->forget_descriptor(pipe.reader());
    loop->post([&] { loop->post([&] { loop->stop(); }); });
  });
  loop->run();
  EXPECT_EQ(calls, 3);
}

TEST(EventLoop, CallsNowAndThen) {
  const auto loop = std::move(*EventLoop::make());
  int calls = 0;
  loop->every(std::chrono::milliseconds(1), [&] {
    if (++calls == 2) loop->stop();
  });
  loop->run();
  EXPECT_EQ(calls, 2);
}

TEST(WorkQueue, FinishesAllWorkInOrderBeforeItEnds) {
  std::string order;
  {
    WorkQueue queue;
    for (const char* letter : {"a", "b", "c"}) queue.add([&order, letter] { order += letter; });
  }
  EXPECT_EQ(order, "abc");
}

}  // namespace
}  // namespace xenblk::backend
