/* VST3 passes texts between editor and plug-in as UTF-16; both ends have UTF-8. */
#ifndef AUDIOSEP_UTF16_HPP
#define AUDIOSEP_UTF16_HPP

#include <cstddef>
#include <cstdint>
#include <string>

namespace audiosep {

/* Zero-terminated UTF-8 to at most `room` units, and how many they are. A byte that is not UTF-8
 * becomes U+FFFD. Never more units than there were bytes. */
inline size_t to_utf16(int16_t *to, const char *from, size_t room) {
    const auto *at = reinterpret_cast<const unsigned char *>(from);
    size_t count = 0;
    while (*at) {
        const unsigned lead = *at++;
        int more = lead < 0x80 ? 0 : lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc2 ? 1 : -1;
        uint32_t point = more == 3 ? lead & 7 : more == 2 ? lead & 15 : more == 1 ? lead & 31 : lead;
        for (; more > 0 && (*at & 0xc0) == 0x80; --more) point = point << 6 | (*at++ & 0x3f);
        if (more != 0 || point > 0x10ffff) point = 0xfffd;
        if (count + 1 + (point > 0xffff) > room) break;
        if (point > 0xffff) to[count++] = int16_t(0xd7c0 + (point >> 10));
        to[count++] = int16_t(point > 0xffff ? 0xdc00 + (point & 0x3ff) : point);
    }
    return count;
}

/* The way back, of at most `count` units. Half a pair becomes a question mark. */
inline std::string to_utf8(const int16_t *from, size_t count) {
    std::string text;
    for (size_t i = 0; i < count && from[i]; ++i) {
        uint32_t point = uint16_t(from[i]);
        const uint32_t next = i + 1 < count ? uint16_t(from[i + 1]) : 0;
        if (point >> 10 == 0x36 && next >> 10 == 0x37) {
            point = 0x10000 + ((point & 0x3ff) << 10 | (next & 0x3ff));
            ++i;
        } else if (point >> 11 == 0x1b) {
            point = '?';
        }
        const unsigned more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
        const unsigned lead[] = {0, 0xc0, 0xe0, 0xf0};
        text += char(lead[more] | point >> 6 * more);
        for (unsigned left = more; left > 0; --left)
            text += char(0x80 | (point >> 6 * (left - 1) & 0x3f));
    }
    return text;
}

} // namespace audiosep

#endif
