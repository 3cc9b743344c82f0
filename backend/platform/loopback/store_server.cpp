#include "backend/platform/loopback/store_server.h"

#include <algorithm>

#include "backend/platform/loopback/own_bug.h"
#include "backend/platform/loopback/store_path.h"

namespace xenblk::loopback {
namespace {

std::unexpected<Error> lost() {
  return fail(Errc::closed, "the connection to XenStore is lost");
}

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

std::string& path_of(StoreChangeRequest& request) {
  return std::visit([](auto& change) -> std::string& { return change.path; }, request);
}

}  // namespace

void StoreServer::connect(StoreClient& client) {
  const std::scoped_lock lock(mutex_);
  clients_.push_back(&client);
}

void StoreServer::disconnect(StoreClient& client) {
  const std::scoped_lock lock(mutex_);
  for (const auto id : client.transactions_) open_.erase(id);
  std::erase(clients_, &client);
}

void StoreServer::lose_connections(DomainId domain) {
  const std::scoped_lock lock(mutex_);
  for (StoreClient* const client : clients_) {
    if (client->domain() != domain) continue;
    client->closed_ = true;
    client->signal_.raise();
  }
}

template <class Question>
auto StoreServer::ask(StoreClient& client, std::string_view path, Transaction transaction,
                      Question question)
    -> decltype(question(std::declval<StoreTree&>(), std::string())) {
  if (client.closed_) return lost();
  const auto absolute = absolute_path(path, client.domain());
  if (!absolute) return std::unexpected(absolute.error());
  Open* const open = open_of(client, transaction);
  return question(open == nullptr ? live_ : open->tree, *absolute);
}

Expected<std::string> StoreServer::read(StoreClient& client, std::string_view path,
                                        Transaction transaction) {
  const std::scoped_lock lock(mutex_);
  return ask(client, path, transaction,
             [&](StoreTree& tree, const std::string& at) -> Expected<std::string> {
               if (const auto disturbed = faults_.disturbed_read(at)) return *disturbed;
               return tree.read(client.domain(), at);
             });
}

Expected<std::vector<std::string>> StoreServer::list(StoreClient& client, std::string_view path,
                                                     Transaction transaction) {
  const std::scoped_lock lock(mutex_);
  return ask(client, path, transaction, [&](StoreTree& tree, const std::string& at) {
    return tree.list(client.domain(), at);
  });
}

Expected<std::vector<NodePermission>> StoreServer::permissions(StoreClient& client,
                                                               std::string_view path) {
  const std::scoped_lock lock(mutex_);
  return ask(client, path, {}, [&](StoreTree& tree, const std::string& at) {
    return tree.permissions(client.domain(), at);
  });
}

Expected<void> StoreServer::change(StoreClient& client, StoreChangeRequest request,
                                   Transaction transaction) {
  const std::scoped_lock lock(mutex_);
  if (client.closed_) return lost();
  if (faults_.failed_writes.take()) return fail_os(EIO, "write refused by the test");
  auto absolute = absolute_path(path_of(request), client.domain());
  if (!absolute) return std::unexpected(absolute.error());
  path_of(request) = std::move(*absolute);
  Open* const open = open_of(client, transaction);
  auto changes = apply(open == nullptr ? live_ : open->tree, client.domain(), request);
  if (!changes) return std::unexpected(changes.error());
  if (open == nullptr) {
    fire(*changes);
  } else {
    open->changes.push_back(std::move(request));
  }
  return {};
}

Expected<StoreChanges> StoreServer::apply(StoreTree& tree, DomainId who,
                                          const StoreChangeRequest& request) {
  return std::visit(
      Overloaded{[&](const StoreWrite& write) { return tree.write(who, write.path, write.value); },
                 [&](const StoreRemove& remove) { return tree.remove(who, remove.path); },
                 [&](const StoreSetPermissions& set) {
                   return tree.set_permissions(who, set.path, set.permissions);
                 }},
      request);
}

Expected<Transaction> StoreServer::begin(StoreClient& client) {
  const std::scoped_lock lock(mutex_);
  if (client.closed_) return lost();
  const Transaction transaction{++last_transaction_};
  Open& open = open_.emplace(transaction.id, Open{.tree = live_}).first->second;
  open.tree.track(&open.log);
  client.transactions_.insert(transaction.id);
  return transaction;
}

Expected<CommitResult> StoreServer::commit(StoreClient& client, Transaction transaction) {
  const std::scoped_lock lock(mutex_);
  if (client.closed_) return lost();
  require(open_of(client, transaction) != nullptr, "commit names a transaction");
  const auto open = open_.extract(transaction.id);
  client.transactions_.erase(transaction.id);
  if (faults_.commit_conflicts.take()) return CommitResult::conflict;
  if (!live_.unchanged(open.mapped().log)) return CommitResult::conflict;
  for (const auto& request : open.mapped().changes) {
    // Nothing it depends on has changed, so it succeeds as it did in the transaction.
    fire(apply(live_, client.domain(), request).value());
  }
  return CommitResult::committed;
}

void StoreServer::abort(StoreClient& client, Transaction transaction) {
  const std::scoped_lock lock(mutex_);
  if (client.closed_) return;
  require(open_of(client, transaction) != nullptr, "abort names a transaction");
  open_.erase(transaction.id);
  client.transactions_.erase(transaction.id);
}

StoreServer::Open* StoreServer::open_of(StoreClient& client, Transaction transaction) {
  if (transaction.id == 0) return nullptr;
  require(client.transactions_.contains(transaction.id),
          "a transaction is used through its connection until commit or abort");
  return &open_.at(transaction.id);
}

}  // namespace xenblk::loopback
