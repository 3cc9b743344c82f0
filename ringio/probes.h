// Where a tracer (bpftrace, perf, SystemTap) can look at each request: USDT probes of the provider
// "xenblk", an instruction that does nothing and a note in the program's file that says where it is
// and which registers and memory hold the arguments. docs/tracing.md lists them; their order and
// meaning are for others to rely on. Always in line: one that is not used is no call either.
#pragma once

#include <sys/sdt.h>

#include "ringio/queue.h"
#include "ringio/request_slot.h"

namespace xenblk::ringio {

// A request has left its ring. The address of its slot is its name until it is answered or put off;
// of an indirect one the length is not known yet, and 0.
[[gnu::always_inline]] inline void probe_taken(const RequestSlot& slot) noexcept {
  const Queue& queue = *slot.queue;
  DTRACE_PROBE6(xenblk, request_taken, &slot, queue.peer().n, queue.device().n,
                static_cast<std::uint8_t>(slot.request.op), slot.request.first.n,
                slot.request.count.n);
}

// Its answer is in the ring, and `answered_at` is now: the guest sees it at the end of this pass.
[[gnu::always_inline]] inline void probe_answered(const RequestSlot& slot,
                                                  Instant answered_at) noexcept {
  const Queue& queue = *slot.queue;
  DTRACE_PROBE8(xenblk, request_answered, &slot, queue.peer().n, queue.device().n,
                static_cast<std::uint8_t>(slot.request.op), slot.request.first.n,
                slot.request.count.n, static_cast<std::int16_t>(slot.answer),
                answered_at.ns - slot.taken_at.ns);
}

}  // namespace xenblk::ringio
