#include "backend/platform/loopback/store_connection.h"

#include "backend/platform/loopback/loopback_xen.h"

namespace xenblk::loopback {

using Inside = SingleCaller::Inside;

StoreConnection::StoreConnection(LoopbackXen& xen, StoreServer& server, Usage& usage, DomainId own)
    : xen_(xen), server_(server), usage_(usage), client_(own) {
  server_.connect(client_);
  ++usage_.stores;
}

StoreConnection::~StoreConnection() {
  server_.disconnect(client_);
  usage_.watches -= watches_;
  usage_.transactions -= transactions_;
  --usage_.stores;
}

Expected<std::string> StoreConnection::read(std::string_view path, Transaction transaction) {
  const Inside inside(caller_);
  return server_.read(client_, path, transaction);
}

Expected<void> StoreConnection::write(std::string_view path, std::string_view value,
                                      Transaction transaction) {
  const Inside inside(caller_);
  // The payload of a message is the path, a NUL and the value.
  if (path.size() + 1 + value.size() > kStorePayloadBytesMax) {
    return fail_os(E2BIG, "write " + std::string(path));
  }
  return server_.change(client_, StoreWrite{std::string(path), std::string(value)}, transaction);
}

Expected<void> StoreConnection::remove(std::string_view path, Transaction transaction) {
  const Inside inside(caller_);
  return server_.change(client_, StoreRemove{std::string(path)}, transaction);
}

Expected<std::vector<std::string>> StoreConnection::list(std::string_view path,
                                                         Transaction transaction) {
  const Inside inside(caller_);
  return server_.list(client_, path, transaction);
}

Expected<std::vector<NodePermission>> StoreConnection::permissions(std::string_view path) {
  const Inside inside(caller_);
  return server_.permissions(client_, path);
}

Expected<void> StoreConnection::set_permissions(std::string_view path,
                                                std::span<const NodePermission> permissions) {
  return set_permissions(path, permissions, {});
}

Expected<void> StoreConnection::set_permissions(std::string_view path,
                                                std::span<const NodePermission> permissions,
                                                Transaction transaction) {
  const Inside inside(caller_);
  StoreSetPermissions request{std::string(path), {permissions.begin(), permissions.end()}};
  return server_.change(client_, std::move(request), transaction);
}

Expected<Transaction> StoreConnection::begin() {
  const Inside inside(caller_);
  auto transaction = server_.begin(client_);
  if (transaction) ++usage_.transactions, ++transactions_;
  return transaction;
}

Expected<CommitResult> StoreConnection::commit(Transaction transaction) {
  const Inside inside(caller_);
  --usage_.transactions, --transactions_;
  return server_.commit(client_, transaction);
}

void StoreConnection::abort(Transaction transaction) noexcept {
  const Inside inside(caller_);
  --usage_.transactions, --transactions_;
  server_.abort(client_, transaction);
}

Expected<void> StoreConnection::watch(std::string_view path, std::string_view token) {
  const Inside inside(caller_);
  auto watched = server_.watch(client_, path, token);
  if (watched) ++usage_.watches, ++watches_;
  return watched;
}

void StoreConnection::unwatch(std::string_view path, std::string_view token) noexcept {
  const Inside inside(caller_);
  require(server_.unwatch(client_, path, token), "only a watch that was set is removed");
  --usage_.watches, --watches_;
}

Expected<std::optional<WatchEvent>> StoreConnection::next_event() {
  const Inside inside(caller_);
  return server_.next_event(client_);
}

bool StoreConnection::domain_exists(DomainId domain) {
  return domain.n == 0 || xen_.find_domain(domain) != nullptr;
}

}  // namespace xenblk::loopback
