// xenblk-img check: all that is wrong with an image.
#include "vhd/operations/check.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "tools/img/commands.h"
#include "tools/img/json.h"
#include "tools/img/open_images.h"
#include "tools/img/options.h"
#include "tools/img/output.h"
#include "tools/img/vhd_file.h"
#include "vhd/operations/resize.h"

namespace xenblk::img {
namespace {

struct Options {
  std::string image;
  bool json = false;
  ChainOptions chain;
};

using vhd::FindingLevel;

std::ptrdiff_t count_of(const vhd::CheckReport& report, FindingLevel level) {
  return std::ranges::count(report.findings, level, &vhd::Finding::level);
}

void print_json_report(const std::string& path, const vhd::CheckReport& report) {
  Json findings = Json::array();
  for (const auto& one : report.findings) {
    findings.push_back(
        {{"severity", vhd::name_of(one.level)}, {"code", one.code}, {"text", one.text}});
  }
  print_json({{"path", path}, {"status", report.status()}, {"findings", findings}});
}

void print_report(const std::string& path, const vhd::CheckReport& report) {
  for (const auto& one : report.findings) {
    print("{}: {} [{}]\n", vhd::name_of(one.level), one.text, one.code);
  }
  print("{}: {}\n", path, report.status());
}

Outcome outcome_of(const std::string& path, const vhd::CheckReport& report) {
  if (report.has_errors()) {
    const auto errors = count_of(report, FindingLevel::error);
    return fail(Errc::bad_image, fmt::format("{}: {} error{}, first: {}", path, errors,
                                             errors == 1 ? "" : "s", report.findings.front().text));
  }
  return count_of(report, FindingLevel::warning) > 0 ? ExitStatus::warnings : ExitStatus::good;
}

Outcome check(const Options& options) {
  const auto image = open_vhd_file(options.image, Access::read_only);
  if (!image) return std::unexpected(image.error());
  // What lies beside an image that was being resized is a part of it.
  vhd::MetadataFile journal(vhd::resize_journal_path(image->path));
  if (auto whole = vhd::recover_resize(*image->file, journal); !whole) {
    return std::unexpected(named(image->path, whole.error()));
  }
  const auto report = vhd::check_image(*image->file, check_options(image->path, options.chain));
  if (!report) return std::unexpected(named(image->path, report.error()));
  if (options.json) {
    print_json_report(image->path, *report);
  } else {
    print_report(image->path, *report);
  }
  return outcome_of(image->path, *report);
}

}  // namespace

void add_check(CLI::App& program, Run& run) {
  auto options = std::make_shared<Options>();
  auto& command = add_command(program, "check", "Read all metadata and tell what is wrong with it",
                              "  xenblk-img check /srv/disk.vhd\n"
                              "  xenblk-img check --json vhd:/srv/disk.vhd | jq .status");
  command.add_option("IMAGE", options->image, "vhd:PATH, or the path of a VHD")->required();
  command.add_flag("--json", options->json, "As JSON, with the keys of xenblk-img(1)");
  add_chain_options(command, options->chain);
  command.callback([options, &run] { run = [options] { return check(*options); }; });
}

}  // namespace xenblk::img
