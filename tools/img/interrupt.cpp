#include "tools/img/interrupt.h"

#include <signal.h>

namespace xenblk::img {
namespace {

volatile std::sig_atomic_t signals_seen = 0;

void note_signal(int) {
  signals_seen = 1;
}

}  // namespace

bool is_ignored(int signal) {
  struct sigaction action = {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

InterruptGuard::InterruptGuard() {
  signals_seen = 0;
  struct sigaction action = {};
  action.sa_handler = &note_signal;  // without SA_RESTART
  for (std::size_t i = 0; i < kInterrupts.size(); ++i) {
    ::sigaction(kInterrupts[i], is_ignored(kInterrupts[i]) ? nullptr : &action, &before_[i]);
  }
}

InterruptGuard::~InterruptGuard() {
  for (std::size_t i = 0; i < kInterrupts.size(); ++i) {
    ::sigaction(kInterrupts[i], &before_[i], nullptr);
  }
}

bool InterruptGuard::interrupted() const {
  return signals_seen != 0;
}

}  // namespace xenblk::img
