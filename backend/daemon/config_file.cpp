#include "backend/daemon/config_file.h"

#include <fmt/format.h>

#include <fstream>
#include <limits>
#include <sstream>
namespace xenblk::daemon {

// Some text breaks what toml++ expects of itself: "at = 2026-01-01T:" ends the program by an
// assertion.
struct NotUnderstood {};
static constexpr void expect(bool holds) {
  if (!holds) throw NotUnderstood{};
}

}  // namespace xenblk::daemon

// Only this file uses it, so there is no need for its shared library.
#define TOML_HEADER_ONLY 1
#define TOML_ASSERT(expected) xenblk::daemon::expect(static_cast<bool>(expected))
#include <toml++/toml.h>

namespace xenblk::daemon {

namespace {

std::unexpected<Error> at(const std::string& path, const toml::source_region& where,
                          std::string_view reason) {
  return fail(Errc::bad_spec, fmt::format("{}:{}: {}", path, where.begin.line, reason));
}

Expected<std::uint32_t> number(const std::string& path, std::string_view key,
                               const toml::node& node) {
  const auto value = node.value_exact<std::int64_t>();
  if (!value || *value < 0 || *value > std::numeric_limits<std::uint32_t>::max()) {
    return at(path, node.source(), fmt::format("{} must be a whole number", key));
  }
  return static_cast<std::uint32_t>(*value);
}

Expected<std::vector<std::string>> strings(const std::string& path, std::string_view key,
                                           const toml::node& node) {
  std::vector<std::string> result;
  const auto* array = node.as_array();
  for (std::size_t i = 0; array != nullptr && i < array->size(); ++i) {
    const auto name = (*array)[i].value_exact<std::string>();
    if (!name) return at(path, node.source(), fmt::format("{} must be a list of strings", key));
    result.push_back(*name);
  }
  if (result.empty()) {
    return at(path, node.source(), fmt::format("{} must be a list of strings", key));
  }
  return result;
}

std::vector<std::string>* strings_of(std::string_view key, Settings& settings) {
  if (key == "backend-names") return &settings.backend_names;
  if (key == "image-directories") return &settings.image_directories;
  if (key == "image-roots") return &settings.image_roots;
  return nullptr;
}

std::optional<std::string>* string_of(std::string_view key, Settings& settings) {
  if (key == "data-path") return &settings.data_path;
  if (key == "log-level") return &settings.log_level;
  if (key == "control-group") return &settings.control_group;
  if (key == "metrics-file") return &settings.metrics_file;
  if (key == "journal-directory") return &settings.journal_directory;
  return nullptr;
}

std::optional<bool>* choice_of(std::string_view key, Settings& settings) {
  if (key == "raw-parents") return &settings.raw_parents;
  if (key == "pin-workers") return &settings.pin_workers;
  if (key == "xapi-statistics") return &settings.xapi_statistics;
  return nullptr;
}

std::optional<std::uint32_t>* number_of(std::string_view key, Settings& settings) {
  if (key == "max-ring-order") return &settings.max_ring_order;
  if (key == "max-queues") return &settings.max_queues;
  if (key == "workers") return &settings.workers;
  if (key == "max-indirect-segments") return &settings.max_indirect_segments;
  if (key == "logical-sector-size") return &settings.logical_sector_size;
  if (key == "polling-window-us") return &settings.polling_window_us;
  if (key == "slow-request-ms") return &settings.slow_request_ms;
  if (key == "polling-budget-percent") return &settings.polling_budget_percent;
  return nullptr;
}

std::optional<bool>* switch_of(std::string_view key, Settings& settings) {
  if (key == "capabilities") return &settings.capabilities;
  if (key == "file-system") return &settings.file_system;
  if (key == "system-calls") return &settings.system_calls;
  if (key == "io-uring") return &settings.io_uring;
  return nullptr;
}

Expected<void> take_confinement(const std::string& path, const toml::node& node,
                                Settings& settings) {
  const auto* table = node.as_table();
  if (table == nullptr) return at(path, node.source(), "confinement must be a table");
  for (const auto& [name, value] : *table) {
    const auto key = fmt::format("confinement.{}", name.str());
    if (name == "user") {
      settings.user = value.value_exact<std::string>();
      if (!settings.user) return at(path, value.source(), key + " must be a string");
      continue;
    }
    auto* field = switch_of(name.str(), settings);
    if (field == nullptr) return at(path, value.source(), "unknown key " + key);
    *field = value.value_exact<bool>();
    if (!*field) return at(path, value.source(), key + " must be true or false");
  }
  return {};
}

Expected<void> take(const std::string& path, std::string_view key, const toml::node& node,
                    Settings& settings) {
  if (auto* list = strings_of(key, settings); list != nullptr) {
    auto value = strings(path, key, node);
    if (!value) return std::unexpected(value.error());
    *list = std::move(*value);
    return {};
  }
  if (key == "confinement") return take_confinement(path, node, settings);
  if (auto* choice = choice_of(key, settings); choice != nullptr) {
    *choice = node.value_exact<bool>();
    if (*choice) return {};
    return at(path, node.source(), fmt::format("{} must be true or false", key));
  }
  if (auto* text = string_of(key, settings); text != nullptr) {
    *text = node.value_exact<std::string>();
    if (*text) return {};
    return at(path, node.source(), fmt::format("{} must be a string", key));
  }
  auto* field = number_of(key, settings);
  if (field == nullptr) return at(path, node.source(), fmt::format("unknown key {}", key));
  const auto value = number(path, key, node);
  if (!value) return std::unexpected(value.error());
  *field = *value;
  return {};
}

// Throws toml::parse_error, NotUnderstood.
Expected<Settings> settings_of(std::string_view text, const std::string& path) {
  Settings settings;
  for (const auto& [key, node] : toml::parse(text, path)) {
    auto taken = take(path, key.str(), node, settings);
    if (!taken) return std::unexpected(std::move(taken.error()));
    // What was taken before was good, so this is the line.
    if (auto fine = check_settings(settings); !fine) {
      return at(path, node.source(), describe(fine.error()));
    }
  }
  return settings;
}

bool is_understood(std::string_view text) {
  try {
    static_cast<void>(toml::parse(text));
  } catch (const NotUnderstood&) {
    return false;
  } catch (const toml::parse_error&) {
    return true;
  }
  return true;
}

// The end of the shortest beginning that already fails: the library does not say where it was.
std::size_t line_not_understood(std::string_view text) {
  std::size_t line = 1;
  for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', end + 1)) {
    if (!is_understood(text.substr(0, end + 1))) break;
    ++line;
  }
  return line;
}

}  // namespace

Expected<Settings> parse_config(std::string_view text, const std::string& path) {
  try {
    return settings_of(text, path);
  } catch (const toml::parse_error& error) {
    return at(path, error.source(), error.description());
  } catch (const NotUnderstood&) {
    return fail(Errc::bad_spec, fmt::format("{}:{}: this is no value that TOML has", path,
                                            line_not_understood(text)));
  }
}

Expected<Settings> read_config_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  // Of an empty file the operator takes nothing, and calls that a failure of the text.
  const bool has_text = file && file.peek() != std::ifstream::traits_type::eof();
  if (has_text) text << file.rdbuf();
  if (!file.is_open() || file.bad() || !text) return fail_os(errno != 0 ? errno : EIO, path);
  return parse_config(text.str(), path);
}

}  // namespace xenblk::daemon
