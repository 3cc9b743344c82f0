// Runs an operation of vhd/operations to its end on an engine of its own, for a program that has
// nothing else to do meanwhile.
#pragma once

#include <chrono>

#include "ringio/uring_engine.h"
#include "tools/img/interrupt.h"

namespace xenblk::img {

inline Expected<std::unique_ptr<ringio::UringEngine>> make_engine() {
  return ringio::UringEngine::make({});
}

// A signal between looking and waiting is seen this much later.
inline constexpr std::chrono::milliseconds kPatience{100};

// `Operation` is a Copy or what looks like one. Without `guard` signals end the program. `on_stop`
// wakes what the operation waits for.
template <class Operation, class OnStop>
void run_to_end(ringio::LoopEngine& engine, Operation& operation, const InterruptGuard* guard,
                const OnStop& on_stop) {
  operation.start();
  bool stopped = false;
  while (!operation.is_finished()) {
    if (guard != nullptr && !stopped && guard->interrupted()) {
      stopped = true;
      operation.stop();
      on_stop();
    }
    engine.turn(kPatience);
  }
}

// Of an operation that was ended by a signal, that is all there is to say.
inline std::unexpected<Error> interrupted() {
  return fail(Errc::closed, "interrupted");
}

}  // namespace xenblk::img
