#include "text_field.hpp"

namespace audiosep {

namespace {

bool inside(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

size_t before(const std::string &text, size_t at) {
    while (at > 0 && inside(text[--at])) {}
    return at;
}

size_t behind(const std::string &text, size_t at) {
    if (at < text.size()) ++at;
    while (at < text.size() && inside(text[at])) ++at;
    return at;
}

} // namespace

bool TextField::drop_selection() {
    const bool dropped = all_selected();
    if (dropped) clear();
    all_ = false;
    return dropped;
}

void TextField::set(const std::string &text) {
    text_ = text;
    cursor_ = text.size();
    all_ = edited_ = false;
}

void TextField::clear() {
    text_.clear();
    cursor_ = 0;
    all_ = false;
    edited_ = true;
}

void TextField::insert(const std::string &typed) {
    std::string kept;
    for (const char byte : typed)
        if (static_cast<unsigned char>(byte) >= 0x20 && byte != 0x7f) kept += byte;
    if (kept.empty()) return;
    drop_selection();
    text_.insert(cursor_, kept);
    cursor_ += kept.size();
    edited_ = true;
}

void TextField::backspace() {
    if (drop_selection()) return;
    const size_t from = before(text_, cursor_);
    text_.erase(from, cursor_ - from);
    cursor_ = from;
    edited_ = true;
}

void TextField::remove() {
    if (drop_selection()) return;
    text_.erase(cursor_, behind(text_, cursor_) - cursor_);
    edited_ = true;
}

void TextField::left() {
    cursor_ = all_ ? 0 : before(text_, cursor_);
    all_ = false;
}

void TextField::right() {
    cursor_ = all_ ? text_.size() : behind(text_, cursor_);
    all_ = false;
}

void TextField::home() {
    cursor_ = 0;
    all_ = false;
}

void TextField::end() {
    cursor_ = text_.size();
    all_ = false;
}

} // namespace audiosep
