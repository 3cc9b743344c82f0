#include "nbd/handshake.h"

#include <algorithm>
#include <optional>

namespace xenblk::nbd {
namespace {

using Bytes = std::span<const std::byte>;

// Reads on as long as what was announced is there.
class Reader {
 public:
  explicit Reader(Bytes bytes) : left_(bytes) {}

  template <class T>
  std::optional<T> number() {
    if (left_.size() < sizeof(T)) return std::nullopt;
    const T value = load<T>(left_, 0);
    left_ = left_.subspan(sizeof(T));
    return value;
  }

  // A length and so many bytes.
  std::optional<std::string_view> text() {
    const auto bytes = number<std::uint32_t>();
    if (!bytes || *bytes > left_.size()) return std::nullopt;
    const std::string_view text(reinterpret_cast<const char*>(left_.data()), *bytes);
    left_ = left_.subspan(*bytes);
    return text;
  }

  bool at_end() const { return left_.empty(); }

 private:
  Bytes left_;
};

bool is_ours(std::string_view name, const Terms& terms) {
  return name.empty() || name == terms.name;
}

void reply_header(ByteWriter& out, std::uint32_t option, OptionReply type, std::size_t bytes) {
  out.put(kOptionReplyMagic);
  out.put(option);
  out.put(type);
  out.put(static_cast<std::uint32_t>(bytes));
}

Handshake::Next reply(ByteWriter& out, std::uint32_t option, OptionReply type) {
  reply_header(out, option, type, 0);
  return Handshake::Next::step;
}

void info_replies(ByteWriter& out, std::uint32_t option, const Terms& terms, bool name_wanted) {
  reply_header(out, option, OptionReply::info, 12);
  out.put(InfoType::export_facts);
  out.put(terms.size_bytes);
  out.put(terms.flags);
  if (name_wanted) {
    reply_header(out, option, OptionReply::info, 2 + terms.name.size());
    out.put(InfoType::name);
    out.put_text(terms.name);
  }
  // Said to those as well who do not ask: they may not cut requests as they like.
  reply_header(out, option, OptionReply::info, 14);
  out.put(InfoType::block_size);
  out.put(terms.block_bytes_min);
  out.put(terms.block_bytes_preferred);
  out.put(terms.block_bytes_max);
}

// "base:" is the question for all contexts of that name space, and only LIST may ask it.
bool names_base_allocation(std::string_view query, bool list) {
  return query == kBaseAllocation || (list && query == "base:");
}

}  // namespace

void Handshake::greet(ByteWriter& out) {
  out.put(kGreetingMagic);
  out.put(kOptionMagic);
  out.put(static_cast<std::uint16_t>(kFixedNewstyle | kNoZeroes));
}

Handshake::Next Handshake::step(Bytes& input, const Terms& terms, ByteWriter& out) {
  if (!flags_seen_) return take_flags(input);
  if (skip_bytes_ == 0) return take_option(input, terms, out);
  const auto skipped = std::min<std::size_t>(skip_bytes_, input.size());
  if (skipped == 0) return Next::more;
  skip_bytes_ -= static_cast<std::uint32_t>(skipped);
  input = input.subspan(skipped);
  return Next::step;
}

// A client that does not know the fixed newstyle is one that sends nothing but its export's name.
Handshake::Next Handshake::take_flags(Bytes& input) {
  if (input.size() < sizeof(std::uint32_t)) return Next::more;
  const auto flags = load<std::uint32_t>(input, 0);
  input = input.subspan(sizeof flags);
  if ((flags & ~std::uint32_t{kFixedNewstyle | kNoZeroes}) != 0) return Next::close;
  no_zeroes_ = (flags & kNoZeroes) != 0;
  flags_seen_ = true;
  return Next::step;
}

Handshake::Next Handshake::take_option(Bytes& input, const Terms& terms, ByteWriter& out) {
  if (input.size() < kHeaderBytes) return Next::more;
  if (load<std::uint64_t>(input, 0) != kOptionMagic) return Next::close;
  Option option{.type = load<std::uint32_t>(input, 8)};
  const auto bytes = load<std::uint32_t>(input, 12);
  const bool too_big = bytes > kOptionBytesMax;
  if (!too_big && input.size() - kHeaderBytes < bytes) return Next::more;
  if (++options_seen_ > kOptionsMax) return Next::close;
  input = input.subspan(kHeaderBytes);
  if (too_big) {
    // This one has no way to be refused but this.
    if (option.type == static_cast<std::uint32_t>(OptionType::export_name)) return Next::close;
    skip_bytes_ = bytes;
    return reply(out, option.type, OptionReply::too_big);
  }
  option.data = input.first(bytes);
  input = input.subspan(bytes);
  return answer(option, terms, out);
}

Handshake::Next Handshake::answer(const Option& option, const Terms& terms, ByteWriter& out) {
  switch (static_cast<OptionType>(option.type)) {
    case OptionType::export_name:
      return export_name(option, terms, out);
    case OptionType::abort:
      reply(out, option.type, OptionReply::ack);
      return Next::close;
    case OptionType::list:
      return list(option, terms, out);
    case OptionType::info:
    case OptionType::go:
      return info_or_go(option, terms, out);
    case OptionType::structured_reply:
      return structured(option, out);
    case OptionType::list_meta_context:
    case OptionType::set_meta_context:
      return meta_context(option, terms, out);
  }
  return reply(out, option.type, OptionReply::unsupported);
}

Handshake::Next Handshake::export_name(const Option& option, const Terms& terms,
                                       ByteWriter& out) const {
  const std::string_view name(reinterpret_cast<const char*>(option.data.data()),
                              option.data.size());
  if (!is_ours(name, terms)) return Next::close;
  out.put(terms.size_bytes);
  out.put(terms.flags);
  if (!no_zeroes_) out.put_zeroes(124);
  return Next::transmit;
}

Handshake::Next Handshake::list(const Option& option, const Terms& terms, ByteWriter& out) const {
  if (!option.data.empty()) return reply(out, option.type, OptionReply::invalid);
  reply_header(out, option.type, OptionReply::server, 4 + terms.name.size());
  out.put(static_cast<std::uint32_t>(terms.name.size()));
  out.put_text(terms.name);
  return reply(out, option.type, OptionReply::ack);
}

Handshake::Next Handshake::info_or_go(const Option& option, const Terms& terms,
                                      ByteWriter& out) const {
  Reader reader(option.data);
  const auto name = reader.text();
  const auto wanted = reader.number<std::uint16_t>();
  if (!name || !wanted) return reply(out, option.type, OptionReply::invalid);
  bool name_wanted = false;
  for (std::uint32_t i = 0; i < *wanted; ++i) {
    const auto type = reader.number<std::uint16_t>();
    if (!type) return reply(out, option.type, OptionReply::invalid);
    if (*type == static_cast<std::uint16_t>(InfoType::name)) name_wanted = true;
  }
  if (!reader.at_end()) return reply(out, option.type, OptionReply::invalid);
  if (!is_ours(*name, terms)) return reply(out, option.type, OptionReply::unknown);
  info_replies(out, option.type, terms, name_wanted);
  reply(out, option.type, OptionReply::ack);
  return static_cast<OptionType>(option.type) == OptionType::go ? Next::transmit : Next::step;
}

Handshake::Next Handshake::structured(const Option& option, ByteWriter& out) {
  if (!option.data.empty()) return reply(out, option.type, OptionReply::invalid);
  structured_replies_ = true;
  return reply(out, option.type, OptionReply::ack);
}

Handshake::Next Handshake::meta_context(const Option& option, const Terms& terms, ByteWriter& out) {
  const bool list = static_cast<OptionType>(option.type) == OptionType::list_meta_context;
  // Whatever becomes of it, a new choice ends the last one.
  if (!list) block_status_ = false;
  if (!structured_replies_) return reply(out, option.type, OptionReply::invalid);
  Reader reader(option.data);
  const auto name = reader.text();
  const auto queries = reader.number<std::uint32_t>();
  if (!name || !queries) return reply(out, option.type, OptionReply::invalid);
  bool found = list && *queries == 0;
  for (std::uint32_t i = 0; i < *queries; ++i) {
    const auto query = reader.text();
    if (!query) return reply(out, option.type, OptionReply::invalid);
    if (names_base_allocation(*query, list)) found = true;
  }
  if (!reader.at_end()) return reply(out, option.type, OptionReply::invalid);
  if (!is_ours(*name, terms)) return reply(out, option.type, OptionReply::unknown);
  if (found) {
    reply_header(out, option.type, OptionReply::meta_context, 4 + kBaseAllocation.size());
    out.put(list ? std::uint32_t{0} : kBaseAllocationId);
    out.put_text(kBaseAllocation);
  }
  if (!list) block_status_ = found;
  return reply(out, option.type, OptionReply::ack);
}

}  // namespace xenblk::nbd
