#include "tests/vhd/power_cut/after_crash.h"

#include "tests/vhd/direct_engine.h"
#include "vhd/operations/check.h"
#include "vhd/read_footers.h"

namespace xenblk::power_cut {
namespace {

// Values that no guest has written.
constexpr SectorValue kNewValues = SectorValue{1} << 62;

bool has_footer_at_end(SimFiles& files, std::size_t image) {
  const auto footers = vhd::read_footers(*files.open(image, Access::read_only));
  return footers && footers->at_end;
}

}  // namespace

std::string AfterCrash::check(SimContents& contents, Crash crash) {
  if (auto wrong = look(contents, crash); !wrong.empty()) return wrong;
  CrashedFiles files(contents, state_.scenario.on_device);
  if (auto wrong = check_work(files); !wrong.empty()) return wrong;
  return state_.operation && random_() % 2 == 0 ? check_operation(files) : "";
}

std::string AfterCrash::look(SimContents& contents, Crash crash) {
  CrashedFiles files(contents, state_.scenario.on_device);
  had_footer_at_end_ = has_footer_at_end(files, state_.scenario.top(files));
  if (auto ok = recover_scenario(files); !ok) return "cannot recover: " + describe(ok.error());
  auto image = open_scenario(state_.scenario, files, Access::read_only);
  if (!image) return "cannot open read-only: " + describe(image.error());
  sectors_ = (*image)->info().capacity.n;
  if (!state_.may_have(sectors_)) return "it has " + std::to_string(sectors_) + " sectors";
  const auto all = found_.first(sectors_ * kSectorBytes);
  if (run(**image, ImageOp::read, 0, all) != IoStatus::okay) return "cannot read";
  return model_.check(0, all, crash);
}

// A little work shows what reading does not: room that is thought to be free and is not.
std::string AfterCrash::check_work(SimFiles& files) {
  {
    auto image = open_scenario(state_.scenario, files, Access::read_write);
    if (!image) return "cannot open for writing: " + describe(image.error());
    if (auto wrong = write_some(**image); !wrong.empty()) return wrong;
    if (auto ok = (*image)->finish(); !ok) return "cannot finish: " + describe(ok.error());
  }
  if (random_() % 4 == 0) {
    if (auto wrong = check_rules(files, state_.scenario.top(files)); !wrong.empty()) return wrong;
  }
  return read_again(state_.scenario, files, "after work and closing");
}

// What was interrupted can be done again.
std::string AfterCrash::check_operation(SimFiles& files) {
  const auto done = run_operation(*state_.operation, state_.scenario, files);
  if (!done && done.error().code != Errc::refused) {
    return "cannot be done again: " + describe(done.error());
  }
  auto scenario = state_.scenario;
  if (done) {
    complete_operation(*state_.operation, scenario);
    sectors_ = std::min(sectors_, state_.operation->sectors);
    const auto image = open_scenario(scenario, files, Access::read_only);
    if (!image) return "cannot open when it was done again: " + describe(image.error());
    if ((*image)->info().capacity.n != state_.operation->sectors) return "the size is not the new";
    for (const auto one : scenario.chain) {
      if (auto wrong = check_rules(files, one); !wrong.empty()) return wrong;
    }
  }
  return read_again(scenario, files, "when it was done again");
}

std::string AfterCrash::write_some(Image& image) {
  vhd::AlignedBuffer data(4 * kSectorBytes);
  for (int i = 0; i < 3; ++i) {
    const auto count = std::min<std::uint64_t>(1 + random_() % 4, sectors_);
    const auto first = random_() % (sectors_ - count + 1);
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

// What "xenblk-img check" would say.
std::string AfterCrash::check_rules(SimFiles& files, std::size_t image) {
  const auto report = vhd::check_image(*files.open(image, Access::read_only));
  if (!report) return "cannot check: " + report.error().text;
  for (const auto& finding : report->findings) {
    if (finding.level == vhd::FindingLevel::error) return "check finds: " + finding.text;
  }
  return {};
}

std::string AfterCrash::read_again(const Scenario& scenario, SimFiles& files, const char* when) {
  auto image = open_scenario(scenario, files, Access::read_only);
  if (!image) return std::string("cannot open ") + when + ": " + describe(image.error());
  if (run(**image, ImageOp::read, 0, again_.first(sectors_ * kSectorBytes)) != IoStatus::okay) {
    return std::string("cannot read ") + when;
  }
  for (std::uint64_t s = 0; s < sectors_; ++s) {
    const auto at = s * kSectorBytes;
    if (std::memcmp(again_.data() + at, found_.data() + at, kSectorBytes) == 0) continue;
    return "sector " + std::to_string(s) + " has changed " + when;
  }
  return {};
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
