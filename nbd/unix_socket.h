// A socket in the file system that clients connect to. Control path; any thread.
#pragma once

#include <sys/types.h>

#include <string>

#include "xenblk/error.h"

namespace xenblk::nbd {

// Owns the descriptor and, as long as it is the one made here, the name. Move-only.
class ListeningSocket {
 public:
  // For the owner of the process only (mode 0600), non-blocking. A name that a server left behind
  // is taken over. Errors: refused (something else has this name, or a server listens there),
  // bad_spec (the path is empty or longer than the 107 bytes that a socket's name can have),
  // not_found, permission, io.
  static Expected<ListeningSocket> make(const std::string& path);
  ListeningSocket(ListeningSocket&& other) noexcept;
  ListeningSocket& operator=(ListeningSocket&&) = delete;
  ~ListeningSocket();

  int descriptor() const { return descriptor_; }
  // A connection, non-blocking, owned by the caller; -errno when there is none.
  int accept() const;

 private:
  explicit ListeningSocket(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace xenblk::nbd
