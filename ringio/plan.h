// Which image operations serve a request, in order. Pure.
#pragma once

#include "ringio/decode.h"
#include "ringio/request_slot.h"
#include "xenblk/image.h"

namespace xenblk::ringio {

// A flush that carries data comes before its data, as the kernel's backend does it (REQ_PREFLUSH).
// A barrier stands between all requests before it, for which its ring is drained first, and all
// after it: it flushes on both sides of its data.
Phases plan(const Request& request);

// The answer a guest gets. Unsupported makes a frontend stop using the operation; everything else
// that fails is an I/O error for the guest.
blkif::Status answer_for(IoStatus status);

}  // namespace xenblk::ringio
