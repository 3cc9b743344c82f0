// Opens and closes images on a thread of its own: storage that hangs must not hold up the control
// plane.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "backend/event_loop.h"
#include "backend/work_queue.h"
#include "vhd/image_registry.h"
#include "xenblk/error.h"
#include "xenblk/image.h"

namespace xenblk::backend {

// Pinned. Used by the loop's thread; results are posted to the loop, in the order of the calls.
class ImageOpener {
 public:
  using OpenDone = std::function<void(Expected<std::shared_ptr<Image>>)>;
  using CloseDone = std::function<void(Expected<void>)>;

  explicit ImageOpener(EventLoop& loop) : loop_(loop) {}

  // `params` as XenStore has it. Errors: bad_spec and whatever vhd::ImageRegistry::open answers.
  void open(std::string params, Access access, OpenDone done);
  // Everything is on stable storage when `done` runs, or its error says what is not.
  void close(std::shared_ptr<Image> image, CloseDone done);

 private:
  EventLoop& loop_;
  vhd::ImageRegistry registry_;
  WorkQueue work_;  // last: its thread uses the others
};

}  // namespace xenblk::backend
