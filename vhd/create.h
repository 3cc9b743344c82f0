// New images. Control path, blocking.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "vhd/format/footer.h"
#include "xenblk/io.h"

namespace xenblk::vhd {

// How our images are marked in the footer's "creator application".
inline constexpr std::string_view kCreator = "xblk";

struct CreateOptions {
  SectorCount capacity;
  DiskType type = DiskType::dynamic;     // or fixed
  std::uint32_t block_bytes = 2U << 20;  // a power of two from 4 KiB to 256 MiB; dynamic only
  std::optional<Uuid> uuid;              // random if not given
  std::optional<VhdTime> created;        // now if not given
};

// Fills an empty file; what it writes is on stable storage when it returns. The text names no file.
Expected<void> create_vhd(File& file, const CreateOptions& options);

// Makes a file that was not there; none is left behind on failure.
Expected<void> create_vhd_file(const std::string& path, const CreateOptions& options);

}  // namespace xenblk::vhd
