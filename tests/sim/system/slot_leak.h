// A bug that no seam can have: request slots that are never given back. The linker puts it there.
#pragma once

namespace xenblk::sim {

// From now on, of one slot in fifty; or no more.
void leak_slots(bool leak);

}  // namespace xenblk::sim
