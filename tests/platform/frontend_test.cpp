// The simulated blkfront against a tiny backend: every way to connect, reads and writes, and each
// of its own checks shown to fail on a faulty backend.
#include "backend/platform/loopback/frontend.h"

#include <gtest/gtest.h>

#include "backend/platform/loopback/frontend_load.h"
#include "backend/platform/loopback/toolstack.h"
#include "tests/platform/tiny_backend.h"

namespace xenblk::loopback {
namespace {

using blkif::Layout;
using blkif::Op;
using blkif::Status;

constexpr SectorCount kCapacity = {4096};

class Frontend : public testing::Test {
 protected:
  Frontend() {
    toolstack_.add_disk(disk_);
    backend_ = std::make_unique<TinyBackend>(xen_.host(), disk_, kCapacity);
  }

  void connect(FrontendOptions options = {}) {
    const auto connected = start(std::move(options)).connect();
    ASSERT_TRUE(connected.has_value()) << describe(connected.error());
  }
  SimulatedFrontend& start(FrontendOptions options = {}) {
    options.patience = patience_;
    frontend_ = std::make_unique<SimulatedFrontend>(guest_, std::move(options));
    return *frontend_;
  }
  LoadResult run(Op op, Content content = Content::pattern, SectorCount request = {8}) {
    Load load{.op = op, .content = content, .length = {1024}, .request = request};
    load.requests = 1024 / request.n;
    load.patience = patience_;
    return run_load(frontend_->queue(), load);
  }
  void writes_and_reads_back(FrontendOptions options, SectorCount request = {8}) {
    connect(std::move(options));
    EXPECT_TRUE(run(Op::write, Content::pattern, request).clean());
    const auto reads = run(Op::read, Content::pattern, request);
    EXPECT_TRUE(reads.clean());
    EXPECT_EQ(reads.answered, 1024 / request.n);
  }
  std::string broken_rule() {
    std::vector<std::byte> sector(kSectorBytes);
    const auto result = frontend_->read({0}, sector);
    return result ? "" : result.error().text;
  }

