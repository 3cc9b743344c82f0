// Merging a child into its parent while its disk runs: which files may be, how they are opened and
// locked, and what takes the child's place. The copying is MergingImage's.
#include <algorithm>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "vhd/image_registry.h"
#include "vhd/merging_image.h"
#include "vhd/new_file.h"
#include "vhd/open_image.h"
#include "vhd/operations/children.h"
#include "vhd/operations/merge_parent.h"
#include "vhd/operations/resize.h"
#include "vhd/operations/successor.h"

namespace xenblk::vhd {
namespace {

std::unexpected<Error> named(const std::string& path, Error error) {
  error.text = path + ": " + error.text;
  return std::unexpected(std::move(error));
}

// The parent's lock for reading, which its child's chain holds, gives way to one for writing, and
// comes back unless that is kept.
class LockForWriting {
 public:
  explicit LockForWriting(HostFile& reader) : reader_(reader) {}
  ~LockForWriting() {
    if (!kept_) static_cast<void>(reader_.lock_again());
  }
  LockForWriting(const LockForWriting&) = delete;
  LockForWriting& operator=(const LockForWriting&) = delete;
  void keep() { kept_ = true; }

 private:
  HostFile& reader_;
  bool kept_ = false;
};

Expected<void> grow(HostFile& file, const std::string& path, SectorCount capacity) {
  MetadataFile journal(resize_journal_path(path));
  auto grown = resize_image(file, capacity, journal);
  if (grown) return {};
  static_cast<void>(recover_resize(file, journal));
  return named(path, grown.error());
}

}  // namespace

Expected<ImageRegistry::MergeParent> ImageRegistry::open_merge_parent(
    const std::shared_ptr<Image>& child) {
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = find(child);
    if (entry == entries_.end()) {
      return fail(Errc::unsupported_image, "not an image of a file");
    }
    if (auto sole = sole_writer(*entry, child); !sole) return std::unexpected(sole.error());
    path = entry->path;
  }
  auto* const dynamic = dynamic_cast<DynamicImage*>(child.get());
  if (dynamic == nullptr || dynamic->parents().empty()) {
    return fail(Errc::refused, path + ": has no parent to be merged into");
  }
  return open_for_merge(*dynamic, path);
}

Expected<ImageRegistry::MergeParent> ImageRegistry::open_for_merge(DynamicImage& child,
                                                                   const std::string& child_path) {
  const auto& level = child.parents().front();
  auto& reader = dynamic_cast<HostFile&>(level->file());
  const auto path = path_of(reader);
  if (!path) return std::unexpected(path.error());
  if (auto ok = check_merge(child, child_path, *path); !ok) return std::unexpected(ok.error());
  const bool is_vhd = level->facts().uuid.has_value();
  const auto grows = parent_must_grow(
      {.child_path = child_path,
       .child = child.capacity(),
       .parent_path = *path,
       .parent = level->facts().capacity,
       .parent_is_vhd = is_vhd,
       .below = child.parents().size() > 1 ? child.parents()[1]->facts().capacity : SectorCount{}});
  if (!grows) return std::unexpected(grows.error());
  LockForWriting lock(reader);
  if (auto unlocked = reader.unlock(); !unlocked) return std::unexpected(unlocked.error());
  auto file =
      open_host_file(*path, {.access = Access::read_write, .direct_io = options_.direct_io});
  if (!file) return std::unexpected(file.error());
  if ((*file)->identity() != reader.identity()) {
    return fail(Errc::io, *path + ": is another file now than the one that is open");
  }
  if (*grows) {
    if (auto grown = grow(**file, *path, child.capacity()); !grown) {
      return std::unexpected(grown.error());
    }
  }
  const auto physical_bytes = (*file)->physical_sector_bytes();
  const auto format = is_vhd ? Format::vhd : Format::raw;
  auto image =
      open_image(format, std::move(*file), physical_bytes,
                 [&](const ParentReference& parent) { return parents_.open(*path, parent); });
  if (!image) return named(*path, image.error());
  if ((*image)->capacity() != child.capacity()) {
    return fail(Errc::bad_image, *path + ": does not have the size that it should have");
  }
  parents_.forget(reader.identity());
  lock.keep();
  return MergeParent{std::move(*image), {format, *path, {}}};
}

