// The watches of StoreServer.
#include <algorithm>

#include "backend/platform/loopback/own_bug.h"
#include "backend/platform/loopback/store_path.h"
#include "backend/platform/loopback/store_server.h"

namespace xenblk::loopback {

Expected<void> StoreServer::watch(StoreClient& client, std::string_view path,
                                  std::string_view token) {
  const std::scoped_lock lock(mutex_);
  if (client.closed_) return fail(Errc::closed, "the connection to XenStore is lost");
  const auto absolute = absolute_path(path, client.domain());
  if (!absolute) return std::unexpected(absolute.error());
  const bool known = std::ranges::any_of(client.watches_, [&](const auto& watch) {
    return watch.path == *absolute && watch.token == token;
  });
  if (known) return fail_os(EEXIST, "watch " + *absolute);
  client.watches_.push_back({*absolute, std::string(path), std::string(token)});
  deliver(client, client.watches_.back(), *absolute);
  return {};
}

bool StoreServer::unwatch(StoreClient& client, std::string_view path, std::string_view token) {
  const std::scoped_lock lock(mutex_);
  const auto found = std::ranges::find_if(client.watches_, [&](const auto& watch) {
    return watch.as_given == path && watch.token == token;
  });
  if (found == client.watches_.end()) return false;
  std::erase_if(client.events_, [&](const WatchEvent& event) {
    return event.token == token && is_within(event.path, path);
  });
  client.watches_.erase(found);
  if (client.events_.empty() && !client.closed_) client.signal_.lower();
  return true;
}

Expected<std::optional<WatchEvent>> StoreServer::next_event(StoreClient& client) {
  const std::scoped_lock lock(mutex_);
  if (client.closed_) return fail(Errc::closed, "the connection to XenStore is lost");
  if (client.events_.empty()) return std::nullopt;
  std::optional<WatchEvent> event = std::move(client.events_.front());
  client.events_.pop_front();
  if (client.events_.empty()) client.signal_.lower();
  return event;
}

void StoreServer::fire_special(std::string_view name) {
  const std::scoped_lock lock(mutex_);
  for (StoreClient* const client : clients_) {
    for (const auto& watch : client->watches_) {
      if (watch.path == name) deliver(*client, watch, name);
    }
  }
}

// A watch hears of its node and of everything below it. Of a node that vanished because one above
// it was removed only the watches of exactly that node hear: those above were told about the
// removed one.
void StoreServer::fire(const StoreChanges& changes) {
  for (const StoreChange& change : changes) {
    for (StoreClient* const client : clients_) {
      if (!may_read(client->domain(), change.permissions)) continue;
      for (const auto& watch : client->watches_) {
        const bool hears = change.kind == StoreChange::Kind::named
                               ? is_within(change.path, watch.path)
                               : change.path == watch.path;
        if (hears) deliver(*client, watch, change.path);
      }
    }
  }
}

// A watch that was set with a relative path is told relative paths.
void StoreServer::deliver(StoreClient& client, const StoreClient::Watch& watch,
                          std::string_view changed) {
  const auto prefix_bytes = watch.path.size() - watch.as_given.size();
  client.events_.push_back({std::string(changed.substr(prefix_bytes)), watch.token});
  client.signal_.raise();
}

}  // namespace xenblk::loopback
