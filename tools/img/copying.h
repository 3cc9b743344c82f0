// A copy as a command runs it: to its end on an engine, with a progress bar, heeding signals.
#pragma once

#include <functional>
#include <string>

#include "ringio/uring_engine.h"
#include "tools/img/interrupt.h"
#include "tools/img/progress.h"
#include "vhd/operations/copy.h"

namespace xenblk::img {

struct Copying {
  Image& source;
  Image& target;
  ringio::UringEngine& engine;
  vhd::TargetContent target_content = vhd::TargetContent::zeroes;
  std::string source_name;
  std::string target_name;
  ShowProgress show = ShowProgress::on_terminal;
  bool size_known = true;                      // of the source
  const InterruptGuard* interrupts = nullptr;  // none: signals end the program
  std::function<void()> wake_on_stop = [] {};
};

// Errc::closed: interrupted.
Expected<void> copy_all(const Copying& copying);

}  // namespace xenblk::img
