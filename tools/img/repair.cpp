// xenblk-img repair: makes a damaged image fit to be opened again.
#include "vhd/operations/repair.h"

#include <memory>

#include <fmt/format.h>

#include "tools/img/commands.h"
#include "tools/img/options.h"
#include "tools/img/output.h"
#include "tools/img/vhd_file.h"
#include "vhd/operations/resize.h"

namespace xenblk::img {
namespace {

struct Options {
  std::string image;
};

Expected<vhd::RepairReport> repair_file(VhdFile& image, vhd::MetadataStore& backup) {
  vhd::MetadataFile journal(vhd::resize_journal_path(image.path));
  const auto put_back = vhd::recover_resize(*image.file, journal);
  if (!put_back) return std::unexpected(put_back.error());
  auto report = vhd::repair_image(*image.file, backup);
  if (report && *put_back) {
    report->done.insert(report->done.begin(), "an interrupted resize undone");
  }
  return report;
}

Outcome repair(const Options& options) {
  auto image = open_vhd_file(options.image, Access::read_write);
  if (!image) return std::unexpected(image.error());
  const auto backup_path = vhd::free_backup_path(image->path);
  vhd::MetadataFile backup(backup_path);
  const auto report = repair_file(*image, backup);
  if (!report) return std::unexpected(named(image->path, report.error()));
  for (const auto& line : report->done) print("{}\n", line);
  const auto saved = backup.load();
  if (saved && *saved) print("what was replaced is saved in {}\n", backup_path);
  print("{}: {}\n", image->path, report->done.empty() ? "nothing to repair" : "repaired");
  return ExitStatus::good;
}

}  // namespace

void add_repair(CLI::App& program, Run& run) {
  auto options = std::make_shared<Options>();
  auto& command =
      add_command(program, "repair", "Make a damaged image fit to be opened again",
                  "  xenblk-img check /srv/disk.vhd || xenblk-img repair /srv/disk.vhd");
  command.add_option("IMAGE", options->image, "vhd:PATH, or the path of a VHD")->required();
  command.callback([options, &run] { run = [options] { return repair(*options); }; });
}

}  // namespace xenblk::img
