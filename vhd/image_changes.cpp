// What is done to an image that a disk uses, between two of its requests.
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "vhd/image_registry.h"
#include "vhd/operations/host_images.h"
#include "vhd/operations/snapshot.h"

namespace xenblk::vhd {
namespace {

std::unexpected<Error> named(const std::string& path, Error error) {
  error.text = path + ": " + error.text;
  return std::unexpected(std::move(error));
}

// An empty one that nothing refers to: left behind it would only be in the way.
void remove_child(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
}

// The lock goes with the last reference to the open file, and the kernel may drop those of requests
// that are done, or a process that is just being started its own, a moment after we have closed it.
constexpr std::chrono::milliseconds kLockWait{10};
constexpr int kLockTries = 300;

bool is_locked(const Expected<std::shared_ptr<Image>>& opened) {
  return !opened && opened.error().code == Errc::locked;
}

std::unexpected<Error> not_from_here() {
  return fail(Errc::unsupported_image, "not an image of a file");
}

}  // namespace

// While the file is closed the entry keeps its place: whoever wants the same file waits.
Changed ImageRegistry::exchange(std::shared_ptr<Image>&& image, const Work& work) {
  auto given = std::move(image);
  Entries::iterator entry;
  {
    const std::lock_guard lock(mutex_);
    entry = find(given);
    if (entry == entries_.end()) return {std::move(given), not_from_here()};
    if (auto sole = sole_writer(*entry, given); !sole) return {std::move(given), std::move(sole)};
    given.reset();
    entry->merges_into.reset();
    entry->view.reset();
    entry->state = State::closing;
  }
  const ImageSpec before{entry->format, entry->path, {}};
  const auto finished = entry->image->finish();
  entry->image.reset();
  const auto next =
      finished ? work(before) : Expected<ImageSpec>(named(before.path, finished.error()));
  Expected<void> outcome = next ? open_again(*entry, *next) : std::unexpected(next.error());
  if (!outcome) {
    if (auto back = open_again(*entry, before); !back) {
      outcome = fail(outcome.error().code,
                     describe(outcome.error()) + "; and then: " + describe(back.error()));
    }
  }
  const std::lock_guard lock(mutex_);
  auto opened = entry->image;
  if (opened) {
    entry->state = State::open;
  } else {
    entries_.erase(entry);
  }
  changed_.notify_all();
  return {std::move(opened), std::move(outcome)};
}

Expected<void> ImageRegistry::sole_writer(const Entry& entry, const std::shared_ptr<Image>& image) {
  if (entry.format != Format::vhd) {
    return fail(Errc::unsupported_image, entry.path + ": is a raw image, not a VHD");
  }
  if (entry.access == Access::read_only || image == entry.view) {
    return fail(Errc::refused, entry.path + ": is open read-only");
  }
  if (entry.users == 1) return {};
  return fail(Errc::refused, entry.path + ": another disk uses it too");
}

// The entry may become one of another file.
Expected<void> ImageRegistry::open_again(Entry& entry, const ImageSpec& spec) {
  const auto identity = identify_host_file(spec.path);
  if (!identity) return std::unexpected(identity.error());
  {
    const std::lock_guard lock(mutex_);
    entry.identity = *identity;
    entry.path = spec.path;
    entry.format = spec.format;
  }
  auto opened = open_file(spec, entry);
  for (int tries = 0; tries < kLockTries && is_locked(opened); ++tries) {
    std::this_thread::sleep_for(kLockWait);
    opened = open_file(spec, entry);
  }
  if (!opened) return std::unexpected(opened.error());
  const std::lock_guard lock(mutex_);
  entry.image = std::move(*opened);
  return {};
}

Changed ImageRegistry::resize(std::shared_ptr<Image>&& image, SectorCount capacity) {
  const auto now = image->capacity();
  return exchange(std::move(image), [&](const ImageSpec& closed) -> Expected<ImageSpec> {
    if (capacity < now) {
      return fail(Errc::refused, fmt::format("a disk never shrinks under a guest: it has {} bytes",
                                             now.n * kSectorBytes));
    }
    if (auto resized = resize_host_image(closed.path, capacity); !resized) {
      return std::unexpected(resized.error());
    }
    return closed;
  });
}

// The lock is ours already: the file is open as an image.
Expected<std::unique_ptr<HostFile>> ImageRegistry::look_at(const std::string& path,
                                                           const FileIdentity& identity) const {
  auto file = open_host_file(path, {.direct_io = options_.direct_io, .locked = false});
  if (file && (*file)->identity() != identity) {
    return fail(Errc::io, path + ": is another file now than the one that is open");
  }
  return file;
}

Expected<void> ImageRegistry::make_child(const std::shared_ptr<Image>& image,
                                         const std::string& child_path) {
  std::string path;
  FileIdentity identity;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = find(image);
    if (entry == entries_.end()) return not_from_here();
    if (auto sole = sole_writer(*entry, image); !sole) return sole;
    path = entry->path;
    identity = entry->identity;
  }
  if (auto placed = roots_.check_new(child_path); !placed) return placed;
  const auto file = look_at(path, identity);
  if (!file) return std::unexpected(file.error());
  const auto facts = read_running_parent_facts(**file);
  if (!facts) return named(path, facts.error());
  // What is synced now needs no time when the image is closed.
  if (auto synced = (*file)->sync_data(); !synced) return named(path, synced.error());
  return vhd::make_child(*facts,
                         {.parent_path = path, .child_path = child_path, .block_bytes = {}});
}

Changed ImageRegistry::move_to_child(std::shared_ptr<Image>&& image,
                                     const std::string& child_path) {
  auto changed = exchange(std::move(image), [&](const ImageSpec& closed) -> Expected<ImageSpec> {
    return ImageSpec{closed.format, child_path, {}};
  });
  if (!changed.outcome) remove_child(child_path);
  return changed;
}

Changed ImageRegistry::move_back(std::shared_ptr<Image>&& child, const std::string& parent_path) {
  return exchange(std::move(child), [&](const ImageSpec& closed) -> Expected<ImageSpec> {
    remove_child(closed.path);
    return ImageSpec{closed.format, parent_path, {}};
  });
}

Expected<CheckReport> ImageRegistry::check(const std::shared_ptr<Image>& image,
                                           const CheckOptions& options) {
  std::string path;
  FileIdentity identity;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = find(image);
    if (entry == entries_.end()) return not_from_here();
    if (entry->format != Format::vhd) {
      return fail(Errc::unsupported_image, entry->path + ": is a raw image, not a VHD");
    }
    if (entry->access == Access::read_write && entry->users > 1) {
      return fail(Errc::refused, entry->path + ": another disk uses it too");
    }
    path = entry->path;
    identity = entry->identity;
  }
  const auto file = look_at(path, identity);
  if (!file) return std::unexpected(file.error());
  auto report = check_image(**file, options);
  if (!report) return named(path, report.error());
  return report;
}

}  // namespace xenblk::vhd
