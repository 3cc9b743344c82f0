#include "tests/vhd/power_cut/after_crash.h"

#include "tests/vhd/direct_engine.h"
#include "vhd/operations/check.h"
#include "vhd/read_footers.h"

namespace xenblk::power_cut {
namespace {

// Values that no guest has written.
constexpr SectorValue kNewValues = SectorValue{1} << 62;

bool has_footer_at_end(SimContent& content) {
  ContentFile file(content, Access::read_only);
  const auto footers = vhd::read_footers(file);
  return footers && footers->at_end;
}

// What "xenblk-img check" would say.
std::string check_rules(SimContent& content) {
  ContentFile file(content, Access::read_only);
  const auto report = vhd::check_image(file);
  if (!report) return "cannot check: " + report.error().text;
  for (const auto& finding : report->findings) {
    if (finding.level == vhd::FindingLevel::error) return "check finds: " + finding.text;
  }
  return {};
}

}  // namespace

std::string AfterCrash::check(SimContents& contents, Crash crash) {
  had_footer_at_end_ = has_footer_at_end(contents[0]);
  if (auto wrong = look(contents, crash); !wrong.empty()) return wrong;
  return check_work(contents);
}

std::string AfterCrash::look(SimContents& contents, Crash crash) {
  auto image = open(contents, Access::read_only);
  if (!image) return "cannot open read-only: " + describe(image.error());
  if (run(**image, ImageOp::read, 0, found_.all()) != IoStatus::okay) return "cannot read";
  return model_.check(0, found_.all(), crash);
}

// A little work shows what reading does not: room that is thought to be free and is not.
std::string AfterCrash::check_work(SimContents& contents) {
  {
    auto image = open(contents, Access::read_write);
    if (!image) return "cannot open for writing: " + describe(image.error());
    if (auto wrong = write_some(**image); !wrong.empty()) return wrong;
    if (auto ok = (*image)->finish(); !ok) return "cannot finish: " + describe(ok.error());
  }
  if (random_() % 4 == 0) {
    if (auto wrong = check_rules(contents[0]); !wrong.empty()) return wrong;
  }
  return read_again(contents, "after work and closing");
}

std::string AfterCrash::write_some(Image& image) {
  vhd::AlignedBuffer data(4 * kSectorBytes);
  for (int i = 0; i < 3; ++i) {
    const auto count = std::min<std::uint64_t>(1 + random_() % 4, model_.size());
    const auto first = random_() % (model_.size() - count + 1);
    const auto part = data.first(count * kSectorBytes);
    for (std::uint64_t s = 0; s < count; ++s) {
      fill_sector(part.subspan(s * kSectorBytes).first<kSectorBytes>(),
                  kNewValues + random_() % 99);
    }
    if (run(image, ImageOp::write, first, part) != IoStatus::okay) return "cannot write";
    std::ranges::copy(part, found_.data() + first * kSectorBytes);
  }
  return {};
}

std::string AfterCrash::read_again(SimContents& contents, const char* when) {
  auto image = open(contents, Access::read_only);
  if (!image) return std::string("cannot open ") + when + ": " + describe(image.error());
  if (run(**image, ImageOp::read, 0, again_.all()) != IoStatus::okay) {
    return std::string("cannot read ") + when;
  }
  for (std::uint64_t s = 0; s < model_.size(); ++s) {
    const auto at = s * kSectorBytes;
    if (std::memcmp(again_.data() + at, found_.data() + at, kSectorBytes) == 0) continue;
    return "sector " + std::to_string(s) + " has changed " + when;
  }
  return {};
}

Expected<std::unique_ptr<Image>> AfterCrash::open(SimContents& contents, Access access) const {
  return open_scenario(
      scenario_,
      [&](std::size_t number, Access file_access) {
        return std::make_unique<ContentFile>(contents[number], file_access);
      },
      access);
}

IoStatus AfterCrash::run(Image& image, ImageOp op, std::uint64_t first, std::span<std::byte> data) {
  test::DirectEngine engine;
  struct Request : ImageRequest {
    bool answered = false;
  } request;
  request.op = op;
  request.first = {first};
  request.count = {data.size() / kSectorBytes};
  request.data = data.data();
  request.engine = &engine;
  request.done = [](ImageRequest& r) noexcept { static_cast<Request&>(r).answered = true; };
  image.submit(request);
  while (!request.answered && engine.poll()) {
  }
  return request.answered ? request.status : IoStatus::io_error;
}

}  // namespace xenblk::power_cut
