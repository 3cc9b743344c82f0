// xenblk-img: makes, looks into, checks, converts and changes disk images.
#include "tools/img/program.h"

int main(int argc, char** argv) {
  return static_cast<int>(xenblk::img::run_program(argc, argv));
}
