// An engine whose operations are done at once, by the thread that runs it, with the calls of File:
// for work in the background of a daemon that may not make another ring. Made, used and destroyed
// by one thread; post() by any.
#pragma once

#include <condition_variable>
#include <mutex>

#include "xenblk/image.h"

namespace xenblk::vhd {

class BlockingEngine final : public IoEngine {
 public:
  struct Call {
    ImageOp op = ImageOp::read;
    SectorIndex first;
    SectorCount count;
    std::byte* data = nullptr;
  };
  // One request, from its submission to its answer, whose status is returned.
  IoStatus run(Image& image, const Call& call);

  void submit(IoOp& op) noexcept override { waiting_.push_back(op); }
  void post(Task& task) noexcept override;

 private:
  void take_a_turn();
  static std::int64_t perform(const IoOp& op);

  IoOpList waiting_;
  std::mutex mutex_;
  std::condition_variable posted_;
  TaskList tasks_;
};

}  // namespace xenblk::vhd
