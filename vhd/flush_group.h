// Group commit: syncs that are asked for while one is in flight share the next one.
// Owned by an image; any thread, each request on its own. A sync always runs on the engine of one
// of the requests that wait for it, so no engine carries an operation after its requests are
// answered.
#pragma once

#include <mutex>

#include "vhd/request.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

class FlushGroup {
 public:
  explicit FlushGroup(File& file) : file_(file) {}
  FlushGroup(const FlushGroup&) = delete;
  FlushGroup& operator=(const FlushGroup&) = delete;
  ~FlushGroup();

  // Answers okay once everything that completed before this call is on stable storage.
  // The request was begun (request.h).
  void submit(ImageRequest& request) noexcept;

  // The same, but calls `then` on the request's thread. Used of the request, which has no piece in
  // flight: pieces[0], task, and the scratch words `then` and `status`.
  void sync(ImageRequest& request, Then then) noexcept;

 private:
  void start(ImageRequest& leader) noexcept;
  void finished(ImageRequest& leader) noexcept;
  static FlushGroup& of(ImageRequest& request);
  static Then then_of(ImageRequest& request);

  File& file_;
  std::mutex mutex_;
  bool syncing_ = false;  // a sync is in flight, or its leader is on the way to start it
  TaskList sharing_;      // served by the sync that is in flight, besides its leader
  TaskList waiting_;      // came too late for it
};

}  // namespace xenblk::vhd
