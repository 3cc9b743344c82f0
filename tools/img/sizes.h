// Sizes as people write and read them. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "xenblk/error.h"
#include "xenblk/units.h"

namespace xenblk::img {

// "1000", "512K", "20G", "2T", "20GiB": bytes, or with a power of 1024.
Expected<std::uint64_t> parse_size(std::string_view text);

// A disk's size: whole sectors, and not none.
Expected<SectorCount> parse_disk_size(std::string_view text);

// "20 GiB (21474836480 bytes)"; a size that is no short number of units has one digit more.
std::string describe_size(std::uint64_t bytes);
// "20 GiB", "1.5 MiB".
std::string short_size(std::uint64_t bytes);

}  // namespace xenblk::img
