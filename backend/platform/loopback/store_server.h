// The XenStore daemon of the loopback Xen: one tree, its connections, their watches and
// transactions.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "backend/platform/loopback/faults.h"
#include "backend/platform/loopback/signal_fd.h"
#include "backend/platform/loopback/store_tree.h"
#include "xenblk/xen.h"

namespace xenblk::loopback {

// One connection as the server sees it. Owned by StoreConnection; guarded by the server.
class StoreClient {
 public:
  explicit StoreClient(DomainId domain) : domain_(domain) {}
  DomainId domain() const { return domain_; }
  int fd() const { return signal_.fd(); }

 private:
  friend class StoreServer;
  struct Watch {
    std::string path;  // absolute
    std::string as_given;
    std::string token;
  };
  DomainId domain_;
  SignalFd signal_;
  bool closed_ = false;
  std::vector<Watch> watches_;
  std::deque<WatchEvent> events_;
  std::set<std::uint32_t> transactions_;
};

// A change that a transaction does again on the live tree when it is committed.
struct StoreWrite {
  std::string path, value;
};
struct StoreRemove {
  std::string path;
};
struct StoreSetPermissions {
  std::string path;
  std::vector<NodePermission> permissions;
};
using StoreChangeRequest = std::variant<StoreWrite, StoreRemove, StoreSetPermissions>;

// Pinned; any thread.
class StoreServer {
 public:
  explicit StoreServer(Faults& faults) : faults_(faults) {}

  void connect(StoreClient& client);
  void disconnect(StoreClient& client);
  // All connections of the domain are lost, as when it dies or xenstored does.
  void lose_connections(DomainId domain);

  Expected<std::string> read(StoreClient& client, std::string_view path, Transaction transaction);
  Expected<std::vector<std::string>> list(StoreClient& client, std::string_view path,
                                          Transaction transaction);
  Expected<std::vector<NodePermission>> permissions(StoreClient& client, std::string_view path);
  Expected<void> change(StoreClient& client, StoreChangeRequest request, Transaction transaction);

  Expected<Transaction> begin(StoreClient& client);
  Expected<CommitResult> commit(StoreClient& client, Transaction transaction);
  void abort(StoreClient& client, Transaction transaction);

  Expected<void> watch(StoreClient& client, std::string_view path, std::string_view token);
  // False when there was no such watch.
  bool unwatch(StoreClient& client, std::string_view path, std::string_view token);
  Expected<std::optional<WatchEvent>> next_event(StoreClient& client);
  // "@introduceDomain" and "@releaseDomain".
  void fire_special(std::string_view name);

 private:
  struct Open {
    StoreTree tree;
    AccessLog log;
    std::vector<StoreChangeRequest> changes;
  };

  // All with mutex_ held.
  template <class Question>
  auto ask(StoreClient& client, std::string_view path, Transaction transaction, Question question)
      -> decltype(question(std::declval<StoreTree&>(), std::string()));
  Open* open_of(StoreClient& client, Transaction transaction);
  static Expected<StoreChanges> apply(StoreTree& tree, DomainId who,
                                      const StoreChangeRequest& request);
  void fire(const StoreChanges& changes);
  static void deliver(StoreClient& client, const StoreClient::Watch& watch,
                      std::string_view changed);

  Faults& faults_;
  mutable std::mutex mutex_;
  StoreTree live_;                      // under mutex_
  std::vector<StoreClient*> clients_;   // under mutex_
  std::map<std::uint32_t, Open> open_;  // under mutex_
  std::uint32_t last_transaction_ = 0;  // under mutex_
};

}  // namespace xenblk::loopback
