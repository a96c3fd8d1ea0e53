#include "words.hpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace audiosep {

namespace {

const char *const kModeNames[kModes] = {"render", "mix", "track", "live"};

/* Latency and slack of the shipped models, as `audiosep serve` tells them. */
struct Known {
    uint32_t rate, frames[kModes]; /* render, mix, track, live */
};
const Known kKnown[] = {
    {44100, {28957, 28957, 15051, 1538}},     {48000, {31519, 31519, 16383, 1674}},
    {88200, {57916, 57916, 30104, 3077}},     {96000, {63039, 63039, 32767, 3349}},
    {176400, {115834, 115834, 60210, 6155}}, {192000, {126079, 126079, 65535, 6699}},
};

/* Bytes of the UTF-8 character at the start of a text; 0 if there is none. */
size_t width(const char *at, size_t left) {
    const auto lead = static_cast<unsigned char>(at[0]);
    const size_t size = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3
                        : lead < 0xf5 ? 4 : 0;
    if (size == 0 || size > left) return 0;
    for (size_t i = 1; i < size; ++i)
        if ((static_cast<unsigned char>(at[i]) & 0xc0) != 0x80) return 0;
    const auto next = static_cast<unsigned char>(size > 1 ? at[1] : 0);
    /* Longer than needed, surrogates, and beyond Unicode. */
    if ((lead == 0xe0 && next < 0xa0) || (lead == 0xed && next > 0x9f) ||
        (lead == 0xf0 && next < 0x90) || (lead == 0xf4 && next > 0x8f))
        return 0;
    return size;
}

std::string cleaned(const std::string &text) {
    std::string clean;
    clean.reserve(text.size());
    for (size_t i = 0; i < text.size();) {
        const size_t size = width(text.data() + i, text.size() - i);
        const auto byte = static_cast<unsigned char>(text[i]);
        if (size == 0 || byte < 0x20 || byte == 0x7f)
            clean += ' ';
        else
            clean.append(text, i, size);
        i += size ? size : 1;
    }
    return clean;
}

std::string numbered(const char *name, unsigned index) {
    return std::string(name) + std::to_string(index + 1);
}

} // namespace

const std::vector<std::string> &Words::keys() {
    static const std::vector<std::string> all = [] {
        std::vector<std::string> made;
        for (unsigned i = 0; i < kPrompts; ++i)
            for (const char *name : {"prompt", "negative", "name"})
                made.push_back(numbered(name, i));
        made.insert(made.end(), {"model", "latency", "failed", "reason", "version"});
        return made;
    }();
    return all;
}

std::string *Words::find(const std::string &key) {
    for (unsigned i = 0; i < kPrompts; ++i) {
        if (key == numbered("prompt", i)) return &prompts[i].text;
        if (key == numbered("negative", i)) return &prompts[i].negative;
        if (key == numbered("name", i)) return &prompts[i].name;
    }
    if (key == "model") return &model;
    if (key == "latency") return &latency;
    return nullptr;
}

std::string Words::get(const std::string &key) const {
    if (key == "version") return std::to_string(kStateVersion);
    const std::string *value = const_cast<Words *>(this)->find(key);
    return value ? *value : std::string();
}

void Words::set(const std::string &key, const std::string &value) {
    if (key == "version") version = value.empty() ? kStateVersion : std::atoi(value.c_str());
    if (std::string *to = find(key)) *to = cleaned(value);
}

size_t characters(const std::string &text) {
    size_t count = 0;
    for (const char byte : text) count += (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
    return count;
}

std::string fault(const Prompt &prompt) {
    for (const std::string *text : {&prompt.text, &prompt.negative})
        if (characters(*text) > kPromptCharacters)
            return "A prompt of " + std::to_string(characters(*text)) +
                   " characters is too long; shorten it to " + std::to_string(kPromptCharacters) +
                   ".";
    return std::string();
}

uint32_t known_latency(const Words &words, unsigned mode, double rate) {
    char name[16];
    unsigned long hertz = 0, frames = 0;
    int end = 0;
    mode = mode < kModes ? mode : 1;
    if (std::sscanf(words.latency.c_str(), "%15s %lu %lu%n", name, &hertz, &frames, &end) == 3 &&
        words.latency.substr(size_t(end)) == (words.model.empty() ? "" : " " + words.model) &&
        kModeNames[mode] == std::string(name) && std::fabs(rate - double(hertz)) < 0.5 && frames > 0 &&
        frames <= 30 * hertz)
        return uint32_t(frames);
    const Known *nearest = kKnown;
    for (const Known &known : kKnown)
        if (std::fabs(rate - known.rate) < std::fabs(rate - nearest->rate)) nearest = &known;
    return uint32_t(std::ceil(nearest->frames[mode] * rate / nearest->rate));
}

std::string saved_latency(unsigned mode, double rate, uint32_t frames, const std::string &model) {
    return std::string(kModeNames[mode < kModes ? mode : 1]) + " " + std::to_string(std::lround(rate)) +
           " " + std::to_string(frames) + (model.empty() ? "" : " " + model);
}

} // namespace audiosep
