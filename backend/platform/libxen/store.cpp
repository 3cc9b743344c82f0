#include "backend/platform/libxen/store.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>

namespace xenblk::libxen {

namespace {

struct Freer {
  void operator()(void* memory) const { std::free(memory); }
};
template <class T>
using Freed = std::unique_ptr<T, Freer>;

Errc code_of(int error) {
  switch (error) {
    case ENOENT:
      return Errc::not_found;
    case EACCES:
    case EPERM:
      return Errc::permission;
    case EAGAIN:
      return Errc::conflict;
    // What the library reports when the other end of its socket has gone.
    case EBADF:
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
      return Errc::closed;
    default:
      return Errc::io;
  }
}

std::unexpected<Error> store_error(std::string_view what, std::string_view path) {
  const int error = errno;
  return fail(code_of(error), fmt::format("XenStore {} {}", what, path), error);
}

unsigned to_library(NodeRights rights) {
  switch (rights) {
    case NodeRights::none:
      return XS_PERM_NONE;
    case NodeRights::read:
      return XS_PERM_READ;
    case NodeRights::write:
      return XS_PERM_WRITE;
    case NodeRights::both:
      return XS_PERM_READ | XS_PERM_WRITE;
  }
  return XS_PERM_NONE;
}

// xenfs tells dom0 from other domains.
bool is_control_domain() {
  std::ifstream capabilities("/proc/xen/capabilities");
  std::string word;
  return capabilities >> word && word.starts_with("control_d");
}

NodeRights from_library(unsigned rights) {
  const bool read = (rights & XS_PERM_READ) != 0, write = (rights & XS_PERM_WRITE) != 0;
  if (read && write) return NodeRights::both;
  return read ? NodeRights::read : write ? NodeRights::write : NodeRights::none;
}

}  // namespace

Expected<std::unique_ptr<XenStore>> LibxenStore::open() {
  // The flag keeps events of a removed watch from being delivered later.
  Handle handle(xs_open(XS_OPEN_SOCKETONLY | XS_UNWATCH_FILTER));
  // In a driver domain XenStore is behind a device instead. Opening that works in dom0 too, but
  // without a daemon the first request would wait for ever.
  if (!handle && !is_control_domain()) handle.reset(xs_open(XS_UNWATCH_FILTER));
  if (!handle) {
    return fail(Errc::unavailable, "XenStore cannot be reached: start xenstored (xen.service)",
                errno);
  }
  return std::unique_ptr<XenStore>(new LibxenStore(std::move(handle)));
}

Expected<std::string> LibxenStore::read(std::string_view path, Transaction transaction) {
  unsigned length = 0;
  const Freed<void> value(
      xs_read(handle_.get(), transaction.id, std::string(path).c_str(), &length));
  if (!value) return store_error("read", path);
  return std::string(static_cast<const char*>(value.get()), length);
}

Expected<void> LibxenStore::write(std::string_view path, std::string_view value,
                                  Transaction transaction) {
  const bool written = xs_write(handle_.get(), transaction.id, std::string(path).c_str(),
                                value.data(), static_cast<unsigned>(value.size()));
  if (!written) return store_error("write", path);
  return {};
}

Expected<void> LibxenStore::remove(std::string_view path, Transaction transaction) {
  // xenstored answers the removal of a missing node with success when its parent exists.
  if (auto there = read(path, transaction); !there) return std::unexpected(there.error());
  if (!xs_rm(handle_.get(), transaction.id, std::string(path).c_str())) {
    return store_error("remove", path);
  }
  return {};
}

Expected<std::vector<std::string>> LibxenStore::list(std::string_view path,
                                                     Transaction transaction) {
  unsigned count = 0;
  const Freed<char*> names(
      xs_directory(handle_.get(), transaction.id, std::string(path).c_str(), &count));
  if (!names) return store_error("list", path);
  return std::vector<std::string>(names.get(), names.get() + count);
}

Expected<std::vector<NodePermission>> LibxenStore::permissions(std::string_view path) {
  unsigned count = 0;
  const Freed<xs_permissions> entries(
      xs_get_permissions(handle_.get(), XBT_NULL, std::string(path).c_str(), &count));
  if (!entries) return store_error("permissions of", path);
  std::vector<NodePermission> result;
  for (unsigned i = 0; i < count; ++i) {
    result.push_back({{static_cast<std::uint16_t>(entries.get()[i].id)},
                      from_library(static_cast<unsigned>(entries.get()[i].perms))});
  }
  return result;
}

Expected<void> LibxenStore::set_permissions(std::string_view path,
                                            std::span<const NodePermission> permissions) {
  std::vector<xs_permissions> entries;
  for (const auto& permission : permissions) {
    xs_permissions entry{};
    entry.id = permission.domain.n;
    entry.perms = static_cast<decltype(entry.perms)>(to_library(permission.rights));
    entries.push_back(entry);
  }
  const bool set = xs_set_permissions(handle_.get(), XBT_NULL, std::string(path).c_str(),
                                      entries.data(), static_cast<unsigned>(entries.size()));
  if (!set) return store_error("set permissions of", path);
  return {};
}

Expected<Transaction> LibxenStore::begin() {
  const auto id = xs_transaction_start(handle_.get());
  if (id == XBT_NULL) return store_error("begin", "a transaction");
  return Transaction{id};
}

Expected<CommitResult> LibxenStore::commit(Transaction transaction) {
  if (xs_transaction_end(handle_.get(), transaction.id, false)) return CommitResult::committed;
  if (errno == EAGAIN) return CommitResult::conflict;
  return store_error("commit", "a transaction");
}

void LibxenStore::abort(Transaction transaction) noexcept {
  xs_transaction_end(handle_.get(), transaction.id, true);
}

Expected<void> LibxenStore::watch(std::string_view path, std::string_view token) {
  if (!xs_watch(handle_.get(), std::string(path).c_str(), std::string(token).c_str())) {
    return store_error("watch", path);
  }
  return {};
}

void LibxenStore::unwatch(std::string_view path, std::string_view token) noexcept {
  xs_unwatch(handle_.get(), std::string(path).c_str(), std::string(token).c_str());
}

Expected<std::optional<WatchEvent>> LibxenStore::next_event() {
  const Freed<char*> event(xs_check_watch(handle_.get()));
  if (event) {
    return WatchEvent{event.get()[XS_WATCH_PATH], event.get()[XS_WATCH_TOKEN]};
  }
  if (errno == EAGAIN) return std::nullopt;
  return fail(Errc::closed, "the connection to XenStore is lost", errno);
}

bool LibxenStore::domain_exists(DomainId domain) {
  errno = 0;
  if (xs_is_domain_introduced(handle_.get(), domain.n)) return true;
  // Some xenstored answer domain 0 alone: in a driver domain, what the nodes say has to do.
  return errno == EACCES;
}

}  // namespace xenblk::libxen
