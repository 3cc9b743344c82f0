#include "backend/device_nodes.h"

#include <fmt/format.h>

#include "backend/disk_limits.h"
#include "backend/negotiation/values.h"
#include "backend/store.h"

namespace xenblk::backend {

using negotiation::DeviceKey;
using negotiation::HotplugStatus;
using negotiation::quoted;
using negotiation::Seen;
using negotiation::XenbusState;

namespace {

HotplugStatus hotplug_status(const std::optional<std::string>& value) {
  if (!value) return HotplugStatus::none;
  return *value == "connected" ? HotplugStatus::connected : HotplugStatus::error;
}

negotiation::ShutdownRequest shutdown_request(const std::optional<std::string>& value) {
  using enum negotiation::ShutdownRequest;
  if (!value) return none;
  return *value == "force" ? force : normal;
}

// The frontend's path is known from the device's own; a backend directory that points elsewhere
// would make us act for one guest on what another one wrote.
std::string wrong_frontend(const DeviceKey& key, const std::string& path,
                           const std::optional<std::string>& domain) {
  if (path != negotiation::frontend_path(key)) {
    return fmt::format("frontend is {}, not {}", quoted(path), negotiation::frontend_path(key));
  }
  if (domain != std::to_string(key.domain.n)) {
    return fmt::format("frontend-id is {}, not {}", quoted(domain.value_or("")), key.domain.n);
  }
  return {};
}

}  // namespace

FrontendReading read_frontend(XenStore& store, const DeviceKey& key) {
  const auto value = read_node(store, negotiation::frontend_path(key) + "/state");
  if (!value || !store.domain_exists(key.domain)) return {};
  if (const auto state = negotiation::parse_state(*value)) return {.state = *state, .problem = {}};
  return {.valid = false, .problem = fmt::format("the frontend's state is {}", quoted(*value))};
}

Reading read_device(XenStore& store, const DeviceKey& key, const std::optional<std::string>& medium,
                    std::optional<FrontendReading>& frontend) {
  const auto directory = negotiation::backend_path(key);
  const auto node = [&](const char* name) { return read_node(store, directory + "/" + name); };
  Reading reading;
  const auto path = node("frontend");
  const auto state = node("state");
  // A directory without these two is being made or being removed.
  if (!path || !state) return reading;
  auto& seen = reading.seen;
  seen.exists = true;
  seen.backend = negotiation::parse_state(*state).value_or(XenbusState::unknown);
  seen.online = node("online") != "0";
  seen.has_script = node("script").has_value();
  seen.hotplug = hotplug_status(node("hotplug-status"));
  seen.shutdown = shutdown_request(node("shutdown-request"));
  if (medium) seen.other_medium = node("params").value_or(*medium) != *medium;
  reading.frontend_problem = wrong_frontend(key, *path, node("frontend-id"));
  if (!reading.frontend_problem.empty()) {
    seen.frontend_valid = false;
    return reading;
  }
  if (!frontend) frontend = read_frontend(store, key);
  seen.frontend = frontend->state;
  seen.frontend_valid = frontend->valid;
  reading.frontend_problem = frontend->problem;
  return reading;
}

Reading read_device(XenStore& store, const DeviceKey& key,
                    const std::optional<std::string>& medium) {
  std::optional<FrontendReading> not_read;
  return read_device(store, key, medium, not_read);
}

Expected<std::optional<bool>> read_persistent_grants(XenStore& store, const DeviceKey& key) {
  const auto word = read_node(store, negotiation::backend_path(key) + "/data-path");
  if (!word) return std::nullopt;
  if (word == "persistent") return true;
  if (word == "auto" || word == "copy") return false;
  return fail(Errc::bad_node,
              fmt::format("data-path is {}, must be auto, copy or persistent", quoted(*word)));
}

Expected<DiskRequest> read_disk_request(XenStore& store, const DeviceKey& key) {
  const auto directory = negotiation::backend_path(key);
  const auto node = [&](const char* name) { return read_node(store, directory + "/" + name); };
  DiskRequest request;
  const auto params = node("params");
  if (!params) return fail(Errc::bad_node, "params is missing");
  request.params = *params;
  request.virtual_device = node("dev").value_or("");
  const auto mode = node("mode").value_or("w");
  if (mode != "r" && mode != "w" && mode != "w!") {
    return fail(Errc::bad_node, fmt::format("mode is {}, neither r nor w", quoted(mode)));
  }
  for (const auto& [name, wish] : {std::pair{"on-error", &request.on_failure.on_error},
                                   std::pair{"on-enospc", &request.on_failure.on_no_space}}) {
    const auto word = node(name);
    if (!word) continue;
    *wish = parse_on_failure(*word);
    if (*wish) continue;
    return fail(Errc::bad_node,
                fmt::format("{} is {}, must be report, pause or stop", name, quoted(*word)));
  }
  const auto limits = read_limits(node);
  if (!limits) return std::unexpected(limits.error());
  request.limits = *limits;
  const auto guest_limits = read_guest_limits(node);
  if (!guest_limits) return std::unexpected(guest_limits.error());
  request.guest_limits = *guest_limits;
  request.access = mode == "r" ? Access::read_only : Access::read_write;
  request.cdrom = node("device-type") == "cdrom";
  request.removable = node("removable") == "1";
  request.discard = node("discard-enable") != "0";
  return request;
}

}  // namespace xenblk::backend
