// The file of a VHD, for the commands that work on it as a whole. Control path, blocking.
#pragma once

#include <memory>
#include <string>

#include "vhd/host_file.h"

namespace xenblk::img {

// What the library takes for a wrong specification is, on a command line, a thing that is refused:
// the words were understood.
inline Error refusal(Error error) {
  if (error.code == Errc::bad_spec) error.code = Errc::refused;
  return error;
}

// "PATH: " before the text, unless it is there.
inline Error named(const std::string& path, Error error) {
  if (!error.text.starts_with(path)) error.text = path + ": " + error.text;
  return refusal(std::move(error));
}

// Opens and locks the file that `name` means; a bare path is a VHD.
struct VhdFile {
  std::string path;
  std::unique_ptr<vhd::HostFile> file;
};
Expected<VhdFile> open_vhd_file(const std::string& name, Access access);

}  // namespace xenblk::img
