/* What the host saves as text: eight prompts with their negatives and names, the model, and the
 * last known latency. Nothing here knows DPF, sockets or threads. */
#ifndef AUDIOSEP_WORDS_HPP
#define AUDIOSEP_WORDS_HPP

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace audiosep {

constexpr unsigned kPrompts = 8;
constexpr unsigned kModes = 4; /* render, mix, track, live */

/* Characters of a prompt that a server takes (PROTOCOL.md, section 3). */
constexpr size_t kPromptCharacters = 512;

/* Bytes of a model's name. */
constexpr size_t kModelBytes = 63;

/* Of the state that this version writes. */
constexpr int kStateVersion = 1;

struct Prompt {
    std::string text, negative, name;
    bool empty() const { return text.find_first_not_of(" \t\r\n") == std::string::npos; }
};

struct Words {
    std::array<Prompt, kPrompts> prompts;
    std::string model;   /* "" is the server's own */
    std::string latency; /* "MODE RATE FRAMES MODEL", as a server last told */
    int version = kStateVersion;

    /* Names of all that is saved, in the order of DPF's state indices. "failed" is none of the
     * words: seconds of the last bounce that were not separated, for hosts without eyes; neither
     * is "reason", why something is not as it should be, for people. */
    static const std::vector<std::string> &keys();
    std::string get(const std::string &key) const;
    /* Takes any bytes: those that are not UTF-8 and control characters become spaces. */
    void set(const std::string &key, const std::string &value);

private:
    std::string *find(const std::string &key);
};

/* Unicode characters of UTF-8 text. */
size_t characters(const std::string &text);

/* Why a prompt cannot be sent, a sentence for people; empty if it can. */
std::string fault(const Prompt &prompt);

/* Frames from input to output: what was saved for this mode, rate and model, or else what the shipped
 * models need in a server with its usual slack. */
uint32_t known_latency(const Words &words, unsigned mode, double rate);

std::string saved_latency(unsigned mode, double rate, uint32_t frames, const std::string &model);

} // namespace audiosep

#endif
