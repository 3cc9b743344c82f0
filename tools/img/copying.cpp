#include "tools/img/copying.h"

#include "tools/img/drive.h"

namespace xenblk::img {

Expected<void> copy_all(const Copying& copying) {
  ProgressBar bar("copied", copying.show);
  vhd::CopyOptions options;
  options.target_content = copying.target_content;
  options.source_name = copying.source_name;
  options.target_name = copying.target_name;
  options.on_progress = [&](const vhd::CopyProgress& progress) {
    const auto total = copying.size_known ? progress.total.n : 0;
    bar.update({progress.done.n, total, progress.read_bytes});
  };
  vhd::Copy copy(copying.source, copying.target, copying.engine, std::move(options));
  run_to_end(copying.engine, copy, copying.interrupts, copying.wake_on_stop);
  const bool was_interrupted = copying.interrupts != nullptr && copying.interrupts->interrupted();
  if (!copy.result() && was_interrupted) return interrupted();
  return copy.result();
}

}  // namespace xenblk::img
