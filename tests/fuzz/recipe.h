// Images from a few bytes: a fuzzer that changes a byte of a recipe gets another image that makes
// sense, which it would hardly ever get from changing bytes of an image.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/reader.h"
#include "vhd/format/footer.h"

namespace xenblk::fuzz {

// What the image's sectors hold, where that is not zeroes: see tests/vhd/power_cut/sector_model.h.
using KnownSectors = std::unordered_map<std::uint64_t, std::uint64_t>;

struct Built {
  KnownSectors sectors;
  std::uint64_t capacity_sectors = 0;
  std::uint64_t block_sectors = 1;
  unsigned level = 0;    // so many images are below it
  bool raw = false;      // no VHD
  bool on_raw = false;   // the lowest one is none
  bool refused = false;  // it, or one below it, is of a kind that is not served
};

// A valid image in an empty content: fixed or dynamic, as one of several programs makes them.
Built build_image(Reader& reader, MemoryContent& content);

// A disk that is its file.
Built build_raw_disk(Reader& reader, MemoryContent& content);

// A differencing image whose parent `below` is; what is built is what both show together. It says
// in several ways that the parent's name is name_of_level(below.level).
Built build_child(Reader& reader, MemoryContent& content, const Built& below);

std::string name_of_level(unsigned level);
vhd::Uuid uuid_of_level(unsigned level);

// Damages what build_image() made: fields, bytes anywhere, the file's size. Most of the time the
// checksums are right again afterwards.
void damage(Reader& reader, MemoryContent& content);

// The other way: pieces of a file, each with its offset.
void build_raw(Reader& reader, MemoryContent& content);

}  // namespace xenblk::fuzz
