#include "backend/control/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "backend/control/explain.h"
#include "backend/control/metrics.h"
#include "backend/negotiation/values.h"
#include "backend/store.h"

namespace xenblk::control {

using backend::Device;
using negotiation::DeviceKey;

Service::Service(backend::Backend& backend, std::function<void()> end_daemon)
    : backend_(backend), end_daemon_(std::move(end_daemon)) {
  backend_.on_settled([this] { look_at_waiting(); });
}

Service::~Service() {
  backend_.on_settled({});
}

void Service::execute(const Command& command, Reply reply) {
  if (command.disk) {
    const auto device = find(*command.disk);
    if (!device) return reply.bad(device.error());
    return execute_on(**device, command, std::move(reply));
  }
  if (command.guest) return limit_guest(command, reply);
  switch (command.verb) {
    case Verb::list:
      return reply.good({{"disks", each(list_entry)}});
    case Verb::stats:
      return reply.good({{"disks", each(disk_stats)}});
    case Verb::metrics:
      return reply.good({{"text", metrics_text(all_disks())}});
    case Verb::shutdown:
      return shut_down(command.shutdown, reply);
    case Verb::info:
    case Verb::explain:
    case Verb::pause:
    case Verb::resume:
    case Verb::close:
    case Verb::resize:
    case Verb::check:
    case Verb::snapshot:
    case Verb::coalesce:
    case Verb::limit:
    case Verb::export_disk:
      break;
  }
  reply.bad({Errc::bad_spec, 0, fmt::format("{} needs a disk", name(command.verb))});
}

void Service::execute_on(Device& device, const Command& command, Reply reply) {
  switch (command.verb) {
    case Verb::info:
      return reply.good(disk_info(named(device)));
    case Verb::stats:
      return reply.good({{"disks", Json::array({disk_stats(named(device))})}});
    case Verb::explain:
      return reply.good({{"lines", explain(device.status())}});
    case Verb::pause:
      return device.pause([reply](const Expected<void>& paused) { reply.with(paused); });
    case Verb::resume:
      return reply.with(device.resume());
    case Verb::close:
      return close(device, std::move(reply));
    case Verb::resize:
      return device.grow(command.capacity, [reply](const auto& grown) { reply.with(grown); });
    case Verb::snapshot:
      return device.snapshot(command.path, [reply](const auto& taken) { reply.with(taken); });
    case Verb::coalesce:
      return device.coalesce(command.bytes_per_second.value_or(0),
                             [reply](const auto& begun) { reply.with(begun); });
    case Verb::check:
      return device.check({.bitmaps = command.bitmaps, .find_parent = {}},
                          [reply](const auto& report) {
                            if (!report) return reply.bad(report.error());
                            reply.good(check_json(*report));
                          });
    case Verb::limit: {
      const auto limits = changed(device.status().limits, command);
      if (const auto set = device.set_limits(limits); !set) return reply.bad(set.error());
      return reply.good(limits_json(limits));
    }
    case Verb::export_disk:
      return serve_clients(device, command, std::move(reply));
    case Verb::list:
    case Verb::metrics:
    case Verb::shutdown:
      break;
  }
  reply.bad({Errc::bad_spec, 0, fmt::format("{} takes no disk", name(command.verb))});
}

void Service::limit_guest(const Command& command, const Reply& reply) {
  const auto device = find_guest(*command.guest);
  if (!device) return reply.bad(device.error());
  const auto limits = changed((*device)->status().guest_limits, command);
  if (const auto set = backend_.set_guest_limits((*device)->key().domain, limits); !set) {
    return reply.bad(set.error());
  }
  reply.good(limits_json(limits));
}

// Any disk of the guest.
Expected<const Device*> Service::find_guest(const GuestName& name) {
  const Device* found = nullptr;
  for (const auto& [key, device] : backend_.devices()) {
    if (name.name.empty() ? key.domain != name.domain : guest_name(key.domain) != name.name) {
      continue;
    }
    if (found != nullptr && found->key().domain != key.domain) {
      return fail(Errc::refused, fmt::format("there are several guests called {}: name it by its "
                                             "number",
                                             negotiation::quoted(name.name)));
    }
    found = device.get();
  }
  if (found != nullptr) return found;
  const auto text = name.name.empty() ? std::to_string(name.domain.n) : name.name;
  return fail(Errc::not_found, fmt::format("no such guest, or none of its disks is served here: {}",
                                           negotiation::quoted(text)));
}

void Service::serve_clients(Device& device, const Command& command, Reply reply) {
  if (command.stop) {
    return device.stop_export([reply](const Expected<void>& ended) { reply.with(ended); });
  }
  const auto started = device.start_export(command.socket, command.access);
  if (!started) return reply.bad(started.error());
  reply.good(export_json(device.status()));
}

Expected<Device*> Service::find(const DiskName& name) {
  // A guest's name may be given to another one while it migrates: two with one name are refused.
  Device* found = nullptr;
  for (const auto& [key, device] : backend_.devices()) {
    if (name.guest.empty()) {
      if (key.domain == name.domain && key.device == name.device) return device.get();
      continue;
    }
    if (device->status().request.virtual_device != name.virtual_device) continue;
    if (guest_name(key.domain) != name.guest) continue;
    if (found != nullptr) {
      return fail(Errc::refused, fmt::format("there are several guests called {}: name the disk "
                                             "by its numbers",
                                             negotiation::quoted(name.guest)));
    }
    found = device.get();
  }
  if (found != nullptr) return found;
  const auto text = name.guest.empty() ? fmt::format("{}/{}", name.domain.n, name.device.n)
                                       : name.guest + ":" + name.virtual_device;
  return fail(Errc::not_found, fmt::format("no such disk: {}", negotiation::quoted(text)));
}

std::string Service::guest_name(DomainId domain) {
  const auto path = fmt::format("/local/domain/{}/name", domain.n);
  return backend::read_node(backend_.store(), path).value_or("");
}

NamedDisk Service::named(const Device& device) {
  return {device.status(), guest_name(device.key().domain)};
}

std::vector<NamedDisk> Service::all_disks() {
  std::vector<NamedDisk> disks;
  std::map<std::uint16_t, std::string> guests;  // each asked for once
  for (const auto& [key, device] : backend_.devices()) {
    const auto [guest, is_new] = guests.try_emplace(key.domain.n);
    if (is_new) guest->second = guest_name(key.domain);
    disks.push_back({device->status(), guest->second});
  }
  return disks;
}

Json Service::each(const std::function<Json(const NamedDisk&)>& show) {
  Json result = Json::array();
  for (const auto& disk : all_disks()) result.push_back(show(disk));
  return result;
}

void Service::close(Device& device, Reply reply) {
  if (auto asked = device.request_close(); !asked) return reply.bad(asked.error());
  wait(device.key(), std::move(reply));
}

void Service::shut_down(ShutdownMode mode, const Reply& reply) {
  if (mode == ShutdownMode::detach) {
    reply.good();
    return end_daemon_();
  }
  for (const auto& [key, device] : backend_.devices()) {
    const auto asked = device->request_close();
    if (asked || asked.error().code == Errc::refused) continue;
    return reply.bad({asked.error().code, asked.error().os_error,
                      fmt::format("{}: {}", disk_number(key), asked.error().text)});
  }
  // It ends also when whoever asked has gone, but only once.
  if (std::exchange(shutting_down_, true)) return wait({}, reply);
  wait({}, {[this, reply](std::string line) {
              reply.say(std::move(line));
              end_daemon_();
            },
            [] { return true; }});
}

void Service::wait(std::optional<DeviceKey> key, Reply reply) {
  // Those who have given up leave room for others.
  std::erase_if(waiting_, [](const Waiting& one) { return !one.reply.wanted(); });
  waiting_.push_back({std::move(key), std::move(reply)});
  look_at_waiting();
}

void Service::look_at_waiting() {
  std::vector<Reply> done;
  std::erase_if(waiting_, [&](const Waiting& one) {
    if (!is_closed(one.key)) return false;
    done.push_back(one.reply);
    return true;
  });
  for (const auto& reply : done) reply.good();
}

bool Service::is_closed(const std::optional<DeviceKey>& key) const {
  // A disk that is left to the next daemon was not closed.
  if (backend_.is_detaching()) return false;
  const auto& devices = backend_.devices();
  if (!key) return std::ranges::all_of(devices, [](auto& one) { return one.second->at_rest(); });
  const auto found = devices.find(*key);
  return found == devices.end() || found->second->at_rest();
}

}  // namespace xenblk::control
