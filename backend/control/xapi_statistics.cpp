#include "backend/control/xapi_statistics.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <span>

namespace xenblk::control {

using backend::DeviceStatus;
using ringio::Counter;
using ringio::LatencyHistogram;
using ringio::QueueCounters;

namespace {

static_assert(std::endian::native == std::endian::little, "numbers are those of the host");

std::uint64_t sum(const DeviceStatus& status, const Counter QueueCounters::* which) {
  std::uint64_t total = 0;
  for (const auto& counters : status.counters) total += ((*counters).*which).get();
  return total;
}

std::uint64_t errors(const DeviceStatus& status) {
  std::uint64_t total = 0;
  for (const auto& counters : status.counters) {
    for (const auto& kind : counters->troubles) total += kind.get();
  }
  return total;
}

std::uint64_t longest_us(const DeviceStatus& status, const char* operation) {
  for (const auto& of : kLatencies) {
    if (of.operation != std::string_view(operation) || of.phase != std::string_view("total"))
      continue;
    return summary_of(status, of).share_within_ns(1) / 1000;
  }
  return 0;
}

template <std::size_t kBytes>
void put(std::array<std::byte, kBytes>& target, std::size_t offset,
         std::span<const std::uint64_t> numbers) {
  std::memcpy(target.data() + offset, numbers.data(), numbers.size_bytes());
}

// A directory that is ours, and no link to one: others may write to /dev/shm too.
Expected<int> open_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return fail_os(errno, path);
  const int directory = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (directory < 0) return fail_os(errno, path);
  struct stat status{};
  if (::fstat(directory, &status) != 0 || status.st_uid != ::geteuid()) {
    ::close(directory);
    return fail(Errc::permission, path + " is somebody else's");
  }
  return directory;
}

// A page, as a reader may map it; written in one piece.
Expected<void> write_file(const std::string& directory, const std::string& name,
                          std::span<const std::byte> content) {
  const auto at = open_directory(directory);
  if (!at) return std::unexpected(at.error());
  std::array<std::byte, kPageBytes> page{};
  std::memcpy(page.data(), content.data(), content.size());
  const int file = ::openat(*at, name.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
  ::close(*at);
  if (file < 0) return fail_os(errno, directory + "/" + name);
  const auto written = ::pwrite(file, page.data(), page.size(), 0);
  const int reason = errno;
  ::close(file);
  if (written == static_cast<ssize_t>(page.size())) return {};
  return fail_os(written < 0 ? reason : ENOSPC, directory + "/" + name);
}

}  // namespace

TapdiskStatistics tapdisk_statistics(const DeviceStatus& status) {
  using Q = QueueCounters;
  TapdiskStatistics result{};
  const std::uint32_t version = 1;
  std::memcpy(result.data(), &version, sizeof version);
  const auto reads = sum(status, &Q::reads);
  const auto writes = sum(status, &Q::writes);
  // What is in flight is not counted by operation, and is seen as submitted once it is completed.
  const std::array<std::uint64_t, 11> numbers{0,
                                              reads,
                                              reads,
                                              sum(status, &Q::sectors_read),
                                              sum(status, &Q::read_ns) / 1000,
                                              writes,
                                              writes,
                                              sum(status, &Q::sectors_written),
                                              sum(status, &Q::write_ns) / 1000,
                                              errors(status),
                                              0};
  put(result, 8, numbers);
  return result;
}

BlkbackStatistics blkback_statistics(const DeviceStatus& status) {
  using Q = QueueCounters;
  BlkbackStatistics result{};
  const auto reads = sum(status, &Q::reads);
  const auto writes = sum(status, &Q::writes);
  const std::array<std::uint64_t, 14> numbers{sum(status, &Q::discards),
                                              sum(status, &Q::flushes),
                                              0,
                                              reads,
                                              reads,
                                              sum(status, &Q::sectors_read),
                                              sum(status, &Q::read_ns) / 1000,
                                              longest_us(status, "read"),
                                              writes,
                                              writes,
                                              sum(status, &Q::sectors_written),
                                              sum(status, &Q::write_ns) / 1000,
                                              longest_us(status, "write"),
                                              0};
  put(result, 0, numbers);
  return result;
}

XapiFiles::XapiFiles(std::string directory, int process)
    : directory_(std::move(directory)), process_(process) {}

XapiFiles::~XapiFiles() {
  for (const auto& [numbers, disk] : disks_) remove_disk(numbers);
  ::rmdir(own_directory().c_str());
}

Expected<void> XapiFiles::update(const std::vector<NamedDisk>& disks) {
  Expected<void> outcome;
  for (auto& [numbers, disk] : disks_) disk.seen = false;
  for (const auto& disk : disks) {
    if (!disk.status.session) continue;
    if (auto written = write_disk(disk); !written && outcome) outcome = std::move(written);
  }
  std::erase_if(disks_, [&](const auto& one) {
    if (one.second.seen) return false;
    remove_disk(one.first);
    return true;
  });
  return outcome;
}

Expected<void> XapiFiles::write_disk(const NamedDisk& disk) {
  const auto& key = disk.status.key;
  const auto numbers = fmt::format("{}-{}", key.domain.n, key.device.n);
  disks_[numbers].seen = true;
  const auto tapdisk = tapdisk_statistics(disk.status);
  if (auto written = write_file(own_directory(), "vbd-" + numbers, tapdisk); !written) {
    return written;
  }
  return write_file(directory_ + "/vbd3-" + numbers, "statistics", blkback_statistics(disk.status));
}

void XapiFiles::remove_disk(const std::string& numbers) {
  ::unlink((own_directory() + "/vbd-" + numbers).c_str());
  ::unlink((directory_ + "/vbd3-" + numbers + "/statistics").c_str());
  ::rmdir((directory_ + "/vbd3-" + numbers).c_str());
}

}  // namespace xenblk::control
