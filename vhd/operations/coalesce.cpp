#include "vhd/operations/coalesce.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "vhd/aligned_buffer.h"
#include "vhd/new_file.h"
#include "vhd/open_image.h"
#include "vhd/operations/children.h"
#include "vhd/operations/journaled_change.h"
#include "vhd/operations/merge_parent.h"
#include "vhd/operations/relink.h"
#include "vhd/operations/resize.h"
#include "vhd/operations/successor.h"
#include "vhd/read_vhd.h"

namespace xenblk::vhd {
namespace {

namespace fs = std::filesystem;

Error named(const std::string& path, Error error) {
  error.text = path + ": " + error.text;
  return error;
}

struct Parent {
  std::string path;
  Format format = Format::vhd;
  Uuid uuid = {};  // all zeroes: raw
  SectorCount capacity;
  std::optional<std::string> successor;  // in which its disk goes on
};

// One merge. The child's file stays open, and with it locked, until it is removed.
class Coalesce {
 public:
  Coalesce(std::string path, const ParentPolicy& policy)
      : path_(std::move(path)), policy_(policy) {}

  Expected<void> run(const CopyLayer& copy) {
    if (auto ok = open_child(); !ok) return ok;
    if (auto ok = find_parent(); !ok) return ok;
    const auto grandchildren = find_grandchildren();
    if (!grandchildren) return std::unexpected(grandchildren.error());
    if (auto ok = refuse_siblings(); !ok) return ok;
    if (auto ok = fit_parent(); !ok) return ok;
    if (auto ok = merge(copy); !ok) return ok;
    if (!grandchildren->empty()) {
      if (auto ok = forget_blocks(*child_file_); !ok) {
        return std::unexpected(named(path_, ok.error()));
      }
    }
    for (const auto& one : *grandchildren) {
      if (auto ok = relink(one); !ok) return std::unexpected(named(one, ok.error()));
    }
    if (::unlink(path_.c_str()) != 0) return fail_os(errno, path_);
    return sync_directory_of(path_);
  }

 private:
  Expected<void> open_child() {
    auto file = open_host_file(path_, {.access = Access::read_write});
    if (!file) return std::unexpected(file.error());
    if (auto ok = recover_host_image(**file, path_); !ok) {
      return std::unexpected(named(path_, ok.error()));
    }
    auto contents = read_vhd(**file);
    if (!contents) return std::unexpected(named(path_, contents.error()));
    const auto& footer = contents->footers().chosen;
    if (footer.type != DiskType::differencing) {
      return fail(Errc::refused, path_ + ": has no parent to be merged into");
    }
    if (footer.saved_state) {
      return fail(Errc::refused, path_ + ": belongs to a saved state, which a merge would break");
    }
    uuid_ = footer.uuid;
    capacity_ = contents->capacity;
    reference_ = parent_reference(*contents->layout);
    stores_blocks_ = std::ranges::any_of(contents->layout->entries,
                                         [](auto entry) { return entry != kUnusedBlock; });
    physical_bytes_ = (*file)->physical_sector_bytes();
    file_ = std::move(*file);
    child_file_ = file_.get();
    return {};
  }

  Expected<Levels> open_parents(const std::string& path, const ParentReference& reference) const {
    ParentSearch search(policy_, [](const FileIdentity&) { return std::nullopt; });
    return search.open(path, reference);
  }

  // The parents are let go again: the nearest one is to be written.
  Expected<void> find_parent() {
    const auto levels = open_parents(path_, reference_);
    if (!levels) return std::unexpected(levels.error());
    const auto& nearest = *levels->front();
    auto path = path_of(nearest.file());
    if (!path) return std::unexpected(path.error());
    parent_ = {.path = std::move(*path), .capacity = nearest.facts().capacity};
    if (levels->size() > 1) below_ = (*levels)[1]->facts().capacity;
    if (nearest.facts().uuid) {
      parent_.uuid = *nearest.facts().uuid;
      parent_.successor = successor_of(nearest.file(), parent_.path);
    } else {
      parent_.format = Format::raw;
    }
    return {};
  }

  std::vector<std::string> directories() const {
    auto all = policy_.directories;
    for (const auto& path : {path_, parent_.path}) all.push_back(fs::path(path).parent_path());
    return all;
  }

  // What names a parent without an id means a raw disk: of this image there are none then.
  Expected<std::vector<std::string>> find_grandchildren() const {
    if (uuid_ == Uuid{}) return std::vector<std::string>{};
    return find_children({uuid_, path_}, directories(), path_);
  }

  Expected<void> refuse_siblings() const {
    if (!stores_blocks_) return {};
    auto siblings = find_children({parent_.uuid, parent_.path}, directories(), path_);
    if (!siblings) return std::unexpected(siblings.error());
    std::error_code ignored;
    if (parent_.successor && !fs::equivalent(*parent_.successor, path_, ignored)) {
      siblings->push_back(*parent_.successor);
    }
    if (siblings->empty()) return {};
    return fail(Errc::refused, fmt::format("{}: is the parent of {} too, which would change",
                                           parent_.path, siblings->front()));
  }

