// Where a differencing image says its parent is: the locators and the name in its header, and what
// they point at. Pure: which of the paths is tried, and whether it may be, is decided elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vhd/format/block_table.h"
#include "vhd/format/dynamic_header.h"

namespace xenblk::vhd {

// "Platform Code" of the specification. Others exist; they are kept as they are.
inline constexpr std::uint32_t kLocatorNone = 0;
inline constexpr std::uint32_t kLocatorRelative = 0x57327275;  // W2ru: UTF-16LE, ".\x\y.vhd"
inline constexpr std::uint32_t kLocatorAbsolute = 0x57326b75;  // W2ku: UTF-16LE, "c:\x\y.vhd"
inline constexpr std::uint32_t kLocatorUrl = 0x4d616358;       // MacX: UTF-8, "file://..."

inline constexpr std::uint64_t kLocatorBytesMax = 64 * 1024;

// What a locator keeps for itself in the file. The specification counts its space in sectors, most
// writers in bytes: less than 512 are sectors. The error says field and value, not which locator.
Expected<ByteRange> locator_space(const ParentLocator& locator, std::uint64_t file_end);

struct LocatorData {
  std::size_t slot = 0;  // in the header
  std::uint32_t code = kLocatorNone;
  std::vector<std::byte> bytes;
  friend bool operator==(const LocatorData&, const LocatorData&) = default;
};

enum class PathOrigin : std::uint8_t { relative, name, url, absolute };
std::string_view name_of(PathOrigin origin);

// UTF-8 with '/'. Not empty, no NUL; relative to the child's directory unless it begins with '/'.
// Nothing else is promised: ".." and symbolic links are for the one who opens it to judge.
struct ParentPath {
  std::string path;
  PathOrigin origin = PathOrigin::relative;
  friend bool operator==(const ParentPath&, const ParentPath&) = default;
};

struct ParentPaths {
  std::vector<ParentPath> candidates;  // in the order in which they are to be tried; none twice
  std::vector<std::string> warnings;
};

// First what moves with the image: the relative path, then the name beside the child; then the URL,
// and last the file name of the absolute Windows path, beside the child.
ParentPaths parent_paths(const DynamicHeader& header, std::span<const LocatorData> locators);

// The parent of a new child, UTF-8 with '/'.
struct ParentPlace {
  std::string relative_path;  // from the child's directory
  std::string absolute_path;
};

struct EncodedParent {
  std::array<std::byte, 512> name = {};
  std::vector<LocatorData> locators;  // relative, absolute, URL; slots 0 to 2
};

// bad_spec: a path that is not UTF-8 or too long to be stored.
Expected<EncodedParent> encode_parent(const ParentPlace& place);

// The header's entry for `data` when its bytes lie at `offset`, with space in whole sectors.
ParentLocator locator_for(const LocatorData& data, std::uint64_t offset);

}  // namespace xenblk::vhd
