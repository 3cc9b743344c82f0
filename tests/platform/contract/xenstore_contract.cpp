// The rules of the XenStore seam (xenblk/xen.h), on every implementation.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "tests/platform/contract/world.h"

namespace xenblk::contract {
namespace {

class XenStoreContract : public testing::Test {
 protected:
  XenStoreContract()
      : world_(make_world()), store_(open()), other_(open()), root_(world_->scratch_path()) {}

  std::unique_ptr<XenStore> open() { return world_->xen().open_store().value(); }
  std::string at(std::string_view name) const { return root_ + "/" + std::string(name); }

  void write(std::string_view name, std::string_view value, Transaction transaction = {}) {
    ASSERT_TRUE(store_->write(at(name), value, transaction).has_value());
  }
  std::string read(std::string_view name) { return store_->read(at(name)).value_or("(missing)"); }

  template <class T>
  static Errc code(const Expected<T>& result) {
    EXPECT_FALSE(result.has_value());
    return result ? Errc::io : result.error().code;
  }

  // Waits for the next event; nothing comes only when the implementation is wrong.
  std::optional<WatchEvent> event() {
    while (becomes_readable(store_->fd())) {
      auto next = store_->next_event().value();
      if (next) return next;
    }
    return std::nullopt;
  }
  void expect_event(std::string_view path, std::string_view token) {
    const auto seen = event();
    ASSERT_TRUE(seen.has_value());
    EXPECT_EQ(seen->path, path);
    EXPECT_EQ(seen->token, token);
  }
  // A watch whose first event has been consumed.
  void watch_quietly(std::string_view name, std::string_view token) {
    ASSERT_TRUE(store_->watch(at(name), token).has_value());
    expect_event(at(name), token);
  }
  // Whether nothing is queued: writes a node whose watch must then be the very next event.
  void expect_quiet() {
    if (!fence_set_) watch_quietly("fence", "fence");
    fence_set_ = true;
    write("fence", "");
    expect_event(at("fence"), "fence");
  }

