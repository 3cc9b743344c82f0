// A guest that writes its whole disk and verifies what it reads, while xenblkctl does something to
// its image.
#pragma once

#include <atomic>
#include <thread>

#include "tests/control/control_fixture.h"
#include "vhd/host_file.h"
#include "vhd/operations/check.h"

namespace xenblk::control {

class Live : public ControlTest {
 protected:
  void TearDown() override {
    end_traffic();
    ControlTest::TearDown();
  }
  loopback::Disk connect_web1(const std::string& params) {
    const auto one = named_disk(params);
    connect(one, {.queues = 2, .keys = loopback::RingKeys::ring_page_order});
    return one;
  }
  std::string fixed_image() {
    const auto path = directory_.path("fixed.vhd");
    EXPECT_TRUE(vhd::create_vhd_file(
        path, {.capacity = {backend::kDiskBytes / kSectorBytes}, .type = vhd::DiskType::fixed}));
    return "vhd:" + path;
  }

  // The guest writes its whole disk and reads it back, again and again.
  void begin_traffic() {
    traffic_ = std::thread([this] {
      for (std::uint64_t seed = 1; !enough_; ++seed) {
        expect_writes_and_reads(*frontend_, seed);
        ++rounds_;
      }
    });
  }
  // Whatever was done before is followed by a whole round.
  void wait_for_traffic() const {
    const auto rounds = rounds_.load();
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (rounds_ < rounds + 2) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "the guest waits for ever";
      std::this_thread::yield();
    }
  }
  void end_traffic() {
    enough_ = true;
    if (traffic_.joinable()) traffic_.join();
    enough_ = false;
  }
  std::string path(const std::string& name) const { return directory_.path(name); }
  static std::string content_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // The image as a second, read-only disk of the guest: what of it is as a round of traffic left
  // it.
  void expect_pattern(const std::string& params, std::uint64_t seed) {
    auto one = disk(params, 51776);
    one.mode = "r";
    toolstack_.add_disk(one);
    const auto reader = make_frontend({.device = one.device});
    ASSERT_TRUE(reader->connect().has_value()) << log_text();
    std::vector<std::byte> data(backend::kDiskBytes);
    expect_okay(reader->read({0}, data));
    EXPECT_TRUE(loopback::has_pattern(data, {0}, seed));
    toolstack_.request_removal(one);
    ASSERT_TRUE(reader->close().has_value());
    ASSERT_TRUE(toolstack_.remove_disk(one, backend::kPatience));
  }
  void expect_sound(const std::string& path) {
    auto file = vhd::open_host_file(path, {});
    ASSERT_TRUE(file.has_value()) << describe(file.error());
    const auto report = vhd::check_image(**file);
    ASSERT_TRUE(report.has_value()) << describe(report.error());
    EXPECT_EQ(report->status(), "good");
  }

  std::thread traffic_;
  std::atomic<bool> enough_ = false;
  std::atomic<std::uint64_t> rounds_ = 0;
};

}  // namespace xenblk::control
