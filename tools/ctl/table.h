// A table for people: columns as wide as what is in them. Pure.
#pragma once

#include <string>
#include <vector>

namespace xenblk::ctl {

enum class Align : std::uint8_t { left, right };

struct Column {
  std::string title;
  Align align = Align::left;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // As many cells as there are columns. What cannot be printed is replaced.
  void add(std::vector<std::string> cells);
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// With everything but printable ASCII replaced by a question mark: fit for a terminal.
std::string printable(std::string text);

}  // namespace xenblk::ctl
