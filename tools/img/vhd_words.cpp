#include "tools/img/vhd_words.h"

#include <algorithm>
#include <ctime>

#include <fmt/format.h>

namespace xenblk::img {
namespace {

constexpr std::int64_t kVhdEpoch = 946684800;  // 2000-01-01 in seconds of Unix

}  // namespace

std::string type_name(vhd::DiskType type) {
  switch (type) {
    case vhd::DiskType::fixed:
      return "fixed";
    case vhd::DiskType::dynamic:
      return "dynamic";
    case vhd::DiskType::differencing:
      return "differencing";
  }
  return fmt::format("type {}", static_cast<std::uint32_t>(type));
}

std::string uuid_text(const vhd::Uuid& uuid) {
  std::string text;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", std::to_integer<unsigned>(uuid[i]));
  }
  return text;
}

std::string time_text(vhd::VhdTime time) {
  const std::time_t seconds = kVhdEpoch + time.seconds;
  std::tm parts = {};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string four_letters(std::uint32_t code) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(code >> shift & 0xff);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\0')) text.pop_back();
  const bool prints = std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f; });
  return prints && !text.empty() ? text : fmt::format("{:#010x}", code);
}

std::string creator_text(const vhd::Footer& footer) {
  std::uint32_t code = 0;
  for (const char c : footer.creator) code = code << 8 | static_cast<unsigned char>(c);
  return fmt::format("{} {}.{}", four_letters(code), footer.creator_version >> 16,
                     footer.creator_version & 0xffff);
}

}  // namespace xenblk::img
