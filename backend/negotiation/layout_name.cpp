#include "backend/negotiation/layout_name.h"

namespace xenblk::negotiation {

std::string_view name(blkif::Layout layout) {
  switch (layout) {
    case blkif::Layout::native:
      return "native";
    case blkif::Layout::x86_32:
      return "x86_32";
    case blkif::Layout::x86_64:
      return "x86_64";
  }
  return "?";
}

}  // namespace xenblk::negotiation
