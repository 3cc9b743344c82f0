// What only the loopback XenStore can show: guests' rights, lost connections, faults on demand.
#include <gtest/gtest.h>

#include "backend/platform/loopback/loopback_xen.h"

namespace xenblk::loopback {
namespace {

class Store : public testing::Test {
 protected:
  template <class T>
  static Errc code(const Expected<T>& result) {
    EXPECT_FALSE(result.has_value());
    return result ? Errc::io : result.error().code;
  }
  void host_writes(std::string_view path, std::vector<NodePermission> permissions) {
    ASSERT_TRUE(host_->write(path, "h").has_value());
    ASSERT_TRUE(host_->set_permissions(path, permissions).has_value());
  }
  std::optional<WatchEvent> guest_event() { return guest_->next_event().value(); }

  LoopbackXen xen_;
  std::shared_ptr<GuestDomain> domain_ = xen_.create_domain({7});
  std::unique_ptr<XenStore> host_ = xen_.host().open_store().value();
  std::unique_ptr<XenStore> guest_ = domain_->open_store();
};
using StoreDeathTest = Store;

TEST_F(Store, LetsAGuestWriteItsDeviceDirectory) {
  ASSERT_TRUE(guest_->write("device/vbd/768/state", "1").has_value());
  const auto permissions = host_->permissions("/local/domain/7/device/vbd/768/state").value();
  EXPECT_EQ(permissions.front(), (NodePermission{{7}, NodeRights::none}));
}

TEST_F(Store, KeepsAGuestFromWritingElsewhere) {
  EXPECT_EQ(code(guest_->write("/local/domain/7/name", "x")), Errc::permission);
  EXPECT_EQ(code(guest_->write("/local/domain/8/device/x", "x")), Errc::permission);
  EXPECT_EQ(code(guest_->write("/top", "x")), Errc::permission);
}

TEST_F(Store, ShowsAGuestOnlyWhatItMayRead) {
  host_writes("/local/domain/0/backend/vbd/7", {{{0}, NodeRights::none}, {{7}, NodeRights::read}});
  host_writes("/local/domain/0/backend/vbd/8", {{{0}, NodeRights::none}});
  EXPECT_EQ(guest_->read("/local/domain/0/backend/vbd/7").value(), "h");
  EXPECT_EQ(code(guest_->read("/local/domain/0/backend/vbd/7/missing")), Errc::not_found);
  EXPECT_EQ(code(guest_->read("/local/domain/0/backend/vbd/8")), Errc::permission);
  EXPECT_EQ(code(guest_->read("/local/domain/0/backend/vbd/8/missing")), Errc::permission);
  EXPECT_EQ(code(guest_->write("/local/domain/0/backend/vbd/7", "x")), Errc::permission);
  EXPECT_EQ(code(guest_->remove("/local/domain/0/backend/vbd/7")), Errc::permission);
}

TEST_F(Store, TellsAGuestOnlyWhatItMayRead) {
  host_writes("/secret", {{{0}, NodeRights::none}});
  ASSERT_TRUE(guest_->watch("/secret", "t").has_value());
  ASSERT_TRUE(guest_event().has_value());
  ASSERT_TRUE(host_->write("/secret", "2").has_value());
  EXPECT_EQ(guest_event(), std::nullopt);
}

TEST_F(Store, KeepsAGuestFromGivingNodesAway) {
  ASSERT_TRUE(guest_->write("device/x", "1").has_value());
  const NodePermission given[] = {{{8}, NodeRights::both}};
  EXPECT_EQ(code(guest_->set_permissions("device/x", given)), Errc::permission);
  const NodePermission shared[] = {{{7}, NodeRights::read}};
  EXPECT_TRUE(guest_->set_permissions("device/x", shared).has_value());
}

TEST_F(Store, TellsRelativePathsToARelativeWatch) {
  ASSERT_TRUE(guest_->watch("device", "t").has_value());
  EXPECT_EQ(guest_event()->path, "device");
  ASSERT_TRUE(guest_->write("device/x", "1").has_value());
  EXPECT_EQ(guest_event()->path, "device/x");
}

TEST_F(Store, TellsWhenDomainsComeAndGo) {
  ASSERT_TRUE(host_->watch("@releaseDomain", "t").has_value());
  ASSERT_TRUE(host_->next_event().value().has_value());
  xen_.create_domain({9});
  EXPECT_TRUE(host_->domain_exists({9}));
  EXPECT_EQ(host_->next_event().value(), std::nullopt);
  xen_.destroy_domain({9});
  EXPECT_EQ(host_->next_event().value()->path, "@releaseDomain");
  EXPECT_FALSE(host_->domain_exists({9}));
}

TEST_F(Store, LosesTheConnectionOfADestroyedDomain) {
  xen_.destroy_domain({7});
  EXPECT_EQ(code(guest_->read("device")), Errc::closed);
  EXPECT_EQ(code(guest_->next_event()), Errc::closed);
  EXPECT_EQ(host_->read("/local/domain/7/device").value(), "");
}

TEST_F(Store, LosesConnectionsOnDemand) {
  xen_.lose_store_connections({0});
  EXPECT_EQ(code(host_->read("/local")), Errc::closed);
  EXPECT_EQ(code(host_->begin()), Errc::closed);
  host_ = xen_.host().open_store().value();
  EXPECT_TRUE(host_->read("/local").has_value());
}

TEST_F(Store, ReportsConflictsOnDemand) {
  xen_.faults().commit_conflicts.set(1);
  const auto first = host_->begin().value();
  ASSERT_TRUE(host_->write("/a", "1", first).has_value());
  EXPECT_EQ(host_->commit(first).value(), CommitResult::conflict);
  EXPECT_EQ(code(host_->read("/a")), Errc::not_found);
  EXPECT_EQ(host_->commit(host_->begin().value()).value(), CommitResult::committed);
}

TEST_F(Store, ShowsGarbageAndHolesOnDemand) {
  ASSERT_TRUE(host_->write("/a", "1").has_value());
  xen_.faults().set_garbage("/a", "%n");
  EXPECT_EQ(host_->read("/a").value(), "%n");
  xen_.faults().set_vanished("/a");
  EXPECT_EQ(code(host_->read("/a")), Errc::not_found);
  xen_.faults().clear_nodes();
  EXPECT_EQ(host_->read("/a").value(), "1");
}

TEST_F(Store, FailsWritesOnDemand) {
  xen_.faults().failed_writes.set(1);
  EXPECT_EQ(host_->write("/a", "1").error().os_error, EIO);
  EXPECT_TRUE(host_->write("/a", "1").has_value());
}

TEST_F(Store, CountsWhatABackendHolds) {
  ASSERT_TRUE(host_->watch("/a", "t").has_value());
  EXPECT_EQ(xen_.usage().watches, 1U);
  const auto transaction = host_->begin().value();
  EXPECT_EQ(xen_.usage().transactions, 1U);
  host_->abort(transaction);
  host_->unwatch("/a", "t");
  EXPECT_TRUE(xen_.usage().nothing_held());
}

TEST_F(Store, ConflictsWithANodeThatCameAndWent) {
  const auto transaction = host_->begin().value();
  EXPECT_EQ(code(host_->read("/a/b", transaction)), Errc::not_found);
  const auto other = xen_.open_store_as({0});
  ASSERT_TRUE(other->write("/a/b", "1", {}).has_value());
  EXPECT_EQ(host_->commit(transaction).value(), CommitResult::conflict);
}

TEST_F(StoreDeathTest, StopsAnUnwatchOfWhatIsNotWatched) {
  EXPECT_DEATH(host_->unwatch("/a", "t"), "only a watch that was set");
}

TEST_F(StoreDeathTest, StopsAFinishedTransaction) {
  const auto transaction = host_->begin().value();
  host_->abort(transaction);
  EXPECT_DEATH(host_->read("/a", transaction).value(), "until commit or abort");
}

}  // namespace
}  // namespace xenblk::loopback
