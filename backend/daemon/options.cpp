#include "backend/daemon/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <optional>
#include <sstream>
#include <thread>

#include "backend/daemon/config_file.h"
#include "backend/daemon/host.h"

namespace xenblk::daemon {

namespace {

constexpr std::uint32_t kMostWorkers = 64;
constexpr std::uint32_t kMostPollingUs = 10'000;
// Measured on the real Xen: with these a request alone on its ring is answered sooner and costs
// less CPU than with a wake-up each (bench/xen).
constexpr std::uint32_t kDefaultPollingWindowUs = 300;
constexpr std::uint32_t kDefaultPollingBudgetPercent = 20;

// Where xapi keeps its state: its statistics are read from files there.
constexpr const char* kXapiDirectory = "/var/xapi";

// A guest's kernel complains after two minutes, its users after a second.
constexpr std::uint32_t kDefaultSlowRequestMs = 1000;
constexpr std::uint32_t kMostSlowRequestMs = 3'600'000;

// Linux blkfront takes at most 4 queues unless told otherwise, and each costs the guest memory.
constexpr std::uint32_t kDefaultQueuesAtMost = 4;

std::uint32_t processors() {
  return std::max(1U, std::thread::hardware_concurrency());
}

struct CommandLine {
  Settings settings;
  std::string config;
  bool debug = false;
  bool check_config = false;
};

void describe_options(CLI::App& app, CommandLine& line) {
  auto& settings = line.settings;
  app.add_option("-n,--backend-name", settings.backend_names,
                 "XenStore directory to serve, backend/NAME; may be repeated [vbd and vbd3]");
  app.add_option("-m,--max-ring-order", settings.max_ring_order,
                 "Largest ring offered to guests, as the power of two of its pages [4]")
      ->check(CLI::Range(0U, blkif::kMaxRingOrder));
  app.add_option("-q,--max-queues", settings.max_queues,
                 "Queues offered per disk [one per CPU, at most 4]")
      ->check(CLI::Range(1U, negotiation::kMostQueues));
  app.add_option("-w,--workers", settings.workers, "Threads that serve queues [one per CPU]")
      ->check(CLI::Range(1U, kMostWorkers));
  app.add_option("-c,--config", line.config,
                 fmt::format("Configuration file [{}]", kDefaultConfig));
  app.add_flag("--check-config", line.check_config,
               "Say what is wrong with the configuration file, and end");
  app.add_flag("-D,--debug", line.debug, "Stay in the foreground and log every step to stderr");
  app.set_version_flag("-V,--version", "xenblkd " XENBLK_VERSION);
  app.set_help_flag("-h,--help", "Show this help");
}

// Nothing: parsed. Otherwise what to say before the program ends.
std::optional<Farewell> parse(CLI::App& app, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
    return {};
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    const bool asked_for = app.exit(error, out, err) == 0;
    if (asked_for) return Farewell{0, out.str()};
    return Farewell{2, fmt::format("xenblkd: {} (see xenblkd --help)\n", error.what())};
  }
}

Expected<Settings> file_settings(const std::string& named) {
  if (!named.empty()) return read_config_file(named);
  if (!std::filesystem::exists(kDefaultConfig)) return Settings{};
  return read_config_file(kDefaultConfig);
}

// Only the file says something about these. Where nothing is confined, and nothing said, images lie
// anywhere.
void combine_confinement(const Settings& file, Options& options) {
  auto& confinement = options.confinement;
  confinement.user = file.user.value_or(confinement.user);
  confinement.capabilities = file.capabilities.value_or(true);
  confinement.file_system = file.file_system.value_or(true);
  confinement.system_calls = file.system_calls.value_or(true);
  options.backend.worker.restricted_ring = file.io_uring.value_or(true);
  confinement.image_roots = file.image_roots;
  if (confinement.image_roots.empty() && confinement.file_system) {
    confinement.image_roots = usual_image_roots();
  }
  confinement.parent_directories = file.image_directories;
  confinement.state_directory = kStateDirectory;
  options.backend.images.image_roots = confinement.image_roots;
}

backend::FailureWishes wishes(const FailureSettings& settings) {
  const auto parsed = [](const std::optional<std::string>& word) {
    return word ? backend::parse_on_failure(*word) : std::nullopt;
  };
  return {parsed(settings.on_error), parsed(settings.on_no_space)};
}

void combine_failures(const Settings& file, backend::BackendOptions& backend) {
  backend.storage.of_all = wishes(file.on_failure);
  for (const auto& [disk, settings] : file.disks) {
    backend.storage.of_disk[disk] = wishes(settings);
  }
}

Options combine(const Settings& line, const Settings& file) {
  Options options;
  auto& backend = options.backend;
  const auto& names = line.backend_names.empty() ? file.backend_names : line.backend_names;
  if (!names.empty()) backend.kinds = names;
  const auto choose = [](auto first, auto second, std::uint32_t otherwise) {
    return first ? *first : second ? *second : otherwise;
  };
  backend.offer.max_ring_order =
      choose(line.max_ring_order, file.max_ring_order, blkif::kMaxRingOrder);
  backend.offer.max_queues =
      choose(line.max_queues, file.max_queues, std::min(processors(), kDefaultQueuesAtMost));
  backend.offer.max_indirect_segments = choose(
      line.max_indirect_segments, file.max_indirect_segments, negotiation::kUsualIndirectSegments);
  backend.offer.logical_sector_bytes =
      choose(line.logical_sector_size, file.logical_sector_size, kSectorBytes);
  // Until persistent grants are seen to be faster, they are for those who ask for them: they cost
  // the guest memory, and a copy of its own.
  backend.offer.persistent_grants = file.data_path == "persistent";
  backend.images.image_directories = file.image_directories;
  backend.images.raw_parents = file.raw_parents.value_or(false);
  combine_confinement(file, options);
  combine_failures(file, backend);
  backend.journal_directory = file.journal_directory.value_or(kDefaultJournals);
  backend.export_directory = kStateDirectory;
  auto& polling = backend.worker.polling;
  polling.window = std::chrono::microseconds(
      choose(line.polling_window_us, file.polling_window_us, kDefaultPollingWindowUs));
  polling.budget_percent = choose(line.polling_budget_percent, file.polling_budget_percent,
                                  kDefaultPollingBudgetPercent);
  backend.slow_request = std::chrono::milliseconds(
      choose(line.slow_request_ms, file.slow_request_ms, kDefaultSlowRequestMs));
  options.log_level = file.log_level.value_or("info");
  options.metrics_file = file.metrics_file.value_or("");
  options.xapi_statistics = file.xapi_statistics.value_or(std::filesystem::exists(kXapiDirectory));
  options.control_group = file.control_group.value_or("");
  backend.workers = choose(line.workers, file.workers, std::min(processors(), kMostWorkers));
  backend.pin_workers = file.pin_workers.value_or(true);
  return options;
}

Expected<void> check_choices(const Settings& settings) {
  if (settings.metrics_file && !settings.metrics_file->starts_with('/')) {
    return fail(Errc::bad_spec, fmt::format("metrics-file: \"{}\" is not an absolute path",
                                            *settings.metrics_file));
  }
  for (const auto& directory : settings.image_directories) {
    if (directory.starts_with('/')) continue;
    return fail(Errc::bad_spec,
                fmt::format("image-directories: \"{}\" is not an absolute path", directory));
  }
  const auto journals = settings.journal_directory.value_or("");
  if (!journals.empty() && !journals.starts_with('/')) {
    return fail(Errc::bad_spec,
                fmt::format("journal-directory: \"{}\" is not an absolute path", journals));
  }
  for (const auto& root : settings.image_roots) {
    if (root.starts_with('/')) continue;
    return fail(Errc::bad_spec, fmt::format("image-roots: \"{}\" is not an absolute path", root));
  }
  const auto level = settings.log_level.value_or("info");
  constexpr std::array<std::string_view, 4> kLevels{"debug", "info", "warning", "error"};
  if (std::ranges::find(kLevels, level) == kLevels.end()) {
    return fail(Errc::bad_spec,
                fmt::format("log-level is \"{}\", must be debug, info, warning or error", level));
  }
  const auto size = settings.logical_sector_size.value_or(kSectorBytes);
  if (size != kSectorBytes && size != kPageBytes) {
    return fail(Errc::bad_spec,
                fmt::format("logical-sector-size is {}, must be 512 or 4096", size));
  }
  const auto path = settings.data_path.value_or("auto");
  if (path == "auto" || path == "copy" || path == "persistent") return {};
  return fail(Errc::bad_spec,
              fmt::format("data-path is \"{}\", must be auto, copy or persistent", path));
}

Expected<void> check_failures(const std::string& prefix, const FailureSettings& settings) {
  const auto check = [&](const char* key,
                         const std::optional<std::string>& word) -> Expected<void> {
    if (!word || backend::parse_on_failure(*word)) return {};
    return fail(Errc::bad_spec,
                fmt::format("{}{} is \"{}\", must be report, pause or stop", prefix, key, *word));
  };
  if (auto fine = check("on-error", settings.on_error); !fine) return fine;
  return check("on-enospc", settings.on_no_space);
}

Expected<void> check_disks(const Settings& settings) {
  for (const auto& [disk, wishes] : settings.disks) {
    const auto colon = disk.rfind(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == disk.size()) {
      return fail(Errc::bad_spec,
                  fmt::format("disks: \"{}\" names no disk: it must be like \"web1:xvda\"", disk));
    }
    if (auto fine = check_failures(fmt::format("disks.\"{}\".", disk), wishes); !fine) return fine;
  }
  return check_failures("", settings.on_failure);
}

}  // namespace

