// A parent: a file that differencing images are based on, open and never written. Shared by all
// children in this process. Any thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "vhd/block_level.h"
#include "vhd/format/parent_locator.h"
#include "vhd/image_spec.h"

namespace xenblk::vhd {

// What a differencing image says of the image that it is based on.
struct ParentReference {
  Uuid uuid = {};
  VhdTime changed;
  std::vector<ParentPath> paths;  // in the order in which they are tried

  // blktap's mark of a parent that is no VHD.
  bool is_raw() const { return uuid == Uuid{}; }
};

class Level {
 public:
  struct Facts {
    SectorCount capacity;
    std::optional<Uuid> uuid;  // none: raw
    VhdTime created;
    std::optional<ParentReference> parent;  // of a differencing image
  };
  // Without `layout`: sector n of the disk is sector n of the file.
  Level(std::unique_ptr<File> file, Facts facts, const VhdLayout* layout,
        std::uint64_t bitmap_budget_bytes)
      : file_(std::move(file)), facts_(std::move(facts)) {
    if (layout != nullptr) blocks_.emplace(*file_, *layout, bitmap_budget_bytes);
  }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

  const Facts& facts() const { return facts_; }
  File& file() const { return *file_; }
  BlockLevel* blocks() { return blocks_ ? &*blocks_ : nullptr; }

 private:
  std::unique_ptr<File> file_;
  const Facts facts_;
  std::optional<BlockLevel> blocks_;
};

using Levels = std::vector<std::shared_ptr<Level>>;  // the nearest parent first

// Takes the file over. `bitmap_budget_bytes`: for the bitmaps of partial blocks. Errors as
// open_vhd_image(); the text does not name the file.
Expected<std::shared_ptr<Level>> open_level(std::unique_ptr<File> file, Format format,
                                            std::uint64_t bitmap_budget_bytes);

ParentReference parent_reference(const VhdLayout& layout);

}  // namespace xenblk::vhd
