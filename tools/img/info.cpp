// xenblk-img info: what an image says of itself.
#include <memory>

#include <fmt/format.h>

#include "tools/img/commands.h"
#include "tools/img/image_files.h"
#include "tools/img/image_name.h"
#include "tools/img/json.h"
#include "tools/img/options.h"
#include "tools/img/output.h"
#include "tools/img/sizes.h"
#include "tools/img/vhd_words.h"
#include "vhd/format/parent_locator.h"

namespace xenblk::img {
namespace {

struct Options {
  std::string image;
  bool json = false;
  ChainOptions chain;
};

const char* format_name(const ImageFile& image) {
  return image.format == vhd::Format::raw ? "raw" : "vhd";
}

// A disk's own fields; the keys are documented in xenblk-img(1).
Json file_json(const ImageFile& image) {
  Json json{{"path", image.path},
            {"format", format_name(image)},
            {"virtual_size", image.capacity.n * kSectorBytes},
            {"file_size", image.file_bytes},
            {"disk_usage", image.stored_bytes}};
  if (image.footers) {
    const auto& footer = image.footers->chosen;
    json["type"] = type_name(footer.type);
    json["uuid"] = uuid_text(footer.uuid);
    json["creator"] = creator_text(footer);
    json["creator_host"] = four_letters(footer.creator_host);
    json["created"] = time_text(footer.created);
    json["original_size"] = footer.original_bytes;
    json["geometry"] = {{"cylinders", footer.geometry.cylinders},
                        {"heads", footer.geometry.heads},
                        {"sectors", footer.geometry.sectors_per_track}};
    json["saved_state"] = footer.saved_state;
    json["hidden"] = footer.hidden != 0;
  }
  if (image.layout) {
    json["block_size"] = image.layout->shape.block_bytes;
    json["blocks"] = image.layout->block_count;
    json["blocks_allocated"] = image.blocks_allocated();
  }
  return json;
}

Json parent_json(const ImageFile& image) {
  const auto& header = image.layout->header;
  Json paths = Json::array();
  for (const auto& one : image.layout->parents.candidates) {
    paths.push_back({{"path", one.path}, {"from", vhd::name_of(one.origin)}});
  }
  return {{"uuid", uuid_text(header.parent_uuid)},
          {"changed", time_text(header.parent_changed)},
          {"paths", paths}};
}

Json chain_json(const std::vector<ImageFile>& files) {
  Json chain = Json::array();
  for (const auto& one : files) chain.push_back(file_json(one));
  return chain;
}

Json info_json(const std::vector<ImageFile>& files) {
  const auto& image = files.front();
  auto json = file_json(image);
  if (image.is_differencing()) {
    json["parent"] = parent_json(image);
    json["chain"] = chain_json(files);
  }
  Json warnings = Json::array();
  for (const auto& one : files) {
    for (const auto& warning : one.warnings) {
      warnings.push_back({{"code", warning.code}, {"text", one.path + ": " + warning.text}});
    }
  }
  json["warnings"] = warnings;
  return json;
}

void line(std::string_view name, const std::string& value) {
  print("{:<18}{}\n", fmt::format("{}:", name), value);
}

void print_footer(const vhd::Footer& footer) {
  line("creator", fmt::format("{} ({})", creator_text(footer), four_letters(footer.creator_host)));
  line("created", time_text(footer.created));
  line("original size", describe_size(footer.original_bytes));
  line("geometry", fmt::format("{} cylinders, {} heads, {} sectors", footer.geometry.cylinders,
                               footer.geometry.heads, footer.geometry.sectors_per_track));
  line("unique id", uuid_text(footer.uuid));
  if (footer.saved_state) line("saved state", "yes");
  if (footer.hidden != 0) line("hidden", "yes");
}

void print_chain(const std::vector<ImageFile>& files) {
  const auto& image = files.front();
  line("parent id", uuid_text(image.layout->header.parent_uuid));
  for (const auto& one : image.layout->parents.candidates) {
    line("parent path", fmt::format("{} ({})", one.path, vhd::name_of(one.origin)));
  }
  for (std::size_t level = 0; level < files.size(); ++level) {
    const auto& one = files[level];
    const auto type = one.footers ? " " + type_name(one.footers->chosen.type) : std::string();
    line(fmt::format("level {}", level),
         fmt::format("{} ({}{}, {})", one.path, format_name(one), type,
                     short_size(one.capacity.n * kSectorBytes)));
  }
}

void print_info(const std::vector<ImageFile>& files) {
  const auto& image = files.front();
  const auto type = image.footers ? " " + type_name(image.footers->chosen.type) : std::string();
  line("image", image.path);
  line("format", format_name(image) + type);
  line("virtual size", describe_size(image.capacity.n * kSectorBytes));
  line("file size", describe_size(image.file_bytes));
  line("disk usage", describe_size(image.stored_bytes));
  if (image.layout) {
    line("block size", short_size(image.layout->shape.block_bytes));
    line("blocks",
         fmt::format("{} of {} allocated", image.blocks_allocated(), image.layout->block_count));
  }
  if (image.footers) print_footer(image.footers->chosen);
  if (image.is_differencing()) print_chain(files);
  for (const auto& one : files) {
    for (const auto& warning : one.warnings) line("warning", one.path + ": " + warning.text);
  }
}

Outcome info(const Options& options) {
  const auto spec = parse_image_name(options.image, BarePath::refused);
  if (!spec) return std::unexpected(spec.error());
  const auto files = read_image_files(*spec, options.chain);
  if (!files) return std::unexpected(files.error());
  if (options.json) {
    print_json(info_json(*files));
  } else {
    print_info(*files);
  }
  return ExitStatus::good;
}

}  // namespace

void add_info(CLI::App& program, Run& run) {
  auto options = std::make_shared<Options>();
  auto& command = add_command(program, "info", "Show what an image says of itself",
                              "  xenblk-img info vhd:/srv/disk.vhd\n"
                              "  xenblk-img info --json vhd:/srv/disk.vhd | jq .virtual_size");
  command.add_option("IMAGE", options->image, "vhd:PATH or raw:PATH")->required();
  command.add_flag("--json", options->json, "As JSON, with the keys of xenblk-img(1)");
  add_chain_options(command, options->chain);
  command.callback([options, &run] { run = [options] { return info(*options); }; });
}

}  // namespace xenblk::img
