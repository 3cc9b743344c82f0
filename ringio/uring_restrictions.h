// What a ring may still be told once it runs: the operations of the engine and nothing else. Code
// that an attacker has taken over can then not open, connect or send through it, which a filter of
// system calls does not see.
#pragma once

namespace xenblk::ringio {

// For a ring that was set up disabled (IORING_SETUP_R_DISABLED), by the thread that will use it,
// after everything was registered. The ring is enabled: from then on any other operation completes
// with -EACCES, and anything more to register is refused. Returns 0 or -errno; the ring stays
// disabled then.
int restrict_and_enable_ring(int descriptor) noexcept;

// Only the second half, for those who want no restrictions.
int enable_ring(int descriptor) noexcept;

}  // namespace xenblk::ringio
