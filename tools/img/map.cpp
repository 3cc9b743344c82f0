// xenblk-img map: what of a disk is stored, and where.
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "tools/img/commands.h"
#include "tools/img/image_files.h"
#include "tools/img/image_name.h"
#include "tools/img/json.h"
#include "tools/img/open_images.h"
#include "tools/img/options.h"
#include "tools/img/output.h"

namespace xenblk::img {
namespace {

struct Options {
  std::string image;
  bool json = false;
  ChainOptions chain;
};

// A part of the disk that is zeroes, or that lies in one piece in one file.
struct Piece {
  std::uint64_t start = 0;  // bytes of the disk
  std::uint64_t bytes = 0;
  unsigned level = 0;
  std::optional<std::uint64_t> offset;  // of data, in the file of that level

  bool goes_on_with(const Piece& next) const {
    if (level != next.level || offset.has_value() != next.offset.has_value()) return false;
    return !offset || *offset + bytes == *next.offset;
  }
};
using Show = std::function<void(const Piece&)>;

// Where a file has `start`, and how many of the `bytes` from there lie in one piece.
Piece place(const ImageFile& file, const Piece& wanted) {
  auto piece = wanted;
  if (!file.layout) {
    piece.offset = wanted.start;
    return piece;
  }
  const auto& shape = file.layout->shape;
  const auto block = wanted.start / shape.block_bytes;
  const auto within = wanted.start % shape.block_bytes;
  piece.bytes = std::min(wanted.bytes, shape.block_bytes - within);
  if (block < file.layout->block_count && file.layout->entries[block] != vhd::kUnusedBlock) {
    piece.offset = shape.data_offset(file.layout->entries[block]) + within;
  }
  return piece;
}

// Hands on pieces that are as long as can be.
class Joiner {
 public:
  explicit Joiner(Show show) : show_(std::move(show)) {}
  void add(const Piece& piece) {
    if (pending_ && pending_->goes_on_with(piece)) {
      pending_->bytes += piece.bytes;
      return;
    }
    finish();
    pending_ = piece;
  }
  void finish() {
    if (pending_) show_(*pending_);
    pending_.reset();
  }

 private:
  const Show show_;
  std::optional<Piece> pending_;
};

Expected<void> walk(Image& image, const std::vector<ImageFile>& files, const Show& show) {
  Joiner joiner(show);
  const auto capacity = image.info().capacity.n;
  for (std::uint64_t first = 0; first < capacity;) {
    const auto extent = image.extent_at({first});
    if (!extent) return std::unexpected(extent.error());
    Piece rest{first * kSectorBytes, extent->count.n * kSectorBytes, extent->level, {}};
    first += extent->count.n;
    while (extent->kind == ImageExtent::Kind::data && rest.bytes > 0) {
      const auto piece = place(files.at(extent->level), rest);
      joiner.add(piece);
      rest.start += piece.bytes;
      rest.bytes -= piece.bytes;
    }
    if (rest.bytes > 0) joiner.add(rest);
  }
  joiner.finish();
  return {};
}

Json piece_json(const Piece& piece, const std::vector<ImageFile>& files) {
  Json json{{"start", piece.start},
            {"length", piece.bytes},
            {"kind", piece.offset ? "data" : "zero"},
            {"level", piece.level}};
  if (piece.offset) {
    json["file"] = files.at(piece.level).path;
    json["offset"] = *piece.offset;
  }
  return json;
}

Expected<void> print_json_map(Image& image, const std::vector<ImageFile>& files) {
  Json json = Json::array();
  auto walked =
      walk(image, files, [&](const Piece& piece) { json.push_back(piece_json(piece, files)); });
  if (walked) print_json(json);
  return walked;
}

Expected<void> print_map(Image& image, const std::vector<ImageFile>& files) {
  print("{:>18} {:>18} {:<5} {:>18} {}\n", "start", "length", "kind", "offset", "file");
  return walk(image, files, [&](const Piece& piece) {
    if (!piece.offset) {
      print("{:#18x} {:#18x} {:<5}\n", piece.start, piece.bytes, "zero");
      return;
    }
    print("{:#18x} {:#18x} {:<5} {:#18x} {}\n", piece.start, piece.bytes, "data", *piece.offset,
          files.at(piece.level).path);
  });
}

Outcome map(const Options& options) {
  const auto spec = parse_image_name(options.image, BarePath::refused);
  if (!spec) return std::unexpected(spec.error());
  const auto files = read_image_files(*spec, options.chain);
  if (!files) return std::unexpected(files.error());
  OpenImages images(options.chain);
  const auto image = images.open(*spec, Access::read_only);
  if (!image) return std::unexpected(image.error());
  const auto printed = options.json ? print_json_map(**image, *files) : print_map(**image, *files);
  if (!printed) return std::unexpected(printed.error());
  return ExitStatus::good;
}

}  // namespace

void add_map(CLI::App& program, Run& run) {
  auto options = std::make_shared<Options>();
  auto& command = add_command(program, "map", "Show what of a disk is stored, and where",
                              "  xenblk-img map vhd:/srv/disk.vhd\n"
                              "  xenblk-img map --json vhd:/srv/disk.vhd | jq length");
  command.add_option("IMAGE", options->image, "vhd:PATH or raw:PATH")->required();
  command.add_flag("--json", options->json, "As JSON, with the keys of xenblk-img(1)");
  add_chain_options(command, options->chain);
  command.callback([options, &run] { run = [options] { return map(*options); }; });
}

}  // namespace xenblk::img
