#include "vhd/operations/copy_failure.h"

#include <fmt/format.h>

namespace xenblk::vhd {
namespace {

int errno_of(IoStatus status) {
  switch (status) {
    case IoStatus::okay:
      return 0;
    case IoStatus::io_error:
      return EIO;
    case IoStatus::no_space:
      return ENOSPC;
    case IoStatus::read_only:
      return EROFS;
    case IoStatus::out_of_range:
      return EINVAL;
    case IoStatus::unsupported:
      return EOPNOTSUPP;
  }
  return EIO;
}

}  // namespace

std::unexpected<Error> request_failed(std::string_view image_name, std::string_view what,
                                      const ImageRequest& request) {
  const auto name = image_name.empty() ? std::string() : fmt::format("{}: ", image_name);
  const auto os_error = errno_of(request.status);
  if (request.op == ImageOp::flush)
    return fail_os(os_error, fmt::format("{}cannot {}", name, what));
  return fail_os(os_error, fmt::format("{}cannot {} {} sectors at sector {}", name, what,
                                       request.count.n, request.first.n));
}

std::unexpected<Error> operation_stopped() {
  return fail(Errc::closed, "stopped before the end");
}

}  // namespace xenblk::vhd
