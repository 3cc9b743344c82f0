// What the loopback Xen does when its caller breaks a rule: that is our own bug, so the program
// stops with a line that names the rule. Nothing here is ever used for what a guest, a fault or a
// test's data can cause.
#pragma once

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace xenblk::loopback {

[[noreturn]] inline void own_bug(const char* rule) {
  std::fprintf(stderr, "loopback Xen: the caller broke a rule: %s\n", rule);
  std::abort();
}

inline void require(bool holds, const char* rule) {
  if (!holds) own_bug(rule);
}

// Notices two threads inside one handle. It does not serialise them: the second one is the bug.
class SingleCaller {
 public:
  class Inside {
   public:
    explicit Inside(SingleCaller& caller) : caller_(caller) {
      require(!caller_.busy_.exchange(true, std::memory_order_acquire),
              "one thread at a time uses a handle");
    }
    ~Inside() { caller_.busy_.store(false, std::memory_order_release); }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    SingleCaller& caller_;
  };

 private:
  std::atomic<bool> busy_ = false;
};

}  // namespace xenblk::loopback
