#include "backend/daemon/confinement/confinement.h"

#include <fmt/format.h>
#include <spdlog/logger.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <utility>

#include "backend/daemon/confinement/file_view.h"
#include "backend/daemon/confinement/privileges.h"
#include "backend/daemon/confinement/system_calls.h"

namespace xenblk::daemon {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 18> kOfTheHost = {
    "bin",  "boot", "dev", "etc",  "lib", "lib32", "lib64", "libx32", "lost+found",
    "proc", "root", "run", "sbin", "sys", "usr",   "var",   "init",   "initrd"};

// Beneath the former, and yet for images.
constexpr std::array<std::string_view, 5> kForImages = {"dev", "run/sr-mount", "var/run/sr-mount",
                                                        "var/lib/xen", "var/lib/libvirt/images"};

std::unexpected<Error> cannot(Error error, const char* setting) {
  error.text = fmt::format("confinement: {} ({} turns this part off)", error.text, setting);
  return std::unexpected(std::move(error));
}

FileView file_view(const ConfinementOptions& options) {
  FileView view;
  view.writable = options.image_roots;
  view.readable = options.parent_directories;
  view.readable.insert(view.readable.end(), options.configuration_directories.begin(),
                       options.configuration_directories.end());
  view.own = options.statistics_directories;
  view.own.push_back(options.state_directory);
  // Libraries are loaded and time zones read late by the C library; the others tell about devices.
  for (const char* path : {"/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime",
                           "/etc/xenblk", "/proc", "/sys"}) {
    view.readable.emplace_back(path);
  }
  // Interrupts go to the CPU of the worker that waits for them.
  for (const char* path :
       {"/dev/null", "/dev/xen/gntdev", "/dev/xen/evtchn", "/dev/xen/xenbus", "/proc/irq"}) {
    view.writable.emplace_back(path);
  }
  return view;
}

}  // namespace

Expected<void> confine_before_threads(const ConfinementOptions& options, spdlog::logger& log) {
  if (!options.user.empty()) {
    auto became = become_user(options.user, options.state_directory);
    if (!became) return cannot(became.error(), "user = \"\"");
    if (!*became) log.warn("there is no user {}: still {}", options.user, own_user_name());
  }
  if (options.capabilities) {
    if (auto dropped = drop_capabilities(); !dropped) {
      return cannot(dropped.error(), "capabilities = false");
    }
  }
  if (options.file_system) {
    const auto limited = limit_file_view(file_view(options));
    if (!limited) return cannot(limited.error(), "file-system = false");
    if (!*limited) log.warn("this kernel has no Landlock: files beyond images are not shut off");
  }
  return {};
}

Expected<void> confine_after_start(const ConfinementOptions& options) {
  if (!options.system_calls) return {};
  auto limited = limit_system_calls(options.more_system_calls);
  if (!limited) return cannot(limited.error(), "system-calls = false");
  return {};
}

std::vector<std::string> usual_image_roots(const std::string& top) {
  std::vector<std::string> roots;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(top, ignored)) {
    const auto name = entry.path().filename().string();
    if (std::ranges::find(kOfTheHost, name) != kOfTheHost.end()) continue;
    if (entry.is_symlink(ignored) || !entry.is_directory(ignored)) continue;
    roots.push_back(entry.path().string());
  }
  for (const auto name : kForImages) {
    const auto path = fs::path(top) / name;
    if (fs::is_directory(path, ignored)) roots.push_back(path.string());
  }
  std::ranges::sort(roots);
  return roots;
}

}  // namespace xenblk::daemon
