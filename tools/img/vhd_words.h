// The fields of a footer as people read them. Pure.
#pragma once

#include <string>

#include "vhd/format/footer.h"

namespace xenblk::img {

std::string type_name(vhd::DiskType type);
// "550e8400-e29b-41d4-a716-446655440000", in the order in which the bytes lie in the file.
std::string uuid_text(const vhd::Uuid& uuid);
// "2024-03-01T12:00:00Z"
std::string time_text(vhd::VhdTime time);
// "qemu 5.3"
std::string creator_text(const vhd::Footer& footer);
// "Wi2k"; what does not print is given as "0x00000000".
std::string four_letters(std::uint32_t code);

}  // namespace xenblk::img
