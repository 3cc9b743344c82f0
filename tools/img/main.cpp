// xenblk-img: makes, looks into, checks, converts and changes disk images.
#include "tools/img/program.h"
#include "vhd/standard_streams.h"

int main(int argc, char** argv) {
  xenblk::occupy_standard_streams();
  return static_cast<int>(xenblk::img::run_program(argc, argv));
}
