// What only the loopback Xen can show: the guest's end, dying domains, faults on demand, and that
// it stops a caller that breaks a rule.
#include <gtest/gtest.h>

#include "backend/platform/loopback/loopback_xen.h"

namespace xenblk::loopback {
namespace {

class Domain : public testing::Test {
 protected:
  Expected<GrantMapping> map(GrantRef ref, Access access = Access::read_write) {
    return table_->map({7}, {&ref, 1}, access);
  }
  CopyStatus copy_status(GrantRef ref) {
    GrantCopy segment{ref, 0, 8, buffer_};
    table_->copy({7}, {&segment, 1}, CopyDirection::from_guest);
    return segment.status;
  }
  GrantRef grant(Access access = Access::read_write) { return guest_->grant(page_, {0}, access); }

  LoopbackXen xen_;
  std::shared_ptr<GuestDomain> guest_ = xen_.create_domain({7});
  std::byte* page_ = guest_->allocate_pages(1).data();
  std::unique_ptr<GrantTable> table_ = xen_.host().open_grant_table().value();
  std::unique_ptr<EventChannels> channels_ = xen_.host().open_event_channels().value();
  std::byte buffer_[8] = {};
};
using DomainDeathTest = Domain;

TEST_F(Domain, TellsTheGuestWhetherAGrantIsMapped) {
  const GrantRef ref = grant();
  {
    const auto mapping = map(ref).value();
    EXPECT_TRUE(guest_->is_mapped(ref));
    EXPECT_EQ(guest_->revoke(ref), Revoked::still_mapped);
    EXPECT_EQ(xen_.usage().mapped_pages, 1U);
  }
  EXPECT_FALSE(guest_->is_mapped(ref));
  EXPECT_EQ(guest_->revoke(ref), Revoked::ended);
  EXPECT_EQ(xen_.usage().mapped_pages, 0U);
}

TEST_F(Domain, RefusesARevokedGrant) {
  const GrantRef ref = grant();
  ASSERT_EQ(guest_->revoke(ref), Revoked::ended);
  EXPECT_EQ(map(ref).error().code, Errc::bad_grant);
  EXPECT_EQ(copy_status(ref), CopyStatus::failed);
}

TEST_F(Domain, ReusesTheLastRevokedReference) {
  const GrantRef ref = grant();
  guest_->revoke(ref);
  EXPECT_EQ(grant(), ref);
}

TEST_F(Domain, RefusesAGrantToAnotherDomain) {
  const GrantRef ref = guest_->grant(page_, {3}, Access::read_write);
  EXPECT_EQ(map(ref).error().code, Errc::bad_grant);
  EXPECT_EQ(copy_status(ref), CopyStatus::failed);
}

TEST_F(DomainDeathTest, MakesAReadOnlyMappingTrulyReadOnly) {
  const auto mapping = map(grant(Access::read_only), Access::read_only).value();
  EXPECT_DEATH(*const_cast<volatile std::byte*>(mapping.address()) = std::byte{1}, "");
}

TEST_F(Domain, KeepsMappedMemoryOfADestroyedDomain) {
  const GrantRef ref = grant();
  const auto mapping = map(ref).value();
  page_[0] = std::byte{5};
  xen_.destroy_domain({7});
  guest_.reset();
  EXPECT_EQ(mapping.address()[0], std::byte{5});
  EXPECT_EQ(map(ref).error().code, Errc::bad_grant);
  EXPECT_EQ(copy_status(ref), CopyStatus::failed);
}

TEST_F(Domain, DropsEventsToADestroyedDomain) {
  const auto port = guest_->allocate_port({0});
  const EventPort local = channels_->bind({7}, port->port()).value();
  xen_.destroy_domain({7});
  channels_->notify(local);
  port->notify();
  EXPECT_FALSE(port->take());
  EXPECT_FALSE(port->is_bound());
  channels_->unbind(local);
}

TEST_F(Domain, LetsAnIdentifierBeUsedAgain) {
  const GrantRef stale = grant();
  xen_.destroy_domain({7});
  const auto heir = xen_.create_domain({7});
  EXPECT_EQ(map(stale).error().code, Errc::bad_grant);
}

TEST_F(Domain, RefusesAPortThatWasAllocatedForAnother) {
  const auto port = guest_->allocate_port({3});
  EXPECT_EQ(channels_->bind({7}, port->port()).error().code, Errc::bad_port);
}

TEST_F(Domain, CountsWhatABackendHolds) {
  const auto port = guest_->allocate_port({0});
  const EventPort local = channels_->bind({7}, port->port()).value();
  EXPECT_EQ(xen_.usage().bound_ports, 1U);
  EXPECT_FALSE(xen_.usage().nothing_held());
  EXPECT_TRUE(port->is_bound());
  channels_->unbind(local);
  EXPECT_TRUE(xen_.usage().nothing_held());
}

TEST_F(Domain, ForgetsThePortsOfAClosedHandle) {
  const auto port = guest_->allocate_port({0});
  ASSERT_TRUE(channels_->bind({7}, port->port()).has_value());
  channels_.reset();
  EXPECT_FALSE(port->is_bound());
  EXPECT_EQ(xen_.usage().bound_ports, 0U);
}

TEST_F(Domain, RefusesTheNthMap) {
  const GrantRef ref = grant();
  xen_.faults().refuse_map.set(2);
  EXPECT_TRUE(map(ref).has_value());
  EXPECT_EQ(map(ref).error().code, Errc::bad_grant);
  EXPECT_TRUE(map(ref).has_value());
}

TEST_F(Domain, RefusesTheNthCopy) {
  const GrantRef ref = grant();
  xen_.faults().copy_refusal = CopyStatus::again;
  xen_.faults().refuse_copy.set(2);
  EXPECT_EQ(copy_status(ref), CopyStatus::okay);
  EXPECT_EQ(copy_status(ref), CopyStatus::again);
  EXPECT_EQ(copy_status(ref), CopyStatus::okay);
}

TEST_F(Domain, LosesAndDoublesEvents) {
  const auto port = guest_->allocate_port({0});
  const EventPort local = channels_->bind({7}, port->port()).value();
  xen_.faults().lost_events.set(1);
  channels_->notify(local);
  EXPECT_FALSE(port->take());
  xen_.faults().doubled_events.set(1);
  channels_->notify(local);
  EXPECT_TRUE(port->take());
  EXPECT_TRUE(port->take());
  EXPECT_FALSE(port->take());
}

TEST_F(DomainDeathTest, StopsAnUnmaskOfAForeignPort) {
  const EventPort foreign{99};
  EXPECT_DEATH(channels_->unmask({&foreign, 1}), "only through the handle that bound it");
}

TEST_F(DomainDeathTest, StopsAnUnmaskOfAPortThatWasNotTaken) {
  const auto port = guest_->allocate_port({0});
  const EventPort local = channels_->bind({7}, port->port()).value();
  EXPECT_DEATH(channels_->unmask({&local, 1}), "only a port that take_pending has given");
}

TEST_F(DomainDeathTest, StopsAMappingThatOutlivesItsTable) {
  EXPECT_DEATH(
      {
        auto mapping = map(grant()).value();
        table_.reset();
      },
      "does not outlive its grant table");
}

TEST_F(DomainDeathTest, StopsARevokeOfWhatWasNotGranted) {
  EXPECT_DEATH(guest_->revoke({77}), "a grant is revoked once");
}

}  // namespace
}  // namespace xenblk::loopback
