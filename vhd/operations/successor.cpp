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

// Nothing, too, where something else lies in its place.
std::optional<std::string> read_note(MetadataFile& note) {
  const auto bytes = note.load();
  if (!bytes || !*bytes || (*bytes)->size() > kNoteBytesMax) return {};
  return std::string(reinterpret_cast<const char*>((*bytes)->data()), (*bytes)->size());
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

Expected<std::optional<std::string>> take_successor_note(const std::string& parent_path) {
  MetadataFile note(note_path(parent_path));
  auto said = read_note(note);
  if (!said) return said;
  if (auto removed = note.remove(); !removed) return std::unexpected(removed.error());
  return said;
}

std::optional<std::string> successor_of(File& file, const std::string& path) {
  MetadataFile note(note_path(path));
  auto child = read_note(note);
  if (!child || !child->starts_with('/')) return {};
  const auto footers = read_footers(file);
  if (!footers || !is_child_of(*child, footers->chosen.uuid)) return {};
  return child;
}

}  // namespace xenblk::vhd
