#include "vhd/image_registry.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include <fmt/format.h>

#include "vhd/null_image.h"
#include "vhd/open_image.h"
#include "vhd/operations/resize.h"
#include "vhd/operations/successor.h"
#include "vhd/read_only_view.h"

namespace xenblk::vhd {

ImageRegistry::ImageRegistry(ImageRegistryOptions options)
    : options_(std::move(options)),
      roots_(options_.image_roots),
      parents_({options_.direct_io, options_.image_directories, options_.raw_parents},
               [this](const FileIdentity& identity) { return writer_of(identity); }) {}

ImageRegistry::~ImageRegistry() {
  assert(entries_.empty());
}

// The lock is not held while a file is opened: a file system that hangs stops only those who want
// the same file.
Expected<std::shared_ptr<Image>> ImageRegistry::open(const ImageSpec& spec, Access access) {
  if (spec.format == Format::null) return open_null(spec, access);
  const auto identity = identify_host_file(spec.path);
  if (!identity) return std::unexpected(identity.error());
  if (auto placed = roots_.check(spec.path); !placed) {
    return std::unexpected(placed.error());
  }
  Entries::iterator entry;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      entry = find(*identity);
      return entry == entries_.end() || entry->state == State::open;
    });
    if (entry != entries_.end()) return share(*entry, spec, access);
    entry = entries_.insert(entries_.end(), {.identity = *identity,
                                             .format = spec.format,
                                             .access = access,
                                             .path = spec.path,
                                             .users = 1});
  }
  return open_entry(spec, entry);
}

Expected<std::shared_ptr<Image>> ImageRegistry::open_null(const ImageSpec& spec, Access access) {
  auto image = std::make_shared<NullImage>(spec.null_size, access);
  const std::lock_guard lock(mutex_);
  entries_.push_back(
      {.format = spec.format, .access = access, .state = State::open, .image = image, .users = 1});
  return image;
}

Expected<std::shared_ptr<Image>> ImageRegistry::open_entry(const ImageSpec& spec,
                                                           Entries::iterator entry) {
  auto image = open_file(spec, *entry);
  const std::lock_guard lock(mutex_);
  if (image) {
    entry->image = *image;
    entry->state = State::open;
  } else {
    entries_.erase(entry);
  }
  changed_.notify_all();
  return image;
}

Expected<std::shared_ptr<Image>> ImageRegistry::open_file(const ImageSpec& spec,
                                                          const Entry& entry) {
  auto file = open_host_file(spec.path, {.access = entry.access, .direct_io = options_.direct_io});
  if (!file && file.error().code == Errc::locked && parents_.is_parent(entry.identity)) {
    return fail(Errc::locked, spec.path + ": in use as the parent of another image");
  }
  if (!file) return std::unexpected(roots_.explain(spec.path, std::move(file.error())));
  // The path may have been given to another file since it was identified.
  if ((*file)->identity() != entry.identity) {
    return fail(Errc::io, spec.path + ": changed while it was opened");
  }
  if (spec.format == Format::vhd) {
    auto recovered = recover_host_image(**file, spec.path);
    if (!recovered) {
      recovered.error().text = spec.path + ": " + recovered.error().text;
      return std::unexpected(recovered.error());
    }
  }
  if (spec.format == Format::vhd && entry.access == Access::read_write) {
    if (const auto child = successor_of(**file, spec.path)) {
      return fail(Errc::refused,
                  fmt::format("{}: is the parent of a snapshot now, and its disk goes "
                              "on in {}",
                              spec.path, printable(*child)));
    }
  }
  const auto physical_bytes = (*file)->physical_sector_bytes();
  const auto open_parents = [&](const ParentReference& parent) {
    return parents_.open(spec.path, parent);
  };
  auto image = open_image(spec.format, std::move(*file), physical_bytes, open_parents);
  if (!image) {
    image.error().text = spec.path + ": " + image.error().text;
    return std::unexpected(image.error());
  }
  return std::shared_ptr<Image>(std::move(*image));
}

Expected<std::shared_ptr<Image>> ImageRegistry::share(Entry& entry, const ImageSpec& spec,
                                                      Access access) {
  if (entry.format != spec.format) {
    return fail(Errc::locked, spec.path + ": in use with another format as " + entry.path);
  }
  if (entry.merges_into) return fail(Errc::locked, spec.path + ": is being merged into its parent");
  if (access == Access::read_write && entry.access == Access::read_only) {
    return fail(Errc::locked, spec.path + ": in use read-only as " + entry.path);
  }
  ++entry.users;
  if (access == entry.access) return entry.image;
  if (!entry.view) entry.view = std::make_shared<ReadOnlyView>(entry.image);
  return entry.view;
}

ImageRegistry::Entries::iterator ImageRegistry::find(const FileIdentity& identity) {
  return std::ranges::find_if(entries_, [&](const Entry& entry) {
    return entry.format != Format::null && entry.identity == identity;
  });
}

ImageRegistry::Entries::iterator ImageRegistry::find(const std::shared_ptr<Image>& image) {
  return std::ranges::find_if(entries_, [&](const Entry& entry) {
    return entry.state == State::open && (entry.image == image || entry.view == image);
  });
}

std::optional<std::string> ImageRegistry::writer_of(const FileIdentity& identity) {
  const std::lock_guard lock(mutex_);
  const auto entry = find(identity);
  if (entry == entries_.end() || entry->access == Access::read_only) return std::nullopt;
  return entry->path;
}

Expected<void> ImageRegistry::close(std::shared_ptr<Image>&& image) {
  auto closing = std::move(image);
  Entries::iterator entry;
  {
    const std::lock_guard lock(mutex_);
    entry = find(closing);
    assert(entry != entries_.end() && entry->users > 0);
    // The caller's share goes under the lock, so that the last one to close is the last owner.
    closing.reset();
    if (--entry->users > 0) return {};
    entry->state = State::closing;
  }
  auto finished = entry->image->finish();
  if (!finished) finished.error().text = entry->path + ": " + finished.error().text;
  // The file is closed before anyone can open it again.
  entry->view.reset();
  entry->image.reset();
  const std::lock_guard lock(mutex_);
  entries_.erase(entry);
  changed_.notify_all();
  return finished;
}

}  // namespace xenblk::vhd
