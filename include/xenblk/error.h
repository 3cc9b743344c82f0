// Errors of the world: a missing file, a corrupt image, a frontend that asks for what was not
// offered. A guest's bad request is not an Error but a response status (blkif.h); our own mistakes
// are assertions. Used on control paths only: an Error owns a string, so the data path uses
// IoStatus (image.h) instead.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <expected>
#include <string>
#include <utility>

namespace xenblk {

enum class Errc : std::uint8_t {
  io,                 // the system refused or failed; os_error says how
  not_found,          // no such file or node
  permission,         // the system or XenStore forbids it
  no_space,           // ENOSPC, EDQUOT
  no_memory,          // ENOMEM, or an own limit is reached
  locked,             // another process or an incompatible user holds the image
  conflict,           // a XenStore transaction must be tried again
  closed,             // the other side went away (xenstored, a worker)
  bad_image,          // an image's content is wrong
  unsupported_image,  // an image is of a kind that is not served
  bad_journal,        // an in-flight journal, or the ring beside it, is not what it should be
  bad_spec,           // an image specification or an option cannot be understood
  bad_node,           // a XenStore node is missing or has a value that cannot be understood
  refused,            // a well-formed value that is outside what was offered
  bad_grant,          // a grant reference that cannot be mapped
  bad_port,           // an event channel that cannot be bound
  unavailable,        // a service of the host that is needed is not there
};

// `text` is one line that says what and where, without a final full stop; os_error is an errno or
// 0.
struct Error {
  Errc code = Errc::io;
  int os_error = 0;
  std::string text;

  friend bool operator==(const Error&, const Error&) = default;
};

template <class T>
using Expected = std::expected<T, Error>;

inline std::unexpected<Error> fail(Errc code, std::string text, int os_error = 0) {
  return std::unexpected(Error{code, os_error, std::move(text)});
}

// "text: description of os_error", the line that users see.
inline std::string describe(const Error& error) {
  if (error.os_error == 0) return error.text;
  const char* reason = strerrordesc_np(error.os_error);
  return error.text + ": " + (reason != nullptr ? reason : "unknown error");
}

// The Errc that fits an errno best; Errc::io when nothing fits better.
constexpr Errc errc_from_os(int os_error) {
  switch (os_error) {
    case ENOENT:
      return Errc::not_found;
    case EACCES:
    case EPERM:
    case EROFS:
      return Errc::permission;
    case ENOSPC:
    case EDQUOT:
      return Errc::no_space;
    case ENOMEM:
      return Errc::no_memory;
    default:
      return Errc::io;
  }
}

// An Error from errno, with its code from errc_from_os.
inline std::unexpected<Error> fail_os(int os_error, std::string text) {
  return fail(errc_from_os(os_error), std::move(text), os_error);
}

}  // namespace xenblk
