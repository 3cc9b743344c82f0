// A new, empty child of an image. The parent is not written to, and is a valid image at every
// moment. Control path, blocking.
#pragma once

#include <optional>
#include <string>

#include "vhd/create.h"
#include "vhd/image_spec.h"

namespace xenblk::vhd {

// What a child must know of its parent.
struct ParentFacts {
  Uuid uuid = {};  // all zeroes for a raw parent
  SectorCount capacity;
  std::uint32_t block_bytes = 2U << 20;  // the child's, so that blocks lie on blocks
};

// From the open file of the parent, which nobody writes.
Expected<ParentFacts> read_parent_facts(File& parent, Format format);
// From the open file of a VHD that is a running disk: where its blocks are changes meanwhile, so it
// is not looked at.
Expected<ParentFacts> read_running_parent_facts(File& parent);

struct SnapshotOptions {
  std::string parent_path;
  std::string child_path;
  std::optional<std::uint32_t> block_bytes;  // as the parent's if not given
};

// What the child writes down of its parent.
Expected<ParentLink> parent_link(const ParentFacts& parent, const SnapshotOptions& options);

// The child's file appears under its name when all of it is on stable storage; nothing is left
// behind on failure. Refused: a path that is taken; a parent without an identity.
Expected<void> make_child(const ParentFacts& parent, const SnapshotOptions& options);

// The same, of a parent that nobody writes.
Expected<void> make_snapshot(const SnapshotOptions& options, Format parent_format);

}  // namespace xenblk::vhd