// Another child, open here or lying beside them, would see its parent change.
Expected<void> ImageRegistry::check_merge(DynamicImage& child, const std::string& child_path,
                                          const std::string& parent_path) const {
  const auto& level = child.parents().front();
  if (level.use_count() > 1) {
    return fail(Errc::refused, parent_path + ": is the parent of another open image too");
  }
  if (auto placed = roots_.check_new(parent_path); !placed) return placed;
  const auto identity = identify_host_file(child_path);
  if (!identity) return std::unexpected(identity.error());
  const auto file = look_at(child_path, *identity);
  if (!file) return std::unexpected(file.error());
  const auto footers = read_footers(**file);
  if (!footers) return named(child_path, footers.error());
  if (footers->chosen.saved_state) {
    return fail(Errc::refused,
                child_path + ": belongs to a saved state, which a merge would break");
  }
  auto directories = options_.image_directories;
  for (const auto& path : {child_path, parent_path}) {
    directories.push_back(std::filesystem::path(path).parent_path());
  }
  std::error_code ignored;
  const auto real = std::filesystem::canonical(child_path, ignored).string();
  const auto siblings =
      find_children({level->facts().uuid.value_or(Uuid{}), parent_path}, directories, real);
  if (!siblings) return std::unexpected(siblings.error());
  if (siblings->empty()) return {};
  return fail(Errc::refused, fmt::format("{}: is the parent of {} too, which would change",
                                         parent_path, siblings->front()));
}

Changed ImageRegistry::begin_merge(std::shared_ptr<Image>&& child, MergeParent parent) {
  auto given = std::move(child);
  {
    const std::lock_guard lock(mutex_);
    const auto entry = find(given);
    if (entry != entries_.end() && entry->users == 1) {
      // A reader that comes later would get what is shown now, without the merge.
      entry->view.reset();
      entry->image = std::make_shared<MergingImage>(std::move(given), std::move(parent.image));
      entry->merges_into = std::move(parent.spec);
      return {entry->image, {}};
    }
  }
  close_merge_parent(dynamic_cast<DynamicImage&>(*given), std::move(parent));
  return {std::move(given), fail(Errc::refused, "another disk uses it too")};
}

// The child's chain has it for reading again.
void ImageRegistry::close_merge_parent(DynamicImage& child, MergeParent parent) {
  parent.image.reset();
  const auto& level = child.parents().front();
  auto& reader = dynamic_cast<HostFile&>(level->file());
  static_cast<void>(reader.lock_again());
  parents_.remember(reader.identity(), level);
}

// The note goes before `params` name the parent: whoever dies after that leaves the child behind,
// which must not keep the disk from being opened.
Expected<void> ImageRegistry::settle_merge(const std::shared_ptr<Image>& merging) {
  if (auto ok = dynamic_cast<MergingImage&>(*merging).settle(); !ok) return ok;
  const auto parent = merge_target(merging);
  if (!parent) return fail(Errc::refused, "it is not being merged");
  auto noted = take_successor_note(*parent);
  if (!noted) return std::unexpected(noted.error());
  const std::lock_guard lock(mutex_);
  find(merging)->successor = std::move(*noted);
  return {};
}

std::optional<std::string> ImageRegistry::merge_target(const std::shared_ptr<Image>& merging) {
  const std::lock_guard lock(mutex_);
  const auto entry = find(merging);
  if (entry == entries_.end() || !entry->merges_into) return {};
  return entry->merges_into->path;
}

// The child is not finished: what would be tidied up goes.
Changed ImageRegistry::end_merge(std::shared_ptr<Image>&& merging) {
  const auto given = std::move(merging);
  const auto both = std::dynamic_pointer_cast<MergingImage>(given);
  const std::lock_guard lock(mutex_);
  const auto entry = find(given);
  if (both == nullptr || entry == entries_.end() || !entry->merges_into) {
    return {given, fail(Errc::refused, "it is not being merged")};
  }
  const auto child_path = std::exchange(entry->path, entry->merges_into->path);
  entry->format = entry->merges_into->format;
  entry->merges_into.reset();
  entry->successor.reset();
  entry->image = both->parent();
  if (const auto identity = identify_host_file(entry->path)) entry->identity = *identity;
  std::error_code error;
  std::filesystem::remove(child_path, error);
  if (!error) static_cast<void>(sync_directory_of(child_path));
  return {entry->image, {}};
}

Changed ImageRegistry::abort_merge(std::shared_ptr<Image>&& merging) {
  if (const auto parent = merge_target(merging)) {
    std::optional<std::string> noted;
    {
      const std::lock_guard lock(mutex_);
      noted = std::exchange(find(merging)->successor, {});
    }
    if (noted) static_cast<void>(note_successor(*parent, *noted));
  }
  return exchange(std::move(merging), [](const ImageSpec& closed) { return closed; });
}

}  // namespace xenblk::vhd
