// The libraries print their own line for each failure; ours says more, and a guest can make them
// fail as often as it likes.
#pragma once

// The headers of Xen 4.17 do not say by themselves that their functions are C.
extern "C" {
#include <xentoollog.h>
}

#include <cstdio>
#include <memory>

namespace xenblk::libxen {

struct LoggerCloser {
  void operator()(xentoollog_logger* logger) const { xtl_logger_destroy(logger); }
};
using QuietLogger = std::unique_ptr<xentoollog_logger, LoggerCloser>;

inline QuietLogger make_quiet_logger() {
  auto* logger = xtl_createlogger_stdiostream(stderr, XTL_CRITICAL, 0);
  return QuietLogger(reinterpret_cast<xentoollog_logger*>(logger));
}

}  // namespace xenblk::libxen
