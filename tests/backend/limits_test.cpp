// The limits of a disk in XenStore: by the toolstack before it is served, and over the next daemon.
#include <map>

#include "backend/disk_limits.h"
#include "tests/backend/loopback_fixture.h"

namespace xenblk::backend {
namespace {

using ringio::RateLimits;
using Nodes = std::map<std::string, std::string>;

Expected<RateLimits> limits_of(const Nodes& nodes) {
  return read_limits([&](const char* name) -> std::optional<std::string> {
    const auto found = nodes.find(name);
    if (found == nodes.end()) return {};
    return found->second;
  });
}

std::string wrong(const Nodes& nodes) {
  const auto limits = limits_of(nodes);
  return limits ? "(accepted)" : limits.error().text;
}

TEST(DiskLimits, WithoutNodesThereAreNone) {
  EXPECT_EQ(limits_of({}), RateLimits{});
}

TEST(DiskLimits, AreTheOnesThatWereWritten) {
  for (const RateLimits limits :
       {RateLimits{}, RateLimits{500, 20U << 20U, 10'000'000}, RateLimits{.bytes_per_second = 4096},
        RateLimits{100'000'000, 1ULL << 40U, 60'000'000'000}}) {
    Nodes nodes;
    for (const auto& node : limit_nodes(limits)) nodes[node.name] = node.value;
    EXPECT_EQ(nodes.size(), 3U);
    EXPECT_EQ(limits_of(nodes), limits);
  }
}

TEST(DiskLimits, AreWholeNumbersWithinTheirRange) {
  for (const auto* value :
       {"", "-1", "+1", " 1", "1 ", "0x10", "1.5", "1e3", "100000001", "18446744073709551616"}) {
    EXPECT_EQ(
        wrong({{"limit-iops", value}}),
        fmt::format("limit-iops is \"{}\", must be a whole number from 1 to 100000000", value));
  }
  EXPECT_EQ(wrong({{"limit-bandwidth", "4095"}}),
            "limit-bandwidth is \"4095\", must be a whole number from 4096 to 1099511627776");
  EXPECT_EQ(wrong({{"limit-burst-ms", "0"}}),
            "limit-burst-ms is \"0\", must be a whole number from 1 to 60000");
}

TEST(DiskLimits, OfTheGuestAreNodesOfTheirOwn) {
  const auto of = [](const Nodes& nodes) {
    return read_guest_limits([&](const char* name) -> std::optional<std::string> {
      const auto found = nodes.find(name);
      if (found == nodes.end()) return {};
      return found->second;
    });
  };
  EXPECT_EQ(of({{"limit-iops", "5"}}).value(), std::nullopt);
  const RateLimits limits{500, 20U << 20U, 10'000'000};
  for (const auto& wanted : {limits, RateLimits{}}) {
    Nodes nodes;
    for (const auto& node : guest_limit_nodes(wanted)) nodes[node.name] = node.value;
    EXPECT_EQ(of(nodes).value(), wanted) << "also when they say that there are none";
    EXPECT_EQ(limits_of(nodes), RateLimits{});
  }
  EXPECT_EQ(of({{"guest-limit-iops", "fast"}}).error().text,
            "guest-limit-iops is \"fast\", must be a whole number from 1 to 100000000");
}

class LimitedDisk : public LoopbackTest {
 protected:
  void SetUp() override { start(); }
  void start() { start_host({.journal_directory = directory_.path("journal"), .workers = 1}); }
  void connect_with(const Nodes& nodes) {
    disk_ = disk(raw_image());
    disk_.extra = nodes;
    connect(disk_);
  }
  RateLimits limits() {
    RateLimits limits;
    on_device([&](Device& device) { limits = device.status().limits; });
    return limits;
  }
  void set(const RateLimits& limits) {
    on_device([&](Device& device) { EXPECT_TRUE(device.set_limits(limits).has_value()); });
  }
  void on_device(const std::function<void(Device&)>& what) {
    host_->run([&](EventLoop&, Backend& backend) {
      ASSERT_EQ(backend.devices().size(), 1U);
      what(*backend.devices().begin()->second);
    });
  }

  loopback::Disk disk_;
};

TEST_F(LimitedDisk, TheToolstacksCountFromTheBeginning) {
  connect_with({{"limit-iops", "400"}, {"limit-bandwidth", "1048576"}});
  EXPECT_EQ(limits(), (RateLimits{.operations_per_second = 400, .bytes_per_second = 1U << 20U}));
}

TEST_F(LimitedDisk, TheNextDaemonGoesOnWithThem) {
  connect_with({});
  set({400, 8192, 20'000'000});
  EXPECT_EQ(node(disk_, "limit-iops"), "400");
  end_host();
  start();
  std::vector<std::byte> sector(512);
  expect_okay(frontend_->read({0}, sector));  // it is served again
  EXPECT_EQ(limits(), (RateLimits{400, 8192, 20'000'000}));
}

TEST_F(LimitedDisk, OneThatWasTakenAwayStaysAway) {
  connect_with({{"limit-iops", "400"}});
  set({});
  end_host();
  start();
  expect_writes_and_reads(*frontend_);
  EXPECT_EQ(limits(), RateLimits{});
}

TEST_F(LimitedDisk, NonsenseIsAnErrorOfTheDisk) {
  disk_ = disk(raw_image());
  disk_.extra = {{"limit-iops", "fast"}};
  toolstack_.add_disk(disk_);
  expect_node(disk_, "hotplug-error",
              "limit-iops is \"fast\", must be a whole number from 1 to 100000000");
}

TEST_F(LimitedDisk, IsNotLimitedWhileItIsBeingRemoved) {
  connect_with({});
  on_device([&](Device& device) {
    ASSERT_TRUE(toolstack_.store().remove(backend_path(disk_), {}).has_value());
    const auto set = device.set_limits({.operations_per_second = 1});
    ASSERT_FALSE(set.has_value());
    EXPECT_EQ(set.error().code, Errc::refused);
    EXPECT_EQ(device.status().limits, RateLimits{});
  });
}

// Two disks of one guest, and one of another.
class LimitedGuest : public LimitedDisk {
 protected:
  static constexpr RateLimits kShared{400, 8U << 20U, 20'000'000};

  void SetUp() override {
    LimitedDisk::SetUp();
    other_.guest = {8};
  }
  void add(const loopback::Disk& one) {
    toolstack_.add_disk(one);
    expect_node(one, "image-state", "open");
  }
  Expected<void> set_for_guest(DomainId guest, const RateLimits& limits) {
    Expected<void> result;
    host_->run(
        [&](EventLoop&, Backend& backend) { result = backend.set_guest_limits(guest, limits); });
    return result;
  }
  RateLimits of(const loopback::Disk& one) {
    RateLimits limits{.operations_per_second = 12345};
    host_->run([&](EventLoop&, Backend& backend) {
      for (const auto& [key, device] : backend.devices()) {
        if (key.domain == one.guest && key.device == one.device) {
          limits = device->status().guest_limits;
        }
      }
    });
    return limits;
  }
  void expect_noted(const loopback::Disk& one, const RateLimits& limits) {
    for (const auto& wanted : guest_limit_nodes(limits)) {
      expect_node(one, wanted.name, wanted.value);
    }
  }

  std::shared_ptr<loopback::GuestDomain> neighbour_ = xen_.create_domain({8});
  loopback::Disk first_ = disk(raw_image());
  loopback::Disk second_ = disk(raw_image("second.raw"), 51728);
  loopback::Disk other_ = disk(raw_image("other.raw"));
};

TEST_F(LimitedGuest, HasOneLimitForAllItsDisks) {
  for (const auto& one : {first_, second_, other_}) add(one);
  EXPECT_EQ(node(first_, "guest-limit-iops"), "missing");
  ASSERT_TRUE(set_for_guest(kGuest, kShared).has_value());
  for (const auto& one : {first_, second_}) {
    EXPECT_EQ(of(one), kShared);
    expect_noted(one, kShared);
  }
  EXPECT_EQ(of(other_), RateLimits{});
  EXPECT_EQ(node(other_, "guest-limit-iops"), "missing");
}

TEST_F(LimitedGuest, IsJoinedByDisksThatComeLater) {
  add(first_);
  ASSERT_TRUE(set_for_guest(kGuest, kShared).has_value());
  second_.extra = {{"guest-limit-iops", "9"}};
  add(second_);
  EXPECT_EQ(of(second_), kShared);
  expect_noted(second_, kShared);
}

TEST_F(LimitedGuest, HasWhatTheToolstackSaysOfAnyDisk) {
  add(first_);
  second_.extra = {{"guest-limit-bandwidth", "8192"}};
  add(second_);
  for (const auto& one : {first_, second_}) {
    EXPECT_EQ(of(one), (RateLimits{.bytes_per_second = 8192}));
  }
}

TEST_F(LimitedGuest, KeepsItUnderTheNextDaemon) {
  for (const auto& one : {first_, second_}) add(one);
  ASSERT_TRUE(set_for_guest(kGuest, kShared).has_value());
  end_host();
  start();
  for (const auto& one : {first_, second_}) expect_node(one, "image-state", "open");
  EXPECT_EQ(of(second_), kShared);
  ASSERT_TRUE(set_for_guest(kGuest, {}).has_value());
  end_host();
  start();
  EXPECT_EQ(of(second_), RateLimits{}) << "one that was taken away stays away";
}

// A daemon that is killed while it writes has written the first disks.
TEST_F(LimitedGuest, HasWhatItsFirstDiskSaysWhereTheyDisagree) {
  end_host();
  first_.extra = {{"guest-limit-iops", "400"}};
  second_.extra = {{"guest-limit-iops", "500"}};
  for (const auto& one : {second_, first_}) toolstack_.add_disk(one);
  start();
  for (const auto& one : {first_, second_}) expect_node(one, "guest-limit-iops", "400");
}

TEST_F(LimitedGuest, LeavesNothingToTheNextOneOfItsNumber) {
  add(first_);
  ASSERT_TRUE(set_for_guest(kGuest, kShared).has_value());
  remove(first_);
  add(second_);
  EXPECT_EQ(of(second_), RateLimits{});
  EXPECT_EQ(node(second_, "guest-limit-iops"), "missing");
}

TEST_F(LimitedGuest, HasNoneWithoutDisks) {
  const auto set = set_for_guest({9}, kShared);
  ASSERT_FALSE(set.has_value());
  EXPECT_EQ(set.error().code, Errc::not_found);
}

}  // namespace
}  // namespace xenblk::backend