  LoopbackXen xen_;
  std::shared_ptr<GuestDomain> guest_ = xen_.create_domain({7});
  Disk disk_ = {.guest = {7}, .params = "raw:/disk"};
  LoopbackToolstack toolstack_{xen_};
  std::unique_ptr<TinyBackend> backend_;
  Patience patience_ = {.timeout_ms = 500, .pump = [this] { backend_->step(); }};
  std::unique_ptr<SimulatedFrontend> frontend_;
};

TEST_F(Frontend, ConnectsAndReadsTheProperties) {
  connect();
  EXPECT_EQ(frontend_->properties().sectors, kCapacity);
  EXPECT_TRUE(frontend_->properties().flush);
  EXPECT_FALSE(frontend_->properties().discard);
  EXPECT_EQ(toolstack_.backend_state(disk_), "4");
}

TEST_F(Frontend, WritesAndReadsBackInEveryLayout) {
  writes_and_reads_back({.queue = {.layout = Layout::x86_64}});
  ASSERT_TRUE(frontend_->close().has_value());
  ASSERT_TRUE(frontend_->reinitialise().has_value());
  writes_and_reads_back({.queue = {.layout = Layout::x86_32}});
}

TEST_F(Frontend, ConnectsWithRingsOfSeveralPages) {
  writes_and_reads_back({.queue = {.layout = Layout::x86_32, .ring_pages = 16, .depth = 256}});
  EXPECT_EQ(frontend_->queue().ring().entries(), 512U);
  EXPECT_EQ(read_node(frontend_->store(), frontend_->path() + "/ring-page-order"), "4");
}

TEST_F(Frontend, ConnectsWithTheDeprecatedKeys) {
  writes_and_reads_back({.queue = {.ring_pages = 4}, .keys = RingKeys::num_ring_pages});
  EXPECT_EQ(read_node(frontend_->store(), frontend_->path() + "/num-ring-pages"), "4");
  EXPECT_EQ(read_node(frontend_->store(), frontend_->path() + "/ring-page-order"), std::nullopt);
}

TEST_F(Frontend, ConnectsSeveralQueues) {
  connect({.queues = 4});
  EXPECT_EQ(frontend_->queue_count(), 4U);
  EXPECT_EQ(read_node(frontend_->store(), frontend_->path() + "/event-channel"), std::nullopt);
  Load load{.op = Op::write, .length = {64}, .requests = 16, .patience = patience_};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(run_load(frontend_->queue(i), load).clean());
}

TEST_F(Frontend, UsesIndirectRequests) {
  writes_and_reads_back({.queue = {.segments_max = 32}}, {256});
  EXPECT_EQ(backend_->indirect_requests(), 8U);
}

TEST_F(Frontend, KeepsPersistentGrants) {
  writes_and_reads_back({.grants = Grants::persistent});
  EXPECT_GT(guest_->grants_in_force(), 1U);
}

TEST_F(Frontend, EndsGrantsOfAnsweredRequests) {
  writes_and_reads_back({});
  EXPECT_EQ(guest_->grants_in_force(), 1U);
}

TEST_F(Frontend, ReadsAndWritesOneAfterTheOther) {
  connect();
  std::vector<std::byte> out(100 * kSectorBytes), in(out.size());
  fill_pattern(out, {3}, 1);
  EXPECT_EQ(frontend_->write({3}, out), Status::okay);
  EXPECT_EQ(frontend_->write_barrier({200}, out), Status::okay);
  EXPECT_EQ(frontend_->flush(), Status::okay);
  EXPECT_EQ(frontend_->write_barrier({0}, {}), Status::okay);
  EXPECT_EQ(frontend_->discard({0}, {1}), Status::okay);
  EXPECT_EQ(frontend_->read({3}, in), Status::okay);
  EXPECT_EQ(in, out);
}

TEST_F(Frontend, ClosesAndLeavesNothing) {
  connect();
  ASSERT_TRUE(frontend_->close().has_value());
  EXPECT_EQ(toolstack_.backend_state(disk_), "6");
  EXPECT_EQ(guest_->grants_in_force(), 0U);
  EXPECT_TRUE(xen_.usage().nothing_held());
}

TEST_F(Frontend, NoticesWrongContent) {
  connect();
  EXPECT_EQ(run(Op::read).mismatched, 128U);
}

TEST_F(Frontend, RefusesWhatWasNotOffered) {
  EXPECT_EQ(start({.queues = 9}).connect().error().code, Errc::refused);
  EXPECT_EQ(start({.queue = {.ring_pages = 32}}).connect().error().code, Errc::refused);
}

TEST_F(Frontend, SaysWhichStateTheBackendIsStuckIn) {
  backend_->fail_from_now(BackendFault::never_connects);
  const auto error = start().connect().error();
  EXPECT_EQ(error.code, Errc::closed);
  EXPECT_EQ(error.text, "/local/domain/0/backend/vbd/7/51712/state is 2 instead of 4");
}

TEST_F(Frontend, MissesAProperty) {
  backend_->fail_from_now(BackendFault::forgets_sector_size);
  EXPECT_EQ(start().connect().error().code, Errc::bad_node);
}

TEST_F(Frontend, CatchesPagesThatStayMapped) {
  connect();
  backend_->fail_from_now(BackendFault::keeps_pages_mapped);
  EXPECT_TRUE(broken_rule().ends_with("of an answered request is still mapped")) << broken_rule();
  EXPECT_TRUE(frontend_->violation().has_value());
}

TEST_F(Frontend, CatchesAnotherId) {
  connect();
  backend_->fail_from_now(BackendFault::answers_with_another_id);
  EXPECT_TRUE(broken_rule().ends_with("which is not pending"));
}

TEST_F(Frontend, CatchesAResponseTooMany) {
  connect();
  backend_->fail_from_now(BackendFault::answers_twice);
  EXPECT_TRUE(broken_rule().starts_with("rsp_prod is 1 beyond"));
}

TEST_F(Frontend, GivesUpOnABackendThatDoesNotAnswer) {
  connect();
  backend_->fail_from_now(BackendFault::answers_nothing);
  EXPECT_TRUE(broken_rule().ends_with("does not answer"));
}

TEST_F(Frontend, FollowsTheToolstacksRemoval) {
  connect();
  frontend_->close().value();
  EXPECT_TRUE(toolstack_.remove_disk(disk_, patience_));
  EXPECT_EQ(toolstack_.backend_state(disk_), std::nullopt);
}

TEST_F(Frontend, IsRemovedByForce) {
  connect();
  EXPECT_TRUE(toolstack_.force_remove_disk(disk_, patience_));
  EXPECT_TRUE(xen_.usage().nothing_held());
  EXPECT_EQ(read_node(toolstack_.store(), frontend_path({7}, disk_.device)), std::nullopt);
}

TEST_F(Frontend, EndsWithItsDomain) {
  connect();
  EXPECT_TRUE(toolstack_.destroy_domain({7}, {disk_}, patience_));
  EXPECT_EQ(read_node(toolstack_.store(), "/local/domain/7"), std::nullopt);
  EXPECT_TRUE(xen_.usage().nothing_held());
}

TEST(Toolstack, GivesEachSideItsRights) {
  LoopbackXen xen;
  const auto guest = xen.create_domain({7});
  LoopbackToolstack toolstack(xen);
  const Disk disk{.guest = {7}, .params = "raw:/disk"};
  toolstack.add_disk(disk);
  const auto store = guest->open_store();
  EXPECT_EQ(store->read(backend_path(disk) + "/params").value(), "raw:/disk");
  EXPECT_EQ(store->write(backend_path(disk) + "/state", "4").error().code, Errc::permission);
  EXPECT_TRUE(store->write(frontend_path({7}, disk.device) + "/state", "3").has_value());
}

}  // namespace
}  // namespace xenblk::loopback
