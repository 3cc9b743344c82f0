// The ways of convert that go through standard input or output.
#pragma once

#include <optional>
#include <string>

#include "tools/img/convert_target.h"
#include "vhd/create.h"

namespace xenblk::img {

// Standard input as it is, to the end, becomes the disk. Without `size` the stream's length is the
// disk's size, rounded up to a sector.
Expected<void> fill_from_stream(const TargetPlan& plan, std::optional<SectorCount> size);

// A raw stream without `vhd`.
Expected<void> write_stream(Image& source, const std::string& source_name,
                            const std::optional<vhd::CreateOptions>& vhd, ShowProgress show);

}  // namespace xenblk::img
