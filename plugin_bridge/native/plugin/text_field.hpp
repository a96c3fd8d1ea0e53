/* The text of one line and its cursor; UTF-8. Draws nothing. */
#ifndef AUDIOSEP_TEXT_FIELD_HPP
#define AUDIOSEP_TEXT_FIELD_HPP

#include <cstddef>
#include <string>

namespace audiosep {

class TextField {
public:
    const std::string &text() const { return text_; }
    size_t cursor() const { return cursor_; } /* in bytes */
    bool all_selected() const { return all_ && !text_.empty(); }
    bool edited() const { return edited_; } /* typed into since set() or keep() */

    void set(const std::string &text);
    void keep() { edited_ = false; }
    void insert(const std::string &typed); /* control characters are left out */
    void clear();
    void backspace();
    void remove(); /* what is behind the cursor */
    void left();
    void right();
    void home();
    void end();
    void select_all() { all_ = true; }

private:
    bool drop_selection();

    std::string text_;
    size_t cursor_ = 0;
    bool all_ = false, edited_ = false;
};

} // namespace audiosep

#endif
