// A virtual disk on a simulated storage: what it may hold, and what a crash would leave of it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tests/sim/system/chance.h"
#include "tests/sim/system/plan.h"
#include "tests/vhd/power_cut/scenario.h"
#include "tests/vhd/power_cut/sim_files.h"
#include "xenblk/image.h"

namespace xenblk::sim {

struct StorageFaults {
  bool errors = false;   // operations fail now and then, in part
  bool no_room = false;  // the storage fills up for a while
};

// Pinned. All disks that name the same image share it while it is open.
class SimDisk {
 public:
  SimDisk(Dice& dice, StorageFaults faults, Sabotage sabotage);
  ~SimDisk();
  SimDisk(const SimDisk&) = delete;
  SimDisk& operator=(const SimDisk&) = delete;

  // As ImageOpener::OpenImage; each user finishes and drops what it gets.
  Expected<std::shared_ptr<Image>> open(Access access);
  std::size_t users() const { return users_; }
  // The process that has it open has died.
  void lose_users();

  power_cut::SimStorage& storage() { return *storage_; }
  power_cut::SectorModel& model() { return model_; }
  std::uint64_t sectors() const { return scenario_.sectors; }
  // A hostile guest writes here: a crash leaves an image that opens, whatever is in it.
  void hold_anything() { holds_anything_ = true; }
  // Now and then it is full, and later it is not.
  void change_room();
  void end_faults();

  std::uint64_t crashes() const { return crashes_; }
  const std::string& wrong() const { return wrong_; }

 private:
  class User;
  Expected<std::unique_ptr<Image>> open_files(power_cut::SimFiles& files, Access access);
  void maybe_crash();
  std::string look(power_cut::SimContents& contents, power_cut::Crash crash);
  Expected<void> finish_user();

  Dice dice_;
  const Sabotage sabotage_;
  power_cut::Scenario scenario_;
  bool raw_ = false;
  power_cut::SectorModel model_{0};
  std::unique_ptr<power_cut::SimStorage> storage_;
  std::unique_ptr<power_cut::StorageFiles> files_;
  std::unique_ptr<Image> image_;  // while it has users
  std::size_t users_ = 0;
  std::uint64_t deaths_ = 0;  // of users
  bool holds_anything_ = false;
  bool faults_over_ = false;
  std::uint64_t crashes_ = 0;
  std::string wrong_;
};

}  // namespace xenblk::sim
