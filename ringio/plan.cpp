#include "ringio/plan.h"

#include <cassert>

namespace xenblk::ringio {

Phases plan(const Request& request) {
  using enum ImageOp;
  switch (request.op) {
    case blkif::Op::read:
      return {{read}, 1, 0};
    case blkif::Op::write:
      return {{write}, 1, 0};
    case blkif::Op::flush_diskcache:
      return request.carries_data() ? Phases{{flush, write}, 2, 0} : Phases{{flush}, 1, 0};
    case blkif::Op::write_barrier:
      return request.carries_data() ? Phases{{flush, write, flush}, 3, 0} : Phases{{flush}, 1, 0};
    case blkif::Op::discard:
      return {{discard}, 1, 0};
    case blkif::Op::reserved_1:
    case blkif::Op::indirect:
      break;
  }
  assert(false && "decode lets no other operation through");
  return {};
}

blkif::Status answer_for(IoStatus status) {
  switch (status) {
    case IoStatus::okay:
      return blkif::Status::okay;
    case IoStatus::unsupported:
      return blkif::Status::eopnotsupp;
    case IoStatus::io_error:
    case IoStatus::no_space:
    case IoStatus::read_only:
    case IoStatus::out_of_range:
      break;
  }
  return blkif::Status::error;
}

}  // namespace xenblk::ringio
