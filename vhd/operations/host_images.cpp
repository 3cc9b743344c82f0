#include "vhd/operations/host_images.h"

#include "vhd/host_file.h"
#include "vhd/operations/relink.h"
#include "vhd/operations/resize.h"
#include "vhd/operations/snapshot.h"

namespace xenblk::vhd {
namespace {

template <class Result>
Result named(const std::string& path, Result result) {
  if (!result) result.error().text = path + ": " + result.error().text;
  return result;
}

Expected<std::unique_ptr<HostFile>> open_recovered(const std::string& path) {
  auto file = open_host_file(path, {.access = Access::read_write});
  if (!file) return file;
  auto recovered = named(path, recover_host_image(**file, path));
  if (!recovered) return std::unexpected(recovered.error());
  return file;
}

}  // namespace

Expected<RepairReport> repair_host_image(const std::string& path) {
  const auto file = open_recovered(path);
  if (!file) return std::unexpected(file.error());
  MetadataFile backup(free_backup_path(path));
  return named(path, repair_image(**file, backup));
}

Expected<void> resize_host_image(const std::string& path, SectorCount capacity) {
  const auto file = open_recovered(path);
  if (!file) return std::unexpected(file.error());
  MetadataFile journal(resize_journal_path(path));
  return named(path, resize_image(**file, capacity, journal));
}

Expected<void> relink_host_image(const std::string& child_path, const std::string& parent_path) {
  const auto parent = open_host_file(parent_path, {.access = Access::read_only});
  if (!parent) return std::unexpected(parent.error());
  const auto facts = named(parent_path, read_parent_facts(**parent, Format::vhd));
  if (!facts) return std::unexpected(facts.error());
  const auto link = parent_link(*facts, {parent_path, child_path, {}});
  if (!link) return std::unexpected(link.error());
  const auto child = open_recovered(child_path);
  if (!child) return std::unexpected(child.error());
  MetadataFile journal(resize_journal_path(child_path));
  return named(child_path, relink_child(**child, *link, journal));
}

}  // namespace xenblk::vhd
