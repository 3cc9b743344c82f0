// xenblkctl: shows and steers the disks that xenblkd serves.
#include "tools/ctl/program.h"
#include "vhd/standard_streams.h"

int main(int argc, char** argv) {
  xenblk::occupy_standard_streams();
  return static_cast<int>(xenblk::ctl::run_program(argc, argv));
}
