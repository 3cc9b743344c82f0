// What Linux gives a program in a guest: pages granted to another domain, an event channel, and
// XenStore. Everything here throws std::runtime_error when the guest's own kernel refuses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace hostile {

inline constexpr std::size_t kPageBytes = 4096;

enum class Grant { read_write, read_only };

// A file descriptor that closes itself; move-only.
class Descriptor {
 public:
  explicit Descriptor(const char* path);
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor();
  int get() const { return number_; }

 private:
  int number_;
};

// Zeroed pages that `domain` may use until revoke() or the end of this object. The kernel keeps a
// page that is still mapped there until it is not. Pinned.
class Pages {
 public:
  explicit Pages(std::uint32_t count = 1, Grant grant = Grant::read_write,
                 std::uint16_t domain = 0);
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages();

  std::uint32_t ref(std::size_t page = 0) const { return refs_[page]; }
  std::span<std::byte> memory() const { return {memory_, refs_.size() * kPageBytes}; }
  void fill(std::byte value) const;
  void revoke();

 private:
  std::vector<std::uint32_t> refs_;
  std::uint64_t place_ = 0;
  std::byte* memory_ = nullptr;
};

// A port that dom0 may bind. Pinned; notify() from any thread.
class Port {
 public:
  Port();
  std::uint32_t number() const { return number_; }
  void notify() const;
  // Until an event or for so long.
  void wait(int milliseconds) const;

 private:
  Descriptor device_;
  std::uint32_t number_ = 0;
};

// A connection of its own; one thread. Paths are relative to this domain's directory.
class Store {
 public:
  Store();
  std::optional<std::string> read(const std::string& path);
  // False when xenstored refuses (a quota, a permission).
  bool write(const std::string& path, const std::string& value);
  void remove(const std::string& path);

 private:
  struct Reply {
    bool okay;
    std::string text;
  };
  Reply ask(std::uint32_t type, std::string payload);

  Descriptor device_;
};

}  // namespace hostile
