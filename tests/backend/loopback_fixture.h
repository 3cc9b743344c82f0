// A host with the real control and data plane on a loopback Xen, a guest, and verbs for both.
#pragma once

#include <gtest/gtest.h>
#include <spdlog/logger.h>

#include <fstream>
#include <memory>

#include "backend/daemon/demo/loopback_host.h"
#include "backend/platform/loopback/frontend.h"
#include "backend/platform/loopback/frontend_load.h"
#include "backend/platform/loopback/toolstack.h"
#include "tests/backend/text_sink.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/create.h"

namespace xenblk::backend {

inline const loopback::Patience kPatience{.timeout_ms = 60000, .pump = {}};
inline constexpr std::uint64_t kDiskBytes = 4U << 20;
inline constexpr DomainId kGuest{7};

class LoopbackTest : public testing::Test {
 protected:
  void SetUp() override { start_host(); }
  // Whatever a test has done: with its disks gone, nothing may be held, and with the host gone
  // nothing at all.
  void TearDown() override {
    frontend_.reset();
    end_host();
    EXPECT_TRUE(xen_.usage().nothing_held());
  }

  void start_host(BackendOptions options = {.offer = {.max_ring_order = 4, .max_queues = 8},
                                            .workers = 2}) {
    auto host = demo::LoopbackHost::start(xen_, std::move(options), log_);
    ASSERT_TRUE(host.has_value()) << describe(host.error());
    host_ = std::move(*host);
  }
  void end_host() { host_.reset(); }

  std::string raw_image(const std::string& name = "disk.raw") {
    return "raw:" + directory_.make_file(name, kDiskBytes, 'r');
  }
  std::string vhd_image(const std::string& name = "disk.vhd") {
    const auto path = directory_.path(name);
    EXPECT_TRUE(vhd::create_vhd_file(path, {.capacity = {kDiskBytes / kSectorBytes}}).has_value());
    return "vhd:" + path;
  }

  loopback::Disk disk(const std::string& params, std::uint32_t device = 51712) const {
    return {.guest = kGuest, .params = params, .device = {device}};
  }
  std::unique_ptr<loopback::SimulatedFrontend> make_frontend(
      loopback::FrontendOptions options = {}) {
    options.patience = kPatience;
    return std::make_unique<loopback::SimulatedFrontend>(guest_, options);
  }
  // The fixture's own frontend, connected to a disk that is added for it.
  void connect(const loopback::Disk& disk, loopback::FrontendOptions options = {}) {
    toolstack_.add_disk(disk);
    options.device = disk.device;
    frontend_ = make_frontend(options);
    const auto connected = frontend_->connect();
    ASSERT_TRUE(connected.has_value()) << describe(connected.error()) << log_text();
  }
  // As xl block-detach with a guest that plays along.
  void remove(const loopback::Disk& disk) {
    toolstack_.request_removal(disk);
    if (frontend_) {
      ASSERT_TRUE(frontend_->close().has_value()) << log_text();
    }
    frontend_.reset();
    ASSERT_TRUE(toolstack_.remove_disk(disk, kPatience)) << log_text();
  }

  void expect_writes_and_reads(loopback::SimulatedFrontend& frontend, std::uint64_t seed = 1) {
    for (const auto op : {blkif::Op::write, blkif::Op::read}) {
      for (std::size_t index = 0; index < frontend.queue_count(); ++index) {
        const auto length = kDiskBytes / kSectorBytes / frontend.queue_count() / 8 * 8;
        const auto result = run_load(frontend.queue(index), {.op = op,
                                                             .order = loopback::Order::sequential,
                                                             .content = loopback::Content::pattern,
                                                             .first = {index * length},
                                                             .length = {length},
                                                             .requests = length / 8,
                                                             .seed = seed,
                                                             .patience = kPatience});
        EXPECT_TRUE(result.clean()) << result.violation.value_or("") << " failed " << result.failed
                                    << " mismatched " << result.mismatched << log_text();
      }
    }
  }
  void expect_okay(const Expected<blkif::Status>& status) {
    ASSERT_TRUE(status.has_value()) << describe(status.error());
    EXPECT_EQ(*status, blkif::Status::okay);
  }

  void expect_node(const loopback::Disk& disk, const std::string& name, const std::string& value) {
    EXPECT_TRUE(wait_for_node(
        toolstack_.store(), backend_path(disk) + "/" + name,
        [&](const auto& seen) { return seen == value; }, kPatience))
        << name << " is " << toolstack_.backend_node(disk, name).value_or("missing") << log_text();
  }
  std::string node(const loopback::Disk& disk, const std::string& name) {
    return toolstack_.backend_node(disk, name).value_or("missing");
  }
  static std::string error_path(const loopback::Disk& disk) {
    return "/local/domain/0/error/backend/vbd/" + std::to_string(disk.guest.n) + "/" +
           std::to_string(disk.device.n) + "/error";
  }
  std::string error_node(const loopback::Disk& disk) {
    return loopback::read_node(toolstack_.store(), error_path(disk)).value_or("missing");
  }
  // It goes with the device, which the backend notices in its own time.
  void expect_no_error_node(const loopback::Disk& disk) {
    EXPECT_TRUE(wait_for_node(
        toolstack_.store(), error_path(disk), [](const auto& seen) { return !seen; }, kPatience));
  }
  void set_node(const std::string& path, const std::string& value) {
    ASSERT_TRUE(toolstack_.store().write(path, value, {}).has_value());
  }
  std::string log_text() { return "\n" + log_sink_->text(); }

  test::TempDir directory_;
  std::shared_ptr<TextSink> log_sink_ = std::make_shared<TextSink>();
  spdlog::logger log_{"test", log_sink_};
  loopback::LoopbackXen xen_;
  loopback::LoopbackToolstack toolstack_{xen_};
  std::shared_ptr<loopback::GuestDomain> guest_ = xen_.create_domain(kGuest);
  std::unique_ptr<demo::LoopbackHost> host_;
  std::unique_ptr<loopback::SimulatedFrontend> frontend_;
};

}  // namespace xenblk::backend