  std::unique_ptr<World> world_;
  std::unique_ptr<XenStore> store_, other_;
  std::string root_;
  bool fence_set_ = false;
};

TEST_F(XenStoreContract, ReadsWhatWasWritten) {
  write("a", "1");
  EXPECT_EQ(read("a"), "1");
  EXPECT_EQ(other_->read(at("a")).value(), "1");
}

TEST_F(XenStoreContract, KeepsAnyBytes) {
  const std::string bytes("\0%s\xff\n", 5);
  write("a", bytes);
  EXPECT_EQ(read("a"), bytes);
  write("a", "");
  EXPECT_EQ(read("a"), "");
}

TEST_F(XenStoreContract, KeepsALongValue) {
  const std::string value(2000, 'v');
  write("a", value);
  EXPECT_EQ(read("a"), value);
}

TEST_F(XenStoreContract, RefusesAValueBeyondTheLimitAndStaysConnected) {
  const auto refused = store_->write(at("a"), std::string(4096, 'v'));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().os_error, E2BIG);
  write("a", "1");
  EXPECT_EQ(read("a"), "1");
}

TEST_F(XenStoreContract, RefusesWhatIsNoPath) {
  EXPECT_EQ(code(store_->read(at("a b"))), Errc::io);
  EXPECT_EQ(code(store_->read(root_ + "//a")), Errc::io);
}

TEST_F(XenStoreContract, CreatesMissingParents) {
  write("a/b/c", "1");
  EXPECT_EQ(read("a/b"), "");
}

TEST_F(XenStoreContract, SaysNotFound) {
  EXPECT_EQ(code(store_->read(at("a"))), Errc::not_found);
  EXPECT_EQ(code(store_->list(at("a"))), Errc::not_found);
  EXPECT_EQ(code(store_->remove(at("a"))), Errc::not_found);
  EXPECT_EQ(code(store_->permissions(at("a"))), Errc::not_found);
}

TEST_F(XenStoreContract, ListsChildrenOnly) {
  write("a/x", "1");
  write("a/y/z", "1");
  auto names = store_->list(at("a")).value();
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(store_->list(at("a/x")).value(), std::vector<std::string>{});
}

TEST_F(XenStoreContract, RemovesANodeAndAllBelow) {
  write("a/b/c", "1");
  write("ab", "1");
  ASSERT_TRUE(store_->remove(at("a")).has_value());
  EXPECT_EQ(code(store_->read(at("a/b/c"))), Errc::not_found);
  EXPECT_EQ(read("ab"), "1");
}

TEST_F(XenStoreContract, ResolvesRelativePathsInTheOwnDomain) {
  const std::string home = "/local/domain/0/";
  ASSERT_TRUE(root_.starts_with(home));
  write("a", "1");
  EXPECT_EQ(store_->read(root_.substr(home.size()) + "/a").value(), "1");
}

TEST_F(XenStoreContract, KeepsPermissions) {
  write("a", "1");
  const NodePermission wanted[] = {{{0}, NodeRights::none}, {{9}, NodeRights::read}};
  ASSERT_TRUE(store_->set_permissions(at("a"), wanted).has_value());
  EXPECT_EQ(store_->permissions(at("a")).value(),
            std::vector<NodePermission>(std::begin(wanted), std::end(wanted)));
}

TEST_F(XenStoreContract, KeepsEveryKindOfRight) {
  write("a", "1");
  for (const auto rights :
       {NodeRights::none, NodeRights::read, NodeRights::write, NodeRights::both}) {
    const NodePermission wanted[] = {{{0}, rights}};
    ASSERT_TRUE(store_->set_permissions(at("a"), wanted).has_value());
    EXPECT_EQ(store_->permissions(at("a")).value().at(0), wanted[0]);
  }
}

TEST_F(XenStoreContract, GivesTheParentsPermissionsToANewNode) {
  write("a", "1");
  const NodePermission wanted[] = {{{0}, NodeRights::write}, {{9}, NodeRights::read}};
  ASSERT_TRUE(store_->set_permissions(at("a"), wanted).has_value());
  write("a/b", "1");
  EXPECT_EQ(store_->permissions(at("a/b")).value(),
            std::vector<NodePermission>(std::begin(wanted), std::end(wanted)));
}

TEST_F(XenStoreContract, CommitsAllAtOnce) {
  const auto transaction = store_->begin().value();
  write("a", "1", transaction);
  write("b", "2", transaction);
  EXPECT_EQ(code(other_->read(at("a"))), Errc::not_found);
  EXPECT_EQ(store_->read(at("a"), transaction).value(), "1");
  EXPECT_EQ(store_->commit(transaction).value(), CommitResult::committed);
  EXPECT_EQ(other_->read(at("b")).value(), "2");
}

TEST_F(XenStoreContract, ForgetsAnAbortedTransaction) {
  const auto transaction = store_->begin().value();
  write("a", "1", transaction);
  store_->abort(transaction);
  EXPECT_EQ(read("a"), "(missing)");
}

TEST_F(XenStoreContract, ReportsAConflictWithAChangedNodeThatWasRead) {
  write("a", "1");
  const auto transaction = store_->begin().value();
  EXPECT_EQ(store_->read(at("a"), transaction).value(), "1");
  write("b", "2", transaction);
  ASSERT_TRUE(other_->write(at("a"), "3").has_value());
  EXPECT_EQ(store_->commit(transaction).value(), CommitResult::conflict);
  EXPECT_EQ(read("b"), "(missing)");
}

TEST_F(XenStoreContract, CommitsBesideUnrelatedChanges) {
  write("a/x", "1");
  write("b/x", "1");
  const auto transaction = store_->begin().value();
  write("a/x", "2", transaction);
  ASSERT_TRUE(other_->write(at("b/x"), "2").has_value());
  EXPECT_EQ(store_->commit(transaction).value(), CommitResult::committed);
}

TEST_F(XenStoreContract, RemovesAndListsInsideATransaction) {
  write("a/b", "1");
  const auto transaction = store_->begin().value();
  ASSERT_TRUE(store_->remove(at("a/b"), transaction).has_value());
  EXPECT_EQ(store_->list(at("a"), transaction).value().size(), 0U);
  EXPECT_EQ(store_->list(at("a")).value().size(), 1U);
  EXPECT_EQ(store_->commit(transaction).value(), CommitResult::committed);
  EXPECT_EQ(read("a/b"), "(missing)");
}

TEST_F(XenStoreContract, HasNoEventWithoutAWatch) {
  EXPECT_EQ(store_->next_event().value(), std::nullopt);
}

TEST_F(XenStoreContract, FiresAWatchOnceWhenItIsSet) {
  watch_quietly("missing", "t");
  expect_quiet();
}

TEST_F(XenStoreContract, FiresForTheNodeAndEverythingBelow) {
  watch_quietly("a", "t");
  ASSERT_TRUE(other_->write(at("a"), "1").has_value());
  expect_event(at("a"), "t");
  ASSERT_TRUE(other_->write(at("a/b/c"), "1").has_value());
  expect_event(at("a/b/c"), "t");
  ASSERT_TRUE(other_->write(at("ab"), "1").has_value());
  expect_quiet();
}

TEST_F(XenStoreContract, FiresWhenANodeAboveIsRemoved) {
  write("a/b/c", "1");
  watch_quietly("a/b/c", "t");
  ASSERT_TRUE(other_->remove(at("a")).has_value());
  expect_event(at("a/b/c"), "t");
}

TEST_F(XenStoreContract, FiresAtCommitOnly) {
  watch_quietly("a", "t");
  expect_quiet();  // the node that it writes exists from now on, so that nothing conflicts
  const auto transaction = other_->begin().value();
  ASSERT_TRUE(other_->write(at("a"), "1", transaction).has_value());
  expect_quiet();
  ASSERT_EQ(other_->commit(transaction).value(), CommitResult::committed);
  expect_event(at("a"), "t");
}

TEST_F(XenStoreContract, FiresForEachWatchOfANode) {
  watch_quietly("a", "one");
  watch_quietly("a", "two");
  write("a", "1");
  std::vector<std::string> tokens = {event()->token, event()->token};
  std::ranges::sort(tokens);
  EXPECT_EQ(tokens, (std::vector<std::string>{"one", "two"}));
}

TEST_F(XenStoreContract, RefusesTheSameWatchTwice) {
  watch_quietly("a", "t");
  const auto again = store_->watch(at("a"), "t");
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().os_error, EEXIST);
}

TEST_F(XenStoreContract, DropsQueuedEventsOfARemovedWatch) {
  watch_quietly("a", "t");
  for (int i = 0; i < 5; ++i) write("a", "1");
  store_->unwatch(at("a"), "t");
  expect_quiet();
  write("a", "2");
  expect_quiet();
}

TEST_F(XenStoreContract, StaysReadableWhileEventsAreQueued) {
  ASSERT_TRUE(store_->watch(at("a"), "t").has_value());
  ASSERT_TRUE(store_->watch(at("b"), "t").has_value());
  ASSERT_TRUE(event().has_value());
  EXPECT_TRUE(becomes_readable(store_->fd()));
  ASSERT_TRUE(event().has_value());
}

TEST_F(XenStoreContract, KnowsWhichDomainsExist) {
  EXPECT_TRUE(store_->domain_exists({0}));
  EXPECT_FALSE(store_->domain_exists({4242}));
}

}  // namespace
}  // namespace xenblk::contract
