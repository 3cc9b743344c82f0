// Xen's own description of the protocol, and the kernel's of its devices. They name types that
// they do not include, hence the order.
#pragma once

#include <cstdint>

// Not sorted with the others.
#include <xen/xen.h>

// Those that build on it.
#include <xen/evtchn.h>
#include <xen/gntalloc.h>
#include <xen/io/blkif.h>
#include <xen/io/xs_wire.h>
