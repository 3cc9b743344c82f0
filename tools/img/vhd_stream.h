// A VHD that is written from its start to its end, without going back: which blocks it has is found
// out before. One thread.
#pragma once

#include <memory>

#include "tools/img/stream_target.h"
#include "vhd/create.h"

namespace xenblk::img {

// `options` must not name a parent. For a dynamic VHD the extents of `source` are walked now, and
// its data must not change until the stream is written.
Expected<std::unique_ptr<StreamTarget>> make_vhd_stream(int descriptor, Image& source,
                                                        const vhd::CreateOptions& options);

}  // namespace xenblk::img
