#include "tools/img/interrupt.h"

#include <signal.h>

namespace xenblk::img {
namespace {

volatile std::sig_atomic_t signals_seen = 0;

void note_signal(int) {
  signals_seen = 1;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  signals_seen = 0;
  struct sigaction action = {};
  action.sa_handler = &note_signal;  // without SA_RESTART
  ::sigaction(SIGINT, &action, &before_int_);
  ::sigaction(SIGTERM, &action, &before_term_);
}

InterruptGuard::~InterruptGuard() {
  ::sigaction(SIGINT, &before_int_, nullptr);
  ::sigaction(SIGTERM, &before_term_, nullptr);
}

bool InterruptGuard::interrupted() const {
  return signals_seen != 0;
}

}  // namespace xenblk::img
