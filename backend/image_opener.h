// Opens and closes images on a thread of its own: storage that hangs must not hold up the control
// plane.
#pragma once

#include <functional>
#include <memory>
#include <optional>
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

  // What is to be done to an image between two requests.
  using ImageChange = std::function<vhd::Changed(vhd::ImageRegistry&, std::shared_ptr<Image>&&)>;
  // What does not need the image to be at rest.
  using ImageLook =
      std::function<Expected<void>(vhd::ImageRegistry&, const std::shared_ptr<Image>&)>;
  using ChangeDone = std::function<void(vhd::Changed)>;

  using RereadDone = std::function<void(Expected<SectorCount>)>;
  // Stands in for the registry.
  using OpenImage =
      std::function<Expected<std::shared_ptr<Image>>(const std::string& params, Access access)>;

  // Stands in for the thread: runs the work some time later, one after the other.
  using RunAside = std::function<void(WorkQueue::Work)>;

  // Without `open_image` params are parsed and opened as image files; without `run_aside` there is
  // a thread.
  ImageOpener(EventLoop& loop, vhd::ImageRegistryOptions options, OpenImage open_image = {},
              RunAside run_aside = {})
      : loop_(loop),
        open_image_(std::move(open_image)),
        run_aside_(std::move(run_aside)),
        registry_(std::move(options)) {
    if (!run_aside_) thread_.emplace();
  }

  // `params` as XenStore has it. Errors: bad_spec and whatever vhd::ImageRegistry::open answers.
  void open(std::string params, Access access, OpenDone done);
  // Everything is on stable storage when `done` runs, or its error says what is not.
  void close(std::shared_ptr<Image> image, CloseDone done);
  // See Image::reread_capacity.
  void reread(std::shared_ptr<Image> image, RereadDone done);
  // See Image::grow.
  void grow(std::shared_ptr<Image> image, SectorCount capacity, RereadDone done);
  // Errors: those of `look`; else as change().
  void look(std::shared_ptr<Image> image, ImageLook look, CloseDone done);
  // `change` gets the last share of the image. unsupported_image where something stands in for the
  // registry.
  void change(std::shared_ptr<Image> image, ImageChange change, ChangeDone done);

 private:
  void run_aside(WorkQueue::Work work);
  Expected<std::shared_ptr<Image>> open_now(const std::string& params, Access access);

  EventLoop& loop_;
  const OpenImage open_image_;
  const RunAside run_aside_;
  vhd::ImageRegistry registry_;
  std::optional<WorkQueue> thread_;  // last: it uses the others
};

}  // namespace xenblk::backend
