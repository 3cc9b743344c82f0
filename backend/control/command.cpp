#include "backend/control/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "backend/disk_limits.h"
#include "backend/negotiation/values.h"

namespace xenblk::control {

using Json = nlohmann::json;

namespace {

constexpr std::array kVerbs{Verb::list,    Verb::info,        Verb::stats,    Verb::metrics,
                            Verb::explain, Verb::pause,       Verb::resume,   Verb::close,
                            Verb::resize,  Verb::check,       Verb::snapshot, Verb::coalesce,
                            Verb::limit,   Verb::export_disk, Verb::shutdown};

// Larger than any disk, and still a number of bytes that fits in 63 bits.
constexpr std::uint64_t kMostDiskBytes = std::uint64_t{1} << 62;

std::unexpected<Error> wrong(std::string text) {
  return fail(Errc::bad_spec, std::move(text));
}

std::optional<Verb> verb_of(std::string_view text) {
  const auto found = std::ranges::find(kVerbs, text, [](Verb verb) { return name(verb); });
  if (found == kVerbs.end()) return {};
  return *found;
}

bool takes_disk(Verb verb) {
  switch (verb) {
    case Verb::list:
    case Verb::metrics:
    case Verb::shutdown:
      return false;
    case Verb::info:
    case Verb::stats:
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
      return true;
  }
  return false;
}

template <class Number>
std::optional<Number> plain_number(std::string_view text) {
  Number value{};
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end || text.empty() || text.front() == '-') return {};
  return value;
}

Expected<std::uint64_t> number(const std::string& key, const Json& value, std::uint64_t least,
                               std::uint64_t most) {
  if (value.is_number_unsigned()) {
    const auto n = value.get<std::uint64_t>();
    if (n >= least && n <= most) return n;
  }
  return wrong(fmt::format("{} must be a whole number from {} to {}", key, least, most));
}

Expected<void> take_limit(const std::string& key, const Json& value, Command& command) {
  const auto keep = [&](std::optional<std::uint64_t>& field,
                        backend::LimitRange range) -> Expected<void> {
    const auto n = number(key, value, range.least, range.most);
    if (!n) return std::unexpected(n.error());
    field = *n;
    return {};
  };
  if (key == "iops") return keep(command.operations_per_second, backend::kOperationsRange);
  if (key == "bandwidth") return keep(command.bytes_per_second, backend::kBandwidthRange);
  if (key == "burst-ms") return keep(command.burst_ms, backend::kBurstRange);
  if (key != "none") return wrong(fmt::format("limit takes no {}", negotiation::quoted(key)));
  if (value != Json(true)) return wrong("none must be true");
  command.no_limits = true;
  return {};
}

Expected<void> take_disk(const Json& value, Command& command) {
  if (!value.is_string()) return wrong("disk must be a string");
  auto disk = parse_disk_name(value.get_ref<const std::string&>());
  if (!disk) return std::unexpected(std::move(disk.error()));
  command.disk = std::move(*disk);
  return {};
}

Expected<void> take_guest(const Json& value, Command& command) {
  if (!value.is_string()) return wrong("guest must be a string");
  auto guest = parse_guest_name(value.get_ref<const std::string&>());
  if (!guest) return std::unexpected(std::move(guest.error()));
  command.guest = std::move(*guest);
  return {};
}

// It will stand in XenStore, in logs and on terminals.
Expected<void> take_path(const Json& value, Command& command) {
  if (!value.is_string()) return wrong("to must be a string");
  const auto& path = value.get_ref<const std::string&>();
  if (!path.starts_with('/')) return wrong("to must be an absolute path");
  const auto unfit = [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; };
  if (std::ranges::any_of(path, unfit)) return wrong("to must not contain control characters");
  command.path = path;
  return {};
}

Expected<void> take_export(const std::string& key, const Json& value, Command& command) {
  if (key == "socket") {
    if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
      return wrong("socket must be a path");
    }
    command.socket = value;
    return {};
  }
  if (key == "writable") {
    if (!value.is_boolean()) return wrong("writable must be true or false");
    command.access = value.get<bool>() ? Access::read_write : Access::read_only;
    return {};
  }
  if (key != "stop") return wrong(fmt::format("export takes no {}", negotiation::quoted(key)));
  if (value != Json(true)) return wrong("stop must be true");
  command.stop = true;
  return {};
}

Expected<void> take(const std::string& key, const Json& value, Command& command) {
  if (key == "disk" && takes_disk(command.verb)) return take_disk(value, command);
  if (command.verb == Verb::export_disk) return take_export(key, value, command);
  if (command.verb == Verb::limit && key == "guest") return take_guest(value, command);
  if (command.verb == Verb::limit) return take_limit(key, value, command);
  if (command.verb == Verb::resize && key == "bytes") {
    const auto bytes = number(key, value, kSectorBytes, kMostDiskBytes);
    if (!bytes) return std::unexpected(bytes.error());
    if (*bytes % kSectorBytes != 0) return wrong("bytes must be a multiple of 512");
    command.capacity = {*bytes / kSectorBytes};
    return {};
  }
  if (command.verb == Verb::check && key == "bitmaps") {
    if (!value.is_boolean()) return wrong("bitmaps must be true or false");
    command.bitmaps = value.get<bool>();
    return {};
  }
  if (command.verb == Verb::coalesce && key == "bandwidth") return take_limit(key, value, command);
  if (command.verb == Verb::snapshot && key == "to") return take_path(value, command);
  if (command.verb == Verb::shutdown && key == "mode") {
    if (value != "detach" && value != "close") return wrong("mode must be detach or close");
    command.shutdown = value == "close" ? ShutdownMode::close : ShutdownMode::detach;
    return {};
  }
  return wrong(fmt::format("{} takes no {}", name(command.verb), negotiation::quoted(key)));
}

