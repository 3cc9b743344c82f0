#include "vhd/operations/snapshot.h"

#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include "vhd/host_file.h"
#include "vhd/operations/resize.h"
#include "vhd/vhd_layout.h"

namespace xenblk::vhd {
namespace {

namespace fs = std::filesystem;

// Links in the way to a file are followed, since ".." would be taken from where they lead; the
// file's own name stays what it is.
Expected<fs::path> absolute_of(const std::string& path) {
  const fs::path given(path);
  std::error_code error;
  const auto directory = fs::canonical(given.has_parent_path() ? given.parent_path() : ".", error);
  if (error) return fail_os(error.value(), path);
  return directory / given.filename();
}

Expected<ParentPlace> place_of(const SnapshotOptions& options) {
  const auto parent = absolute_of(options.parent_path);
  if (!parent) return std::unexpected(parent.error());
  const auto child = absolute_of(options.child_path);
  if (!child) return std::unexpected(child.error());
  return ParentPlace{parent->lexically_relative(child->parent_path()).string(), parent->string()};
}

Expected<VhdTime> changed_at(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return fail_os(errno, path);
  return vhd_time(static_cast<std::uint64_t>(status.st_mtime));
}

using ReadLayout = Expected<VhdLayout> (*)(File&, Footers, Access);

Expected<ParentFacts> facts_of_vhd(File& parent, ReadLayout read_layout) {
  auto footers = read_footers(parent);
  if (!footers) return std::unexpected(footers.error());
  const auto& footer = footers->chosen;
  if (footer.uuid == Uuid{}) {
    return fail(Errc::unsupported_image,
                "footer: the image has no unique id, so it cannot have a child before it is "
                "repaired");
  }
  if (footer.type == DiskType::fixed) {
    return ParentFacts{footer.uuid, {guest_bytes(footer) / kSectorBytes}};
  }
  const auto uuid = footer.uuid;
  const auto layout = read_layout(parent, std::move(*footers), parent.access());
  if (!layout) return std::unexpected(layout.error());
  return ParentFacts{uuid, layout->capacity, layout->shape.block_bytes};
}

}  // namespace

Expected<ParentFacts> read_parent_facts(File& parent, Format format) {
  if (format == Format::vhd) return facts_of_vhd(parent, read_vhd_layout);
  if (format == Format::null) return fail(Errc::bad_spec, "a null image has no file");
  const auto bytes = parent.size_bytes();
  if (!bytes) return std::unexpected(bytes.error());
  return ParentFacts{.capacity = {*bytes / kSectorBytes}};
}

Expected<ParentFacts> read_running_parent_facts(File& parent) {
  return facts_of_vhd(parent, read_vhd_structure);
}

Expected<ParentLink> parent_link(const ParentFacts& parent, const SnapshotOptions& options) {
  const auto place = place_of(options);
  if (!place) return std::unexpected(place.error());
  const auto changed = changed_at(options.parent_path);
  if (!changed) return std::unexpected(changed.error());
  return ParentLink{parent.uuid, *changed, *place};
}

Expected<void> make_child(const ParentFacts& parent, const SnapshotOptions& options) {
  const auto link = parent_link(parent, options);
  if (!link) return std::unexpected(link.error());
  return create_vhd_file(options.child_path,
                         {.capacity = parent.capacity,
                          .type = DiskType::differencing,
                          .block_bytes = options.block_bytes.value_or(parent.block_bytes),
                          .parent = *link});
}

Expected<void> make_snapshot(const SnapshotOptions& options, Format parent_format) {
  auto file = open_host_file(options.parent_path, {.access = Access::read_only});
  if (!file) return std::unexpected(file.error());
  if (parent_format == Format::vhd) {
    if (auto ok = recover_host_image(**file, options.parent_path); !ok) {
      ok.error().text = options.parent_path + ": " + ok.error().text;
      return ok;
    }
  }
  auto facts = read_parent_facts(**file, parent_format);
  if (!facts) {
    facts.error().text = options.parent_path + ": " + facts.error().text;
    return std::unexpected(facts.error());
  }
  // A process that was killed may have left writes there that nobody has synced; a flush of the
  // child does not reach them.
  if (auto ok = (*file)->sync_data(); !ok) return ok;
  return make_child(*facts, options);
}

}  // namespace xenblk::vhd
