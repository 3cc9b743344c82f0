// Group commit: syncs that are asked for while one is in flight share the next one.
// Owned by an image; any thread, each request on its own. A sync always runs on the engine of one
// of the requests that wait for it, so no engine carries an operation after its requests are
// answered.
//
// Through the page cache the kernel tells once that it could not write pages, and takes them for
// clean then: whichever sync comes first hears of it. If that is one of the image's own, for a
// write that has its own answer, the next flush is answered with an error, as the flush that the
// kernel would have told.
#pragma once

#include <mutex>

#include "vhd/request.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

class FlushGroup {
 public:
  explicit FlushGroup(File& file) : file_(file), cached_(file.alignment_bytes() < kSectorBytes) {}
  FlushGroup(const FlushGroup&) = delete;
  FlushGroup& operator=(const FlushGroup&) = delete;
  ~FlushGroup();

  // Answers okay once everything that completed before this call is on stable storage.
  // The request was begun (request.h).
  void submit(ImageRequest& request) noexcept;

  // The same, but calls `then` on the request's thread. Used of the request, which has no piece in
  // flight: pieces[0], task, and the scratch words `then` and `status`.
  void sync(ImageRequest& request, Then then) noexcept;

  // A sync of the image's own that did not come by here has failed.
  void missed_failure() noexcept;

 private:
  void start(ImageRequest& leader) noexcept;
  void finished(ImageRequest& leader) noexcept;
  IoStatus status_of_flush(IoStatus status, bool any_flush) noexcept;
  static FlushGroup& of(ImageRequest& request);
  static Then then_of(ImageRequest& request);

  File& file_;
  const bool cached_;
  std::mutex mutex_;
  bool syncing_ = false;  // a sync is in flight, or its leader is on the way to start it
  TaskList sharing_;      // served by the sync that is in flight, besides its leader
  TaskList waiting_;      // came too late for it
  bool owed_ = false;     // a failure that no flush was told of
};

}  // namespace xenblk::vhd
