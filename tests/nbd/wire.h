// Bytes as a client writes and reads them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nbd/byte_order.h"
#include "nbd/protocol.h"

namespace xenblk::test {

// Appends big-endian numbers and text, and grows.
class Wire {
 public:
  template <class T>
  Wire& put(T value) {
    std::byte memory[sizeof(T)];
    nbd::ByteWriter(memory).put(value);
    bytes_.insert(bytes_.end(), memory, memory + sizeof(T));
    return *this;
  }
  Wire& text(std::string_view text) {
    for (const char c : text) bytes_.push_back(static_cast<std::byte>(c));
    return *this;
  }
  Wire& add(const Wire& other) {
    bytes_.insert(bytes_.end(), other.bytes_.begin(), other.bytes_.end());
    return *this;
  }
  Wire& fill(std::size_t count, std::uint8_t value) {
    bytes_.insert(bytes_.end(), count, std::byte{value});
    return *this;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

inline Wire client_flags(std::uint32_t flags = 3) {
  return Wire().put(flags);
}

inline Wire option(nbd::OptionType type, const Wire& data = {}) {
  return Wire()
      .put(nbd::kOptionMagic)
      .put(type)
      .put(static_cast<std::uint32_t>(data.bytes().size()))
      .add(data);
}

// The data of GO and INFO.
inline Wire wanted(std::string_view name, const std::vector<std::uint16_t>& infos = {}) {
  Wire data;
  data.put(static_cast<std::uint32_t>(name.size())).text(name);
  data.put(static_cast<std::uint16_t>(infos.size()));
  for (const auto one : infos) data.put(one);
  return data;
}

inline Wire contexts(std::string_view name, const std::vector<std::string>& queries) {
  Wire data;
  data.put(static_cast<std::uint32_t>(name.size())).text(name);
  data.put(static_cast<std::uint32_t>(queries.size()));
  for (const auto& one : queries) data.put(static_cast<std::uint32_t>(one.size())).text(one);
  return data;
}

struct Asked {
  nbd::CommandType type = nbd::CommandType::read;
  std::uint64_t offset = 0;
  std::uint32_t bytes = 0;
  std::uint16_t flags = 0;
  std::uint64_t cookie = 1;
};

inline Wire request(const Asked& asked) {
  return Wire()
      .put(nbd::kRequestMagic)
      .put(asked.flags)
      .put(asked.type)
      .put(asked.cookie)
      .put(asked.offset)
      .put(asked.bytes);
}

}  // namespace xenblk::test
