#include "ringio/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cassert>
#include <utility>

namespace xenblk::ringio {

Expected<Mailbox> Mailbox::make() {
  const int descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (descriptor < 0) return fail_os(errno, "eventfd of a worker");
  return Mailbox(descriptor);
}

Mailbox::Mailbox(Mailbox&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {
  assert(other.tasks_.empty());
}

Mailbox::~Mailbox() {
  assert(tasks_.empty());
  if (descriptor_ >= 0) ::close(descriptor_);
}

void Mailbox::post(Task& task) noexcept {
  // The eventfd is written under the mutex: the owner, who may end the mailbox's life as soon as it
  // has run the last task, cannot get hold of that task before we are done with the descriptor.
  const std::lock_guard lock(mutex_);
  const bool was_empty = tasks_.empty();
  tasks_.push_back(task);
  has_mail_.store(true, std::memory_order_release);
  if (was_empty) {
    // Cannot fail: the counter of 64 bits is reset at every take().
    [[maybe_unused]] const int result = ::eventfd_write(descriptor_, 1);
    assert(result == 0);
  }
}

void Mailbox::take(TaskList& out) noexcept {
  const std::lock_guard lock(mutex_);
  if (tasks_.empty()) return;
  out.splice(out.end(), tasks_);
  has_mail_.store(false, std::memory_order_relaxed);
  eventfd_t count = 0;
  (void)::eventfd_read(descriptor_, &count);
}

}  // namespace xenblk::ringio
