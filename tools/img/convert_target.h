// Where convert puts what it copies: a new file, or a block device that is overwritten.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "tools/img/interrupt.h"
#include "tools/img/progress.h"
#include "tools/img/target_file.h"
#include "xenblk/image.h"

namespace xenblk::img {

enum class TargetKind : std::uint8_t { raw, fixed, dynamic };

struct TargetPlan {
  std::string path;
  TargetKind kind = TargetKind::dynamic;
  std::optional<std::uint32_t> block_bytes;  // dynamic
  Existing existing = Existing::refused;
  ShowProgress show = ShowProgress::on_terminal;
};

// A size that is not known before the end: the target then holds the most that it can.
struct TargetSize {
  SectorCount sectors;
  bool known = true;
};
TargetSize largest_target(const TargetPlan& plan);

// Copies into the image that it is given, and tells how many sectors the disk has, which is less
// than the image where the size was not known.
using CopyInto = std::function<Expected<SectorCount>(Image& target)>;

// Makes the file, and takes it away again when `copy` fails.
Expected<void> make_and_fill(const TargetPlan& plan, TargetSize size, const CopyInto& copy);

Expected<void> fill_from_image(const TargetPlan& plan, Image& source,
                               const std::string& source_name);
Expected<void> overwrite(const TargetPlan& plan, Image& target, Image& source,
                         const std::string& source_name);

}  // namespace xenblk::img