Expected<void> check_complete(const Command& command) {
  if (command.disk && command.guest) return wrong("limit takes a disk or a guest, not both");
  if (takes_disk(command.verb) && !command.disk && !command.guest && command.verb != Verb::stats) {
    return wrong(fmt::format("{} needs a disk", name(command.verb)));
  }
  if (command.verb == Verb::resize && command.capacity.n == 0) return wrong("resize needs bytes");
  if (command.verb == Verb::snapshot && command.path.empty()) return wrong("snapshot needs to");
  if (command.verb == Verb::export_disk) {
    const bool serve = !command.socket.empty();
    if (serve == command.stop || (command.stop && command.access == Access::read_write)) {
      return wrong("export needs a socket, or stop alone");
    }
  }
  if (command.verb != Verb::limit) return {};
  const bool some = command.operations_per_second || command.bytes_per_second || command.burst_ms;
  if (some == command.no_limits) {
    return wrong("limit needs some of iops, bandwidth and burst-ms, or none alone");
  }
  return {};
}

}  // namespace

std::string_view name(Verb verb) {
  switch (verb) {
    case Verb::list:
      return "list";
    case Verb::info:
      return "info";
    case Verb::stats:
      return "stats";
    case Verb::metrics:
      return "metrics";
    case Verb::explain:
      return "explain";
    case Verb::pause:
      return "pause";
    case Verb::resume:
      return "resume";
    case Verb::close:
      return "close";
    case Verb::resize:
      return "resize";
    case Verb::check:
      return "check";
    case Verb::snapshot:
      return "snapshot";
    case Verb::coalesce:
      return "coalesce";
    case Verb::limit:
      return "limit";
    case Verb::export_disk:
      return "export";
    case Verb::shutdown:
      return "shutdown";
  }
  return "?";
}

Expected<DiskName> parse_disk_name(std::string_view text) {
  DiskName name;
  if (const auto slash = text.find('/'); slash != std::string_view::npos) {
    const auto domain = plain_number<std::uint16_t>(text.substr(0, slash));
    const auto device = plain_number<std::uint32_t>(text.substr(slash + 1));
    if (domain && device) return DiskName{.domain = {*domain}, .device = {*device}};
  } else if (const auto colon = text.rfind(':'); colon != std::string_view::npos) {
    name.guest = text.substr(0, colon);
    name.virtual_device = text.substr(colon + 1);
    if (!name.guest.empty() && !name.virtual_device.empty()) return name;
  }
  return wrong(fmt::format("{} names no disk: it must be like 7/51712 or like web1:xvda",
                           negotiation::quoted(text)));
}

Expected<GuestName> parse_guest_name(std::string_view text) {
  if (const auto domain = plain_number<std::uint16_t>(text)) return GuestName{.domain = {*domain}};
  if (!text.empty() && !text.contains('/'))
    return GuestName{.domain = {}, .name = std::string(text)};
  return wrong(
      fmt::format("{} names no guest: it must be like 7 or like web1", negotiation::quoted(text)));
}

Expected<Command> parse_command(std::string_view line) {
  if (line.size() > kLongestLine) return wrong("the message is too long");
  const auto json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return wrong("the message is not a JSON object");
  const auto version = json.find("version");
  if (version == json.end() || *version != Json(kProtocolVersion)) {
    return wrong(fmt::format("version must be {}", kProtocolVersion));
  }
  const auto verb_text = json.find("command");
  if (verb_text == json.end() || !verb_text->is_string()) return wrong("command is missing");
  const auto verb = verb_of(verb_text->get_ref<const std::string&>());
  if (!verb) {
    return wrong(fmt::format("no such command: {}",
                             negotiation::quoted(verb_text->get_ref<const std::string&>())));
  }
  Command command{.verb = *verb};
  for (const auto& [key, value] : json.items()) {
    if (key == "version" || key == "command") continue;
    if (auto taken = take(key, value, command); !taken) return std::unexpected(taken.error());
  }
  if (auto complete = check_complete(command); !complete) {
    return std::unexpected(complete.error());
  }
  return command;
}

ringio::RateLimits changed(ringio::RateLimits limits, const Command& command) {
  if (command.no_limits) return {};
  if (command.operations_per_second) limits.operations_per_second = *command.operations_per_second;
  if (command.bytes_per_second) limits.bytes_per_second = *command.bytes_per_second;
  if (command.burst_ms) limits.burst_ns = *command.burst_ms * 1'000'000;
  return limits;
}

}  // namespace xenblk::control
