// xenblkctl: shows and steers the disks that xenblkd serves.
#include "tools/ctl/program.h"

int main(int argc, char** argv) {
  return static_cast<int>(xenblk::ctl::run_program(argc, argv));
}
