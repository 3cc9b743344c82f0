#include "vhd/image_registry.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "vhd/null_image.h"
#include "vhd/open_image.h"
#include "vhd/operations/resize.h"
#include "vhd/read_only_view.h"

namespace xenblk::vhd {

ImageRegistry::~ImageRegistry() {
  assert(entries_.empty());
}

Expected<std::shared_ptr<Image>> ImageRegistry::open(const ImageSpec& spec, Access access) {
  const std::lock_guard lock(mutex_);
  if (spec.format != Format::null) return open_file(spec, access);
  auto image = std::make_shared<NullImage>(spec.null_size, access);
  entries_.push_back({.format = spec.format, .access = access, .image = image, .users = 1});
  return image;
}

Expected<std::shared_ptr<Image>> ImageRegistry::open_file(const ImageSpec& spec, Access access) {
  const auto identity = identify_host_file(spec.path);
  if (!identity) return std::unexpected(identity.error());
  if (auto* entry = find(*identity); entry != nullptr) return share(*entry, spec, access);
  auto file = open_host_file(spec.path, {.access = access, .direct_io = options_.direct_io});
  if (!file) return std::unexpected(file.error());
  // The path may have been given to another file since it was identified.
  const auto opened = (*file)->identity();
  if (opened != *identity) return fail(Errc::io, spec.path + ": changed while it was opened");
  if (spec.format == Format::vhd) {
    auto recovered = recover_host_image(**file, spec.path);
    if (!recovered) return fail(recovered.error().code, spec.path + ": " + recovered.error().text);
  }
  const auto physical_bytes = (*file)->physical_sector_bytes();
  auto image = open_image(spec.format, std::move(*file), physical_bytes);
  if (!image) {
    image.error().text = spec.path + ": " + image.error().text;
    return std::unexpected(image.error());
  }
  entries_.push_back({.identity = opened,
                      .format = spec.format,
                      .access = access,
                      .path = spec.path,
                      .image = std::move(*image),
                      .users = 1});
  return entries_.back().image;
}

Expected<std::shared_ptr<Image>> ImageRegistry::share(Entry& entry, const ImageSpec& spec,
                                                      Access access) {
  if (entry.format != spec.format) {
    return fail(Errc::locked, spec.path + ": in use with another format as " + entry.path);
  }
  if (access == Access::read_write && entry.access == Access::read_only) {
    return fail(Errc::locked, spec.path + ": in use read-only as " + entry.path);
  }
  ++entry.users;
  if (access == entry.access) return entry.image;
  if (!entry.view) entry.view = std::make_shared<ReadOnlyView>(entry.image);
  return entry.view;
}

ImageRegistry::Entry* ImageRegistry::find(const FileIdentity& identity) {
  const auto it = std::ranges::find_if(entries_, [&](const Entry& entry) {
    return entry.format != Format::null && entry.identity == identity;
  });
  return it == entries_.end() ? nullptr : &*it;
}

Expected<void> ImageRegistry::close(std::shared_ptr<Image>&& image) {
  // The lock is taken first, so that the file is closed before anyone can open it again.
  const std::lock_guard lock(mutex_);
  const auto closing = std::move(image);
  const auto it = std::ranges::find_if(entries_, [&](const Entry& entry) {
    return entry.image == closing || entry.view == closing;
  });
  assert(it != entries_.end() && it->users > 0);
  if (--it->users > 0) return {};
  auto entry = std::move(*it);
  entries_.erase(it);
  auto finished = entry.image->finish();
  if (!finished) finished.error().text = entry.path + ": " + finished.error().text;
  return finished;
}

}  // namespace xenblk::vhd
