#include "tools/ctl/program.h"

#include <fmt/format.h>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <sstream>
#include <thread>
#include <utility>

#include "tools/ctl/client.h"
#include "tools/ctl/show.h"
#include "tools/ctl/table.h"
#include "tools/img/output.h"
#include "tools/img/sizes.h"

namespace xenblk::ctl {
namespace {

constexpr const char* kAbout =
    "Shows and steers the disks that xenblkd serves.\n\n"
    "DISK is the number of its guest and its own, as in 7/51712, or the names of both, as in\n"
    "web1:xvda. GUEST is 7 or web1.";

constexpr int kLongestPatienceSeconds = 86'400;

// What the command line says, and what is to be done about it.
struct Run {
  Place place;
  bool json = false;
  std::string disk;
  std::string size;
  std::string export_socket;
  bool writable = false;
  bool stop = false;
  std::uint64_t iops = 0;
  std::string bandwidth;
  std::uint64_t burst_ms = 0;
  bool no_limits = false;
  bool watch = false;
  double interval_seconds = 1;
  unsigned count = 0;  // 0: until it is interrupted
  bool detach = false;
  bool close = false;
  bool bitmaps = false;
  bool wait = false;
  std::string path;
  std::function<Expected<void>()> action;
};

using Show = std::function<std::string(const Json&)>;

std::string nothing(const Json&) {
  return {};
}

void print(const Run& run, const Json& result, const Show& show) {
  if (run.json) {
    img::write_output(result.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  } else {
    img::write_output(show(result));
  }
}

Expected<void> ask_and_print(const Run& run, Json command, const Show& show) {
  const auto result = ask(run.place, std::move(command));
  if (!result) return std::unexpected(result.error());
  print(run, *result, show);
  return {};
}

CLI::App& add_command(CLI::App& program, const std::string& name, const std::string& about,
                      const std::string& example) {
  auto& command = *program.add_subcommand(name, about);
  command.set_help_flag("-h,--help", "Show this help");
  command.footer("Example:\n  xenblkctl " + example);
  command.fallthrough();
  return command;
}

void add_disk(CLI::App& command, Run& run) {
  command.add_option("DISK", run.disk, "7/51712 or web1:xvda")->required();
}

// A command of one message.
void add_simple(CLI::App& program, Run& run, const std::string& name, const std::string& about,
                const std::string& example, Show show) {
  auto& command = add_command(program, name, about, example);
  add_disk(command, run);
  command.callback([&run, name, show = std::move(show)] {
    run.action = [&run, name, show] {
      return ask_and_print(run, {{"command", name}, {"disk", run.disk}}, show);
    };
  });
}

void add_list(CLI::App& program, Run& run) {
  add_command(program, "list", "Shows every disk", "list").callback([&run] {
    run.action = [&run] { return ask_and_print(run, {{"command", "list"}}, show_list); };
  });
}

Expected<void> watch(const Run& run, const Json& command) {
  auto before = ask(run.place, command);
  if (!before) return std::unexpected(before.error());
  for (unsigned shown = 0; run.count == 0 || shown < run.count; ++shown) {
    const auto since = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(std::chrono::duration<double>(run.interval_seconds));
    auto after = ask(run.place, command);
    if (!after) return std::unexpected(after.error());
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - since;
    print(run, *after, [&](const Json& now) { return show_rates(*before, now, passed.count()); });
    if (auto shown_all = img::flush_output(); !shown_all) return shown_all;
    before = std::move(after);
  }
  return {};
}

void add_stats(CLI::App& program, Run& run) {
  auto& command = add_command(program, "stats", "Shows what disks have done, or do now",
                              "stats web1:xvda --watch");
  command.add_option("DISK", run.disk, "7/51712 or web1:xvda; without it all disks");
  command.add_flag("--watch", run.watch, "Show again and again what they do now");
  command.add_option("--interval", run.interval_seconds, "Seconds between two looks")
      ->check(CLI::Range(0.01, 3600.0))
      ->option_text("SECONDS [1]");
  command.add_option("--count", run.count, "With --watch: how often [until interrupted]")
      ->check(CLI::Range(1U, 1'000'000U))
      ->option_text("N");
  command.callback([&run] {
    run.action = [&run] {
      Json message{{"command", "stats"}};
      if (!run.disk.empty()) message["disk"] = run.disk;
      return run.watch ? watch(run, message) : ask_and_print(run, message, show_stats);
    };
  });
}

void add_metrics(CLI::App& program, Run& run) {
  add_command(program, "metrics", "Prints all counters as OpenMetrics text",
              "metrics > /var/lib/prometheus/node-exporter/xenblk.prom")
      .callback([&run] {
        run.action = [&run] {
          return ask_and_print(run, {{"command", "metrics"}},
                               [](const Json& result) { return result.value("text", ""); });
        };
      });
}

Expected<void> limit(const Run& run, const CLI::App& command) {
  const bool of_disk = run.disk.find_first_of("/:") != std::string::npos;
  Json message{{"command", "limit"}, {of_disk ? "disk" : "guest", run.disk}};
  if (command.count("--iops") != 0) message["iops"] = run.iops;
  if (command.count("--bandwidth") != 0) {
    const auto bytes = img::parse_size(run.bandwidth);
    if (!bytes) return fail(Errc::bad_spec, "--bandwidth: " + describe(bytes.error()));
    message["bandwidth"] = *bytes;
  }
  if (command.count("--burst") != 0) message["burst-ms"] = run.burst_ms;
  if (run.no_limits) message["none"] = true;
  if (message.size() == 2) {
    return fail(Errc::bad_spec, "limit needs --iops, --bandwidth, --burst or --none");
  }
  return ask_and_print(run, message, show_limits);
}

void add_limit(CLI::App& program, Run& run) {
  auto& command = add_command(program, "limit",
                              "Limits what a guest gets of a disk, or of all its disks together",
                              "limit web1:xvda --iops 500 --bandwidth 20M\n"
                              "  xenblkctl limit web1 --bandwidth 100M");
  command
      .add_option("DISK", run.disk,
                  "7/51712 or web1:xvda; 7 or web1: one limit that its disks share")
      ->required();
  command.add_option("--iops", run.iops, "Requests a second")->option_text("N");
  command.add_option("--bandwidth", run.bandwidth, "Bytes a second: 500K, 20M, 1G")
      ->option_text("SIZE");
  command
      .add_option("--burst", run.burst_ms,
                  "How long what was not used is saved up, in milliseconds")
      ->option_text("MS [100]");
  command.add_flag("--none", run.no_limits, "No limits any more")
      ->excludes("--iops")
      ->excludes("--bandwidth")
      ->excludes("--burst");
  command.callback(
      [&run, &command] { run.action = [&run, &command] { return limit(run, command); }; });
}

void add_export(CLI::App& program, Run& run) {
  auto& command = add_command(program, "export", "Serves a disk to NBD clients, beside its guest",
                              "export web1:xvda --socket /run/xenblk/web1.nbd");
  add_disk(command, run);
  // Not --socket itself, which is where the daemon listens, before the command.
  auto* socket = command
                     .add_option("--socket", run.export_socket,
                                 "Where clients connect: a path or name in /run/xenblk")
                     ->option_text("PATH");
  auto* writable = command.add_flag("--writable", run.writable, "Clients may write");
  command.add_flag("--stop", run.stop, "Disconnects the clients and serves no more")
      ->excludes(socket)
      ->excludes(writable);
  command.callback([&run] {
    run.action = [&run]() -> Expected<void> {
      Json message{{"command", "export"}, {"disk", run.disk}};
      if (run.stop == !run.export_socket.empty()) {
        return fail(Errc::bad_spec, "export needs --socket or --stop");
      }
      if (run.stop) message["stop"] = true;
      if (!run.stop) message["socket"] = run.export_socket;
      if (run.writable) message["writable"] = true;
      return ask_and_print(run, message, show_export);
    };
  });
}

void add_resize(CLI::App& program, Run& run) {
  auto& command = add_command(program, "resize", "Makes a disk larger while its guest uses it",
                              "resize web1:xvda 40G");
  add_disk(command, run);
  command.add_option("SIZE", run.size, "What it shall be: 40G, 500M, or bytes")->required();
  command.callback([&run] {
    run.action = [&run]() -> Expected<void> {
      const auto size = img::parse_disk_size(run.size);
      if (!size) return fail(Errc::bad_spec, describe(size.error()));
      const Json message{
          {"command", "resize"}, {"disk", run.disk}, {"bytes", size->n * kSectorBytes}};
      return ask_and_print(run, message, nothing);
    };
  });
}

// What is found goes to standard output, and that it is broken is a failure too.
Expected<void> check(const Run& run) {
  const auto result =
      ask(run.place, {{"command", "check"}, {"disk", run.disk}, {"bitmaps", run.bitmaps}});
  if (!result) return std::unexpected(result.error());
  print(run, *result, show_check);
  if (result->value("status", "") != "broken") return {};
  return fail(Errc::bad_image, "the image of " + run.disk + " is broken");
}

void add_check(CLI::App& program, Run& run) {
  auto& command =
      add_command(program, "check", "Looks for what is wrong with a VHD; its guest waits for it",
                  "check web1:xvda");
  add_disk(command, run);
  command.add_flag("--bitmaps", run.bitmaps, "Also read the bitmap of every block: takes longer");
  command.callback([&run] { run.action = [&run] { return check(run); }; });
}

void add_snapshot(CLI::App& program, Run& run) {
  auto& command = add_command(program, "snapshot",
                              "Keeps what a disk holds, and goes on in a new child of its VHD",
                              "snapshot web1:xvda --to /srv/web1-tuesday.vhd");
  add_disk(command, run);
  command.add_option("--to", run.path, "The new child, which the guest writes from now on")
      ->option_text("FILE")
      ->required();
  command.callback([&run] {
    run.action = [&run]() -> Expected<void> {
      std::error_code error;
      const auto path = std::filesystem::absolute(run.path, error);
      if (error) return fail_os(error.value(), run.path);
      const Json message{{"command", "snapshot"}, {"disk", run.disk}, {"to", path.string()}};
      return ask_and_print(run, message, nothing);
    };
  });
}

// Asks again and again how far it is.
Expected<void> wait_for_merge(const Run& run) {
  while (true) {
    const auto info = ask(run.place, {{"command", "info"}, {"disk", run.disk}});
    if (!info) return std::unexpected(info.error());
    const auto merge = info->value("coalesce", Json::object());
    const auto state = merge.is_object() ? merge.value("state", "") : "";
    if (state == "done") return {};
    if (state != "running") {
      return fail(Errc::refused, merge.is_object() ? merge.value("failure", "") : "not merged");
    }
    if (::isatty(STDERR_FILENO) == 1) {
      img::write_message("\r" + show_merge(merge));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

Expected<void> coalesce(const Run& run, const CLI::App& command) {
  Json message{{"command", "coalesce"}, {"disk", run.disk}};
  if (command.count("--bandwidth") != 0) {
    const auto bytes = img::parse_size(run.bandwidth);
    if (!bytes) return fail(Errc::bad_spec, "--bandwidth: " + describe(bytes.error()));
    message["bandwidth"] = *bytes;
  }
  const auto begun = ask(run.place, message);
  if (!begun) return std::unexpected(begun.error());
  auto ended = run.wait ? wait_for_merge(run) : Expected<void>{};
  if (run.wait && ::isatty(STDERR_FILENO) == 1) img::write_message("\n");
  return ended;
}

void add_coalesce(CLI::App& program, Run& run) {
  auto& command = add_command(
      program, "coalesce", "Merges the child that a disk writes into its parent, in the background",
      "coalesce web1:xvda --bandwidth 50M --wait");
  add_disk(command, run);
  command.add_option("--bandwidth", run.bandwidth, "Copy at most so much a second: 500K, 50M, 1G")
      ->option_text("SIZE");
  command.add_flag("--wait", run.wait, "Wait until it is done, and show how far it is");
  command.callback(
      [&run, &command] { run.action = [&run, &command] { return coalesce(run, command); }; });
}

void add_shutdown(CLI::App& program, Run& run) {
  auto& command = add_command(program, "shutdown", "Ends the daemon", "shutdown --detach");
  auto* detach = command.add_flag("--detach", run.detach,
                                  "Guests stay connected and wait for the next daemon [default]");
  command
      .add_flag("--close", run.close, "Close every disk first; waits until guests let go of them")
      ->excludes(detach);
  command.callback([&run] {
    run.action = [&run] {
      const Json message{{"command", "shutdown"}, {"mode", run.close ? "close" : "detach"}};
      return ask_and_print(run, message, nothing);
    };
  });
}

void add_commands(CLI::App& program, Run& run) {
  add_list(program, run);
  add_simple(program, run, "info", "Shows all about a disk", "info web1:xvda", show_info);
  add_stats(program, run);
  add_metrics(program, run);
  add_simple(program, run, "explain", "Says what limits a disk and how to change it",
             "explain web1:xvda", show_explain);
  add_simple(program, run, "pause", "Stops taking requests, and waits for those under way",
             "pause web1:xvda", nothing);
  add_simple(program, run, "resume", "Goes on after a pause, or when the storage is good again",
             "resume web1:xvda", nothing);
  add_resize(program, run);
  add_check(program, run);
  add_snapshot(program, run);
  add_coalesce(program, run);
  add_limit(program, run);
  add_export(program, run);
  add_simple(program, run, "close", "Takes a disk away, once its guest lets go of it",
             "close web1:xvda", nothing);
  add_shutdown(program, run);
}

ExitStatus say(ExitStatus status, const std::string& line) {
  img::write_message(fmt::format("xenblkctl: {}\n", printable(line)));
  return status;
}

// Once all that was said on standard output is there.
ExitStatus end_well() {
  const auto flushed = img::flush_output();
  return flushed ? ExitStatus::good : say(ExitStatus::failed, describe(flushed.error()));
}

ExitStatus wrong_usage(const CLI::App& program, const std::string& what) {
  const auto named = program.get_subcommands();
  const auto hint = named.empty() ? "" : named.front()->get_name() + " ";
  return say(ExitStatus::wrong_usage, fmt::format("{} (see xenblkctl {}--help)", what, hint));
}

ExitStatus explain_parse(const CLI::App& program, const CLI::ParseError& error) {
  std::ostringstream out;
  std::ostringstream ignored;
  if (program.exit(error, out, ignored) != 0) return wrong_usage(program, error.what());
  img::write_output(out.str());
  return end_well();
}

Expected<void> act(const Run& run) {
  try {
    return run.action();
  } catch (const Json::exception&) {
    // What was asked for is not of the kind that it should be.
    return fail(Errc::unavailable, "the answer is not one of xenblkd");
  }
}

}  // namespace

ExitStatus run_program(int argc, const char* const* argv) {
  std::signal(SIGPIPE, SIG_IGN);
  Run run;
  CLI::App program(kAbout, "xenblkctl");
  program.set_help_flag("-h,--help", "Show this help");
  program.set_version_flag("-V,--version", "xenblkctl " XENBLK_VERSION);
  program.add_option("--socket", run.place.socket, "Where the daemon listens")
      ->option_text("PATH [" + run.place.socket + "]");
  program.add_flag("--json", run.json, "Print the answer as JSON");
  program
      .add_option("--timeout", run.place.patience_seconds,
                  "How long an answer may take, in seconds")
      ->check(CLI::Range(1, kLongestPatienceSeconds))
      ->option_text("SECONDS [60]");
  program.require_subcommand(1);
  program.footer("Exit status: 0 done, 1 refused or failed, 2 wrong usage.\nMore: man xenblkctl");
  add_commands(program, run);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return explain_parse(program, error);
  }
  const auto outcome = act(run);
  if (outcome) return end_well();
  if (outcome.error().code == Errc::bad_spec)
    return wrong_usage(program, describe(outcome.error()));
  return say(ExitStatus::failed, describe(outcome.error()));
}

}  // namespace xenblk::ctl