Expected<void> check_settings(const Settings& settings) {
  for (const auto& name : settings.backend_names) {
    // A name becomes a component of a XenStore path.
    const bool plain = !name.empty() && name.size() <= 32 && std::ranges::all_of(name, [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
    });
    if (!plain)
      return fail(Errc::bad_spec, fmt::format("backend name \"{}\" is not a plain word", name));
  }
  const auto within = [](const char* what, std::optional<std::uint32_t> value, std::uint32_t low,
                         std::uint32_t high) -> Expected<void> {
    if (!value || (*value >= low && *value <= high)) return {};
    return fail(Errc::bad_spec, fmt::format("{} is {}, must be {} to {}", what, *value, low, high));
  };
  if (auto fine = within("max-ring-order", settings.max_ring_order, 0, blkif::kMaxRingOrder); !fine)
    return fine;
  if (auto fine = within("max-queues", settings.max_queues, 1, negotiation::kMostQueues); !fine)
    return fine;
  if (auto fine = within("max-indirect-segments", settings.max_indirect_segments, 0,
                         blkif::kMaxIndirectSegments);
      !fine)
    return fine;
  if (auto fine = within("polling-window-us", settings.polling_window_us, 0, kMostPollingUs); !fine)
    return fine;
  if (auto fine = within("polling-budget-percent", settings.polling_budget_percent, 0, 100); !fine)
    return fine;
  if (auto fine = within("slow-request-ms", settings.slow_request_ms, 0, kMostSlowRequestMs); !fine)
    return fine;
  if (auto fine = check_choices(settings); !fine) return fine;
  if (auto fine = check_disks(settings); !fine) return fine;
  return within("workers", settings.workers, 1, kMostWorkers);
}

