// Where old metadata is kept while or after an image is changed: a file beside the image, or in
// tests a part of the simulated disk. Control path, blocking.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "xenblk/error.h"

namespace xenblk::vhd {

class MetadataStore {
 public:
  virtual ~MetadataStore() = default;
  // On stable storage, whole, when it returns. Refused: there is something already.
  virtual Expected<void> save(std::span<const std::byte> bytes) = 0;
  // Nothing when nothing was saved.
  virtual Expected<std::optional<std::vector<std::byte>>> load() = 0;
  // Gone from stable storage when it returns.
  virtual Expected<void> remove() = 0;
};

// Not a link, and no larger than saved metadata may be.
class MetadataFile final : public MetadataStore {
 public:
  explicit MetadataFile(std::string path) : path_(std::move(path)) {}
  Expected<void> save(std::span<const std::byte> bytes) override;
  Expected<std::optional<std::vector<std::byte>>> load() override;
  Expected<void> remove() override;

 private:
  std::string path_;
};

// The journal of a change of the image at `path`: beside the file itself, whatever links lead to
// it.
std::string resize_journal_path(const std::string& path);

// A name beside the image at `path`, for what a repair replaces: the first that is not taken.
std::string free_backup_path(const std::string& path);

}  // namespace xenblk::vhd
