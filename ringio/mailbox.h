// Tasks from other threads. A list under a mutex that is held for a few instructions, and an
// eventfd that wakes the owner; not on the way of a normal request.
#pragma once

#include <atomic>
#include <mutex>

#include "xenblk/error.h"
#include "xenblk/io.h"

namespace xenblk::ringio {

class Mailbox {
 public:
  static Expected<Mailbox> make();
  // Only before anybody knows it.
  Mailbox(Mailbox&& other) noexcept;
  Mailbox& operator=(Mailbox&&) = delete;
  ~Mailbox();

  // Any thread.
  void post(Task& task) noexcept;

  // Owner only. Moves everything that is there to the end of `out`.
  void take(TaskList& out) noexcept;
  bool may_have_mail() const noexcept { return has_mail_.load(std::memory_order_acquire); }
  // Readable when there is mail; take() makes it unreadable again.
  int descriptor() const noexcept { return descriptor_; }

 private:
  explicit Mailbox(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
  std::mutex mutex_;
  TaskList tasks_;
  std::atomic<bool> has_mail_ = false;
};

}  // namespace xenblk::ringio
