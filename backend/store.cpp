#include "backend/store.h"

#include <fmt/format.h>

namespace xenblk::backend {

using negotiation::Node;
using negotiation::XenbusState;

namespace {

// One transaction. Error conflict: try again.
Expected<Published> publish_once(XenStore& store, const std::string& directory,
                                 XenbusState expected, std::span<const Node> nodes) {
  const auto transaction = store.begin();
  if (!transaction) return std::unexpected(transaction.error());
  const auto give_up = [&](Error error) -> Expected<Published> {
    store.abort(*transaction);
    return std::unexpected(std::move(error));
  };
  const auto state = store.read(directory + "/state", *transaction);
  if (!state && state.error().code != Errc::not_found) return give_up(state.error());
  if (!state || negotiation::parse_state(*state) != expected) {
    store.abort(*transaction);
    return Published::outdated;
  }
  for (const auto& node : nodes) {
    const auto written = store.write(directory + "/" + node.name, node.value, *transaction);
    if (!written) return give_up(written.error());
  }
  const auto result = store.commit(*transaction);
  if (!result) return std::unexpected(result.error());
  if (*result == CommitResult::conflict) return fail(Errc::conflict, directory);
  return Published::done;
}

}  // namespace

std::optional<std::string> read_node(XenStore& store, const std::string& path) {
  auto value = store.read(path);
  if (!value) return {};
  return std::move(*value);
}

Expected<Published> publish(XenStore& store, const std::string& directory, XenbusState expected,
                            std::span<const Node> nodes) {
  for (int attempt = 0; attempt < kPublishTries; ++attempt) {
    auto result = publish_once(store, directory, expected, nodes);
    if (result || result.error().code != Errc::conflict) return result;
  }
  return fail(Errc::conflict,
              fmt::format("XenStore refused {} transactions in a row", kPublishTries));
}

}  // namespace xenblk::backend
