// New images. Control path, blocking.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "vhd/format/footer.h"
#include "vhd/format/parent_locator.h"
#include "xenblk/io.h"

namespace xenblk::vhd {

// How our images are marked in the footer's "creator application".
inline constexpr std::string_view kCreator = "xblk";

// What a differencing image keeps of its parent.
struct ParentLink {
  Uuid uuid = {};   // all zeroes: a raw parent
  VhdTime changed;  // when the parent was last written
  ParentPlace place;
};

struct CreateOptions {
  SectorCount capacity;
  DiskType type = DiskType::dynamic;
  std::uint32_t block_bytes = 2U << 20;  // a power of two from 4 KiB to 256 MiB; not for fixed
  std::optional<ParentLink> parent;      // of a differencing image, and only of one
  std::optional<Uuid> uuid;              // random if not given
  std::optional<VhdTime> created;        // now if not given
};

// Version 4 of RFC 4122.
Expected<Uuid> random_uuid();

// The geometry for the footer of an image of this size: some readers take it for the size, so one
// that is not exact is replaced by the largest, which tells them to use the size.
Geometry geometry_for(SectorCount capacity);

// Whether a dynamic or differencing image may have this size, and is served then: bad_spec.
Expected<void> check_dynamic_size(SectorCount capacity, std::uint32_t block_bytes);

// Fills an empty file; what it writes is on stable storage when it returns. The text names no file.
Expected<void> create_vhd(File& file, const CreateOptions& options);

// Makes a file that was not there: it appears under its name when all of it is on stable storage.
// None is left behind on failure.
Expected<void> create_vhd_file(const std::string& path, const CreateOptions& options);

}  // namespace xenblk::vhd
