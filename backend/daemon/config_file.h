// The configuration file, /etc/xenblk/xenblkd.toml.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenblk/error.h"

namespace xenblk::daemon {

// "report", "pause" or "stop".
struct FailureSettings {
  std::optional<std::string> on_error;
  std::optional<std::string> on_no_space;
};

// What may be set in the file or on the command line; unset means the default.
struct Settings {
  std::vector<std::string> backend_names;
  std::optional<std::uint32_t> max_ring_order;
  std::optional<std::uint32_t> max_queues;
  std::optional<std::uint32_t> workers;
  std::optional<std::uint32_t> max_indirect_segments;
  std::optional<std::uint32_t> logical_sector_size;
  std::optional<std::uint32_t> polling_window_us;
  std::optional<std::uint32_t> polling_budget_percent;
  std::optional<std::uint32_t> slow_request_ms;
  std::optional<std::string> data_path;
  std::optional<std::string> log_level;
  std::vector<std::string> image_directories;
  std::optional<bool> raw_parents;
  std::optional<bool> pin_workers;
  std::vector<std::string> image_roots;
  // Of the table "confinement".
  std::optional<std::string> user;
  std::optional<bool> capabilities;
  std::optional<bool> file_system;
  std::optional<bool> system_calls;
  std::optional<bool> io_uring;
  std::optional<std::string> control_group;
  std::optional<std::string> metrics_file;
  std::optional<bool> xapi_statistics;
  std::optional<std::string> journal_directory;
  // What to do when a storage fails: for all disks, and for those that the table "disks" names.
  FailureSettings on_failure;
  std::map<std::string, FailureSettings> disks;
};

// Errors: bad_spec with one line "file:line: reason" (unknown keys are errors), or why it cannot be
// read.
Expected<Settings> read_config_file(const std::string& path);
// Of its text; `path` is for what is said. Errors: bad_spec, as above.
Expected<Settings> parse_config(std::string_view text, const std::string& path);

// Values out of range. Errors: bad_spec.
Expected<void> check_settings(const Settings& settings);

}  // namespace xenblk::daemon
