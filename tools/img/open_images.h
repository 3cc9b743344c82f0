// Opening images for a command, and giving them back. One thread.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "vhd/chain/parent_search.h"
#include "vhd/image_registry.h"
#include "vhd/operations/check.h"

namespace CLI {
class App;
}

namespace xenblk::img {

// How the parents of differencing images are found.
struct ChainOptions {
  std::vector<std::string> image_directories;
  bool raw_parent = false;
};

void add_chain_options(CLI::App& command, ChainOptions& options);

vhd::ParentPolicy parent_policy(const ChainOptions& options);

// All parents of the differencing image at `path`, the nearest first, open for reading.
Expected<vhd::Levels> open_parents(const std::string& path, const vhd::VhdLayout& layout,
                                   const ChainOptions& options);

// How a check of the image at `path` finds its parent.
vhd::CheckOptions check_options(const std::string& path, const ChainOptions& options);

// An image that is open; closes itself. Move-only; must not outlive its OpenImages.
class OpenImage {
 public:
  OpenImage(vhd::ImageRegistry& registry, std::shared_ptr<Image> image)
      : registry_(&registry), image_(std::move(image)) {}
  OpenImage(OpenImage&&) = default;
  OpenImage& operator=(OpenImage&&) = delete;
  ~OpenImage() {
    if (image_) static_cast<void>(registry_->close(std::move(image_)));
  }

  Image& operator*() const { return *image_; }
  Image* operator->() const { return image_.get(); }
  // Another hold on it, to be let go before this one closes.
  std::shared_ptr<Image> share() const { return image_; }

  // Where it matters that all of it is on stable storage.
  Expected<void> close() { return registry_->close(std::move(image_)); }

 private:
  vhd::ImageRegistry* registry_;
  std::shared_ptr<Image> image_;
};

class OpenImages {
 public:
  explicit OpenImages(const ChainOptions& options);
  Expected<OpenImage> open(const vhd::ImageSpec& spec, Access access);

 private:
  vhd::ImageRegistry registry_;
};

}  // namespace xenblk::img
