#include "backend/ring_journals.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>

#include "backend/store.h"

namespace xenblk::backend {

using negotiation::DeviceKey;

namespace {

std::string prefix(const DeviceKey& key) {
  return fmt::format("{}-{}-{}-", key.kind, key.domain.n, key.device.n);
}

// The device that a file's name speaks of: "<kind>-<domain>-<device>-<rest>".
std::optional<DeviceKey> device_of_file(const std::string& name, const std::string& kind) {
  if (!name.starts_with(kind + "-")) return std::nullopt;
  const auto rest = name.substr(kind.size() + 1);
  const auto domain_end = rest.find('-');
  if (domain_end == std::string::npos) return std::nullopt;
  const auto device_end = rest.find('-', domain_end + 1);
  if (device_end == std::string::npos) return std::nullopt;
  return negotiation::device_of_path(
      fmt::format("backend/{}/{}/{}", kind, rest.substr(0, domain_end),
                  rest.substr(domain_end + 1, device_end - domain_end - 1)),
      kind);
}

}  // namespace

Expected<void> RingJournals::prepare() const {
  if (!in_use()) return {};
  if (::mkdir(directory_.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return fail_os(errno, directory_);
}

std::string RingJournals::path(const DeviceKey& key, std::size_t queue) const {
  return fmt::format("{}/{}{}", directory_, prefix(key), queue);
}

std::optional<ringio::JournalPlace> RingJournals::place(const DeviceKey& key,
                                                        const negotiation::Session& session,
                                                        std::size_t queue) const {
  if (!in_use()) return std::nullopt;
  const auto& rings = session.queues.at(queue);
  ringio::JournalPlace place{.path = path(key, queue)};
  place.identity = {.domain = key.domain.n,
                    .device = key.device.n,
                    .queue = static_cast<std::uint32_t>(queue),
                    .layout = static_cast<std::uint32_t>(session.layout),
                    .port = rings.port.n,
                    .ring_pages = static_cast<std::uint32_t>(rings.ring_refs.size())};
  for (std::size_t i = 0; i < rings.ring_refs.size() && i < blkif::kMaxRingPages; ++i) {
    place.identity.ring_refs[i] = rings.ring_refs[i].n;
  }
  return place;
}

std::vector<std::string> RingJournals::files() const {
  std::vector<std::string> names;
  if (!in_use()) return names;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory_, error), end; !error && at != end;
       at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  return names;
}

void RingJournals::remove(const DeviceKey& key) const {
  for (const auto& name : files()) {
    if (name.starts_with(prefix(key))) ::unlink((directory_ + "/" + name).c_str());
  }
}

void RingJournals::remove_strays(XenStore& store, const std::vector<std::string>& kinds) const {
  for (const auto& name : files()) {
    for (const auto& kind : kinds) {
      const auto key = device_of_file(name, kind);
      if (!key || read_node(store, negotiation::backend_path(*key) + "/frontend")) continue;
      ::unlink((directory_ + "/" + name).c_str());
    }
  }
}

}  // namespace xenblk::backend
