#include "tests/xen/hostile/cases.h"

namespace hostile {
namespace {

const char* word(std::int16_t status) {
  switch (status) {
    case BLKIF_RSP_OKAY:
      return "okay";
    case BLKIF_RSP_ERROR:
      return "error";
    case BLKIF_RSP_EOPNOTSUPP:
      return "not supported";
    default:
      return "of an unknown status";
  }
}

}  // namespace

void Tally::add(const Answer& answer) {
  ++counts_[word(answer.status)];
}

std::string Tally::text() const {
  std::string text;
  for (const auto& [status, count] : counts_) {
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + status;
  }
  return text;
}

}  // namespace hostile
