// Which footer of a VHD file to believe. A guest can write anything that looks like a footer into
// its own data, so the choice must not depend on bytes that may be a guest's. Control path; reads
// the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vhd/format/footer.h"
#include "xenblk/io.h"

namespace xenblk::vhd {

// Something that does not keep an image from being read. The code is a word that stays the same.
struct Warning {
  std::string_view code;
  std::string text;
  friend bool operator==(const Warning&, const Warning&) = default;
};

struct Footers {
  Footer chosen;
  FooterBytes bytes = {};  // of the chosen one, as they lie in the file
  std::uint64_t file_bytes = 0;
  std::uint64_t end_offset = 0;  // where the footer at the end lies or would lie
  std::optional<Footer> at_end;  // valid, and of the same image as the copy
  FooterBytes at_end_bytes = {};
  bool copy_valid = false;                        // at offset 0; dynamic images only
  bool other_image_at_end = false;                // a valid footer of another image lies at the end
  ChecksumRule checksums = ChecksumRule::verify;  // by which they were read
  std::vector<Warning> warnings;
};

// What is read with checksums ignored can be opened read-only.
Expected<Footers> read_footers(File& file, ChecksumRule checksums = ChecksumRule::verify);

}  // namespace xenblk::vhd
