// Which interrupts are moved to a worker's CPU, on a directory that plays /proc/irq.
#include "backend/platform/libxen/interrupt_steering.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <fstream>
#include <string>
#include <thread>

#include "tests/vhd/temp_dir.h"

namespace xenblk::libxen {
namespace {

class Steering : public testing::Test {
 protected:
  void add_interrupt(const std::string& number, const std::string& action) const {
    const auto path = std::filesystem::path(directory_.path("irq")) / number;
    std::filesystem::create_directories(path / action);
    std::ofstream(path / "smp_affinity_list") << "0-7";
  }
  std::string cpus_of(const std::string& number) const {
    std::string cpus;
    std::ifstream(directory_.path("irq") + "/" + number + "/smp_affinity_list") >> cpus;
    return cpus;
  }
  // The thread's name is what tells whose they are.
  template <class Body>
  void as_worker(const Body& body) {
    std::thread([&] {
      ::pthread_setname_np(::pthread_self(), "worker-1");
      InterruptSteering steering(3, directory_.path("irq"));
      body(steering);
    }).join();
  }

  test::TempDir directory_;
};

TEST_F(Steering, MovesTheInterruptsOfItsOwnThreadAlone) {
  add_interrupt("50", "evtchn:worker-1");
  add_interrupt("51", "evtchn:worker-11");
  add_interrupt("52", "blkif-backend");
  as_worker([](InterruptSteering& steering) { steering.steer_new(); });
  EXPECT_EQ(cpus_of("50"), "3");
  EXPECT_EQ(cpus_of("51"), "0-7");
  EXPECT_EQ(cpus_of("52"), "0-7");
}

TEST_F(Steering, MovesEachOnceUntilANumberMayHaveBeenUsedAgain) {
  add_interrupt("50", "evtchn:worker-1");
  as_worker([&](InterruptSteering& steering) {
    steering.steer_new();
    add_interrupt("50", "evtchn:worker-1");
    steering.steer_new();
    EXPECT_EQ(cpus_of("50"), "0-7");
    steering.forget();
    steering.steer_new();
    EXPECT_EQ(cpus_of("50"), "3");
  });
}

TEST_F(Steering, DoesNothingWhereThereAreNoInterrupts) {
  as_worker([](InterruptSteering& steering) { steering.steer_new(); });
}

}  // namespace
}  // namespace xenblk::libxen