Expected<std::variant<Options, Farewell>> read_options(int argc, const char* const* argv) {
  CommandLine line;
  CLI::App app{"Serves the virtual disks of Xen guests from raw and VHD images.", "xenblkd"};
  describe_options(app, line);
  if (auto farewell = parse(app, argc, argv)) return *farewell;
  if (auto fine = check_settings(line.settings); !fine) {
    return Farewell{2, fmt::format("xenblkd: {}\n", describe(fine.error()))};
  }
  const auto file = file_settings(line.config);
  if (!file) return std::unexpected(file.error());
  if (line.check_config) return Farewell{0, "the configuration is good\n"};
  auto options = combine(line.settings, *file);
  options.debug = line.debug;
  if (!line.config.empty()) {
    const auto config = std::filesystem::absolute(line.config);
    options.confinement.configuration_directories.push_back(config.parent_path().string());
  }
  if (!options.metrics_file.empty()) {
    const auto directory = std::filesystem::path(options.metrics_file).parent_path();
    options.confinement.statistics_directories.push_back(directory.string());
  }
  const auto& journals = options.backend.journal_directory;
  if (!journals.empty() && journals != kDefaultJournals) {
    options.confinement.statistics_directories.push_back(journals);
  }
  if (options.xapi_statistics) options.confinement.statistics_directories.push_back("/dev/shm");
  if (line.debug) options.log_level = "debug";
  return options;
}

}  // namespace xenblk::daemon
