#include "tools/img/convert_stream.h"

#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include <fmt/format.h>

#include "tools/img/copying.h"
#include "tools/img/drive.h"
#include "tools/img/stream_source.h"
#include "tools/img/vhd_stream.h"
#include "vhd/format/bytes.h"

namespace xenblk::img {
namespace {

constexpr const char* kInput = "standard input";
constexpr const char* kOutput = "standard output";

// A file or block device tells its length from where it is read on; a pipe does not.
std::optional<SectorCount> rest_of_input() {
  struct stat status = {};
  const bool known =
      ::fstat(STDIN_FILENO, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
  if (!known) return {};
  const auto here = ::lseek(STDIN_FILENO, 0, SEEK_CUR);
  if (here < 0) return {};
  const auto end = ::lseek(STDIN_FILENO, 0, SEEK_END);
  ::lseek(STDIN_FILENO, here, SEEK_SET);
  if (end <= here) return {};
  return SectorCount{vhd::divide_up(static_cast<std::uint64_t>(end - here), kSectorBytes)};
}

// What the copy says of the stream is only that it failed.
template <class T>
Expected<T> explain(Expected<T> result, int stream_error, const char* name) {
  if (result || stream_error == 0 || result.error().code == Errc::closed) return result;
  return fail_os(stream_error, name);
}

Expected<SectorCount> size_of(StreamSource& source, TargetSize size,
                              const InterruptGuard& interrupts) {
  const auto goes_on = explain(source.goes_on(interrupts), source.error(), kInput);
  if (!goes_on) return std::unexpected(goes_on.error());
  if (*goes_on) {
    return fail(Errc::refused, fmt::format("{}: longer than {} bytes", kInput,
                                           source.info().capacity.n * kSectorBytes));
  }
  if (size.known) return size.sectors;
  return SectorCount{vhd::divide_up(source.bytes_read(), kSectorBytes)};
}

}  // namespace

Expected<void> fill_from_stream(const TargetPlan& plan, std::optional<SectorCount> given_size) {
  const InterruptGuard interrupts;
  const auto known = given_size ? given_size : rest_of_input();
  const auto size = known ? TargetSize{*known} : largest_target(plan);
  // Outlives the engine, which watches it.
  std::unique_ptr<StreamSource> source;
  const auto engine = make_engine();
  if (!engine) return std::unexpected(engine.error());
  source = std::make_unique<StreamSource>(STDIN_FILENO, size.sectors, **engine);
  return make_and_fill(plan, size, [&](Image& target) -> Expected<SectorCount> {
    auto copied = copy_all({.source = *source,
                            .target = target,
                            .engine = **engine,
                            .source_name = kInput,
                            .target_name = plan.path,
                            .show = plan.show,
                            .size_known = size.known,
                            .interrupts = &interrupts,
                            .wake_on_stop = [&] { source->stop(); }});
    copied = explain(std::move(copied), source->error(), kInput);
    if (!copied) return std::unexpected(copied.error());
    return size_of(*source, size, interrupts);
  });
}

Expected<void> write_stream(Image& source, const std::string& source_name,
                            const std::optional<vhd::CreateOptions>& vhd, ShowProgress show) {
  if (::isatty(STDOUT_FILENO) == 1) {
    return fail(Errc::refused, "standard output is a terminal: no image is written there");
  }
  auto target = vhd ? make_vhd_stream(STDOUT_FILENO, source, *vhd)
                    : std::make_unique<StreamTarget>(STDOUT_FILENO, source.info().capacity);
  if (!target) return std::unexpected(target.error());
  const auto engine = make_engine();
  if (!engine) return std::unexpected(engine.error());
  auto copied = copy_all({.source = source,
                          .target = **target,
                          .engine = **engine,
                          .target_content = vhd::TargetContent::unknown,
                          .source_name = source_name,
                          .target_name = kOutput,
                          .show = show});
  return explain(std::move(copied), (*target)->error(), kOutput);
}

}  // namespace xenblk::img
