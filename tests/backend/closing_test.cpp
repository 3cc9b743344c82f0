// Ends of devices: by the guest, by the toolstack, by force, and by vanishing.
#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

#include "tests/backend/loopback_fixture.h"

namespace xenblk::backend {
namespace {

class Closing : public LoopbackTest {
 protected:
  void connect_raw() { connect(raw_); }
  loopback::Disk raw_ = disk(raw_image());
};

TEST_F(Closing, ServesAFrontendThatComesBack) {
  connect_raw();
  for (int cycle = 0; cycle < 5; ++cycle) {
    ASSERT_TRUE(frontend_->close().has_value()) << log_text();
    expect_node(raw_, "state", "6");
    ASSERT_TRUE(frontend_->reinitialise().has_value());
    ASSERT_TRUE(frontend_->connect().has_value()) << log_text();
    expect_writes_and_reads(*frontend_, static_cast<std::uint64_t>(cycle));
  }
}

TEST_F(Closing, HoldsNothingOnceClosed) {
  connect_raw();
  ASSERT_TRUE(frontend_->close().has_value());
  expect_node(raw_, "state", "6");
  EXPECT_EQ(xen_.usage().mapped_pages, 0U);
  EXPECT_EQ(xen_.usage().bound_ports, 0U);
}

TEST_F(Closing, WaitsForTheFrontendWhenTheToolstackAsks) {
  connect_raw();
  toolstack_.request_removal(raw_);
  expect_writes_and_reads(*frontend_);  // until it closes, it is served
  ASSERT_TRUE(frontend_->close().has_value()) << log_text();
  expect_node(raw_, "state", "6");
}

TEST_F(Closing, ClosesForTheToolstackWhenNoFrontendEverCame) {
  toolstack_.add_disk(raw_);
  expect_node(raw_, "image-state", "open");
  EXPECT_TRUE(toolstack_.remove_disk(raw_, kPatience)) << log_text();
}

TEST_F(Closing, ClosesByForceUnderAFrontendThatDoesNotAnswer) {
  connect_raw();
  EXPECT_TRUE(toolstack_.force_remove_disk(raw_, kPatience)) << log_text();
  EXPECT_EQ(xen_.usage().mapped_pages, 0U);
}

TEST_F(Closing, LeavesNothingInXenStore) {
  connect_raw();
  remove(raw_);
  EXPECT_EQ(node(raw_, "state"), "missing");
  expect_no_error_node(raw_);
}

TEST_F(Closing, ReleasesAGuestThatIsDestroyedWithRequestsInFlight) {
  connect(disk(vhd_image()),
          {.queue = {.ring_pages = 16, .depth = 256}, .keys = loopback::RingKeys::ring_page_order});
  auto& queue = frontend_->queue();
  for (int i = 0; i < 256; ++i) {
    auto* io = queue.acquire();
    io->op = blkif::Op::write;
    io->first = {static_cast<std::uint64_t>(i) * 8};
    io->count = {8};
    queue.start(*io);
  }
  queue.kick();
  EXPECT_TRUE(toolstack_.destroy_domain(kGuest, {disk("", 51712)}, kPatience)) << log_text();
  frontend_.reset();
  EXPECT_EQ(xen_.usage().mapped_pages, 0U);
  EXPECT_EQ(xen_.usage().bound_ports, 0U);
}

TEST_F(Closing, ServesADeviceThatWasRemovedAndMadeAgainAtOnce) {
  const auto other = raw_image("other.raw");
  connect_raw();
  for (int round = 0; round < 5; ++round) {
    // Without any of the manners of a toolstack: the directories vanish and are there again.
    static_cast<void>(toolstack_.store().remove(backend_path(raw_), {}));
    static_cast<void>(toolstack_.store().remove(loopback::frontend_path(kGuest, raw_.device), {}));
    auto fresh = raw_;
    fresh.params = other;
    frontend_.reset();
    connect(fresh);
    expect_writes_and_reads(*frontend_, static_cast<std::uint64_t>(round));
  }
}

TEST_F(Closing, RemovesAndAddsQuickly) {
  for (int round = 0; round < 20; ++round) {
    toolstack_.add_disk(raw_);
    EXPECT_TRUE(toolstack_.remove_disk(raw_, kPatience)) << log_text();
  }
}

TEST_F(Closing, EndsAFrontendThatBeginsAgainWithoutClosing) {
  connect_raw();
  set_node(frontend_->path() + "/state", "1");
  expect_node(raw_, "state", "2");
  auto fresh = make_frontend();
  ASSERT_TRUE(fresh->connect().has_value()) << log_text();
  expect_writes_and_reads(*fresh);
  fresh->close().value();
}

TEST_F(Closing, SurvivesAFrontendThatTogglesItsState) {
  connect_raw();
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 3000; ++i) {
    set_node(frontend_->path() + "/state", std::to_string(random() % 10));
  }
  EXPECT_TRUE(toolstack_.force_remove_disk(raw_, kPatience)) << log_text();
  const auto log = log_text();
  EXPECT_LT(std::ranges::count(log, '\n'), 200) << "a guest fills the log";
}

// Lines about what is harmless do not use up those about what is wrong.
TEST_F(Closing, NamesWhatAGuestDoesWrongHoweverMuchItHasToggledItsState) {
  connect_raw();
  for (int cycle = 0; cycle < 30; ++cycle) {
    ASSERT_TRUE(frontend_->close().has_value()) << log_text();
    ASSERT_TRUE(frontend_->reinitialise().has_value());
    ASSERT_TRUE(frontend_->connect().has_value()) << log_text();
  }
  ASSERT_FALSE(log_text().contains("only counted"));
  frontend_->queue().ring().store_index(blkif::RingOffsets::req_prod, 1000000);
  frontend_->queue().port().notify();
  const auto told = [this] { return log_text().contains("queue 0: "); };
  for (std::uint32_t i = 0; i < kPatience.timeout_ms && !told(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(told()) << log_text();
}

TEST_F(Closing, ServesTheNextGuestWithTheSameIdentifier) {
  for (std::uint64_t guest = 0; guest < 3; ++guest) {
    connect_raw();
    expect_writes_and_reads(*frontend_, guest);
    ASSERT_TRUE(toolstack_.destroy_domain(kGuest, {raw_}, kPatience)) << log_text();
    frontend_.reset();
    guest_ = xen_.create_domain(kGuest);
  }
}

TEST_F(Closing, LooksAtANodeOnceHoweverOftenItIsWritten) {
  connect_raw();
  for (int i = 0; i < 20000; ++i) set_node(frontend_->path() + "/state", "4");
  expect_writes_and_reads(*frontend_);
  ASSERT_TRUE(frontend_->close().has_value()) << log_text();
}

}  // namespace
}  // namespace xenblk::backend