  Expected<void> fit_parent() const {
    const auto grows = parent_must_grow({.child_path = path_,
                                         .child = capacity_,
                                         .parent_path = parent_.path,
                                         .parent = parent_.capacity,
                                         .parent_is_vhd = parent_.format == Format::vhd,
                                         .below = below_});
    if (!grows) return std::unexpected(grows.error());
    return *grows ? grow_parent() : Expected<void>{};
  }

  Expected<void> grow_parent() const {
    const auto file = open_host_file(parent_.path, {.access = Access::read_write});
    if (!file) return std::unexpected(file.error());
    if (auto ok = recover_host_image(**file, parent_.path); !ok) {
      return std::unexpected(named(parent_.path, ok.error()));
    }
    MetadataFile journal(resize_journal_path(parent_.path));
    auto grown = resize_image(**file, capacity_, journal);
    if (!grown) return std::unexpected(named(parent_.path, grown.error()));
    return {};
  }

  // A child of the child becomes one of the parent.
  Expected<void> relink(const std::string& path) const {
    struct stat status = {};
    if (::stat(parent_.path.c_str(), &status) != 0) return fail_os(errno, parent_.path);
    const auto relative =
        fs::path(parent_.path).lexically_relative(fs::path(path).parent_path()).string();
    const ParentLink link{.uuid = parent_.uuid,
                          .changed = vhd_time(static_cast<std::uint64_t>(status.st_mtime)),
                          .place = {relative, parent_.path}};
    const auto file = open_host_file(path, {.access = Access::read_write});
    if (!file) return std::unexpected(file.error());
    if (auto ok = recover_host_image(**file, path); !ok) return ok;
    MetadataFile journal(resize_journal_path(path));
    return relink_child(**file, link, journal);
  }

  Expected<void> merge(const CopyLayer& copy) {
    const auto parent = open_parent();
    if (!parent) return std::unexpected(parent.error());
    auto merged = merge_into(**parent, copy);
    auto finished = (*parent)->finish();
    if (!merged) return merged;
    if (!finished) return std::unexpected(named(parent_.path, finished.error()));
    return {};
  }

  Expected<std::unique_ptr<Image>> open_parent() const {
    auto file = open_host_file(parent_.path, {.access = Access::read_write});
    if (!file) return std::unexpected(file.error());
    if (parent_.format == Format::vhd) {
      if (auto ok = recover_host_image(**file, parent_.path); !ok) {
        return std::unexpected(named(parent_.path, ok.error()));
      }
    }
    const auto physical_bytes = (*file)->physical_sector_bytes();
    auto image = open_image(
        parent_.format, std::move(*file), physical_bytes,
        [&](const ParentReference& reference) { return open_parents(parent_.path, reference); });
    if (!image) return std::unexpected(named(parent_.path, image.error()));
    return image;
  }

  // The child without its parents: what it does not store itself reads as zeroes, and is known to.
  Expected<void> merge_into(Image& parent, const CopyLayer& copy) {
    auto child = open_vhd_image(std::move(file_), physical_bytes_, {},
                                [](const ParentReference&) { return Levels{}; });
    if (!child) return std::unexpected(named(path_, child.error()));
    child_ = std::move(*child);
    return copy(*child_, parent, parent_.path);
  }

  const std::string path_;
  const ParentPolicy policy_;
  std::unique_ptr<HostFile> file_;  // until it is in child_
  File* child_file_ = nullptr;
  std::unique_ptr<Image> child_;
  std::uint32_t physical_bytes_ = kSectorBytes;
  Uuid uuid_ = {};
  SectorCount capacity_;
  ParentReference reference_;
  bool stores_blocks_ = false;
  Parent parent_;
  SectorCount below_;  // the parent's parent
};

}  // namespace

Expected<void> coalesce_host_image(const std::string& child_path, const ParentPolicy& parents,
                                   const CopyLayer& copy) {
  std::error_code error;
  const auto path = fs::canonical(child_path, error);
  if (error) return fail_os(error.value(), child_path);
  return Coalesce(path.string(), parents).run(copy);
}

Expected<void> forget_blocks(File& child) {
  auto footers = read_footers(child);
  if (!footers) return std::unexpected(footers.error());
  const auto layout = read_vhd_layout(child, std::move(*footers));
  if (!layout) return std::unexpected(layout.error());
  const AlignedBuffer table(layout->entries.size() * sizeof(std::uint32_t));
  std::ranges::fill(table.all(), std::byte{0xff});
  return write_and_sync(child, layout->header.table_offset, table.all());
}

}  // namespace xenblk::vhd
