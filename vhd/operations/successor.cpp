#include "vhd/operations/successor.h"

#include <filesystem>
#include <span>

#include "vhd/format/dynamic_header.h"
#include "vhd/host_file.h"
#include "vhd/operations/metadata_store.h"
#include "vhd/read_footers.h"

namespace xenblk::vhd {
namespace {

// Longer than any path that the system takes.
constexpr std::size_t kNoteBytesMax = 4096;

std::string note_path(const std::string& image_path) {
  std::error_code error;
  const auto real = std::filesystem::canonical(image_path, error);
  return (error ? image_path : real.string()) + ".xenblk-child";
}

// Opened without its lock: another disk of this process, or another process, may be using it.
bool is_child_of(const std::string& path, const Uuid& parent) {
  const auto file = open_host_file(path, {.locked = false});
  if (!file) return false;
  const auto footers = read_footers(**file);
  if (!footers || footers->chosen.type != DiskType::differencing) return false;
  DynamicHeaderBytes bytes;
  if (!(*file)->read_at(footers->chosen.data_offset, bytes)) return false;
  const auto header = parse_dynamic_header(bytes);
  return header && header->parent_uuid == parent;
}

}  // namespace

Expected<void> note_successor(const std::string& parent_path, const std::string& child_path) {
  MetadataFile note(note_path(parent_path));
  if (auto removed = note.remove(); !removed) return removed;
  return note.save(std::as_bytes(std::span(child_path)));
}

std::optional<std::string> successor_of(File& file, const std::string& path) {
  const auto bytes = MetadataFile(note_path(path)).load();
  if (!bytes || !*bytes || (*bytes)->size() > kNoteBytesMax) return {};
  std::string child(reinterpret_cast<const char*>((*bytes)->data()), (*bytes)->size());
  if (!child.starts_with('/')) return {};
  const auto footers = read_footers(file);
  if (!footers || !is_child_of(child, footers->chosen.uuid)) return {};
  return child;
}

}  // namespace xenblk::vhd
