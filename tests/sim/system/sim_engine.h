// A worker's engine on several simulated storages. Operations complete in any order, some time
// later; a storage may also stand still for a while.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "ringio/loop_engine.h"
#include "tests/sim/system/chance.h"
#include "tests/vhd/power_cut/sim_storage.h"

namespace xenblk::sim {

class SimEngine final : public ringio::LoopEngine {
 public:
  // Borrowed. The storages outlive the engine.
  SimEngine(Dice& dice, VirtualClock& clock, const std::vector<power_cut::SimStorage*>& storages)
      : dice_(dice), clock_(clock) {
    for (auto* storage : storages) {
      parts_.push_back({storage, std::make_unique<power_cut::SimEngine>(*storage)});
    }
  }

  // The parents of an image lie elsewhere, and are only read: any part can do that.
  void submit(IoOp& op) noexcept override {
    const auto& file = static_cast<const power_cut::SimFile&>(*op.file);
    const auto own =
        std::ranges::find_if(parts_, [&](const Part& part) { return file.is_on(*part.storage); });
    (own == parts_.end() ? parts_.front() : *own).engine->submit(op);
  }
  void post(Task& task) noexcept override { tasks_.push_back(task); }

  void turn(std::chrono::nanoseconds patience) noexcept override {
    last_patience = patience;
    ran_ = run_tasks();
    for (auto& part : parts_) {
      if (part.stalled_until > clock_.now()) continue;
      for (auto count = dice_.below(4); count > 0 && part.engine->in_flight() > 0; --count) {
        ran_ |= part.engine->poll();
      }
      if (stalls && dice_.one_in(400)) {
        part.stalled_until = {clock_.now().ns + dice_.below(2'000'000)};
      }
    }
    if (!ran_ && patience != kForever) {
      clock_.advance(std::clamp(patience, std::chrono::nanoseconds(1000),
                                std::chrono::nanoseconds(1'000'000)));
    }
  }

  // As SIGKILL: the storage does what it was asked for, and nobody hears of it.
  void die() {
    for (auto& part : parts_) part.engine->finish_unheard();
  }

  bool idle() const {
    return tasks_.empty() && !ran_ && std::ranges::all_of(parts_, [](const Part& part) {
             return part.engine->in_flight() == 0;
           });
  }

  bool stalls = false;  // storages stand still now and then
  std::chrono::nanoseconds last_patience = kNoWait;

 private:
  struct Part {
    power_cut::SimStorage* storage;
    std::unique_ptr<power_cut::SimEngine> engine;
    Instant stalled_until = {};
  };

  bool run_tasks() {
    TaskList now;
    now.swap(tasks_);
    const bool any = !now.empty();
    while (!now.empty()) {
      auto& task = now.front();
      now.pop_front();
      task.run(task);
    }
    return any;
  }

  Dice& dice_;
  VirtualClock& clock_;
  std::vector<Part> parts_;
  TaskList tasks_;
  bool ran_ = false;
};

}  // namespace xenblk::sim
