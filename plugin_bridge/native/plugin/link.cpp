#include "link.hpp"

#include "../audiosep_client.h"
#include "host.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace audiosep {

namespace {

/* Of the mixture's frames in the ring: two channels and three levels. */
constexpr uint32_t kFields = 5;
/* In which a level moves to its new value. */
constexpr float kGlideSeconds = 0.005f;
constexpr uint32_t kLongestSeconds[kModes] = {30, 3, 3, 3};

float towards(float from, float to, float step) {
    return from < to ? std::min(from + step, to) : std::max(from - step, to);
}

} // namespace

Link::Link(const Format &format, const Words &words, unsigned prompt, uint32_t latency,
           bool offline)
    : format_(format), clock_of_output_(clock_of_output()), fixed_latency_(latency),
      glide_(1 / (kGlideSeconds * float(format.rate))) {
    const uint32_t longest = kLongestSeconds[format.mode < kModes ? format.mode : 1] * format.rate;
    fixed_latency_ = std::min(fixed_latency_, longest);
    capacity_ = longest + 2 * kChunk;
    ring_.reset(new float[size_t(kFields) * capacity_]());

    /* An empty slot is never heard; the client needs words for it all the same. */
    const char *texts[kPrompts];
    for (unsigned i = 0; i < kPrompts; ++i) {
        const Prompt &slot = words.prompts[i];
        texts[i] = slot.empty() || !fault(slot).empty() ? "sound" : slot.text.c_str();
    }
    audiosep_config config = audiosep_defaults(format.rate, kChannels);
    config.name = "AudioSep plug-in";
    config.address = std::getenv("AUDIOSEP_ADDRESS");
    config.model = format.model.c_str();
    config.mode = static_cast<audiosep_mode>(format.mode);
    config.contract = offline ? AUDIOSEP_CONTRACT_RENDER : AUDIOSEP_CONTRACT_REALTIME;
    config.queries = texts;
    config.query_count = kPrompts;
    config.slot = prompt < kPrompts ? prompt : 0;
    config.latency = fixed_latency_;
    config.max_latency = longest;
    config.open_timeout_ms = 0;
    if (format.model.size() <= kModelBytes) client_ = audiosep_open(&config);
    for (unsigned i = 0; client_ && i < kPrompts; ++i)
        if (!words.prompts[i].negative.empty()) set_prompt(i, words.prompts[i]);
}

Link::~Link() {
    if (client_) audiosep_close(client_);
}

bool Link::set_prompt(unsigned slot, const Prompt &prompt) {
    if (prompt.empty()) return true;
    if (!client_ || !fault(prompt).empty()) return false;
    audiosep_query queries[2] = {};
    queries[0].text = prompt.text.c_str();
    queries[1].text = prompt.negative.c_str();
    queries[1].negative = 1;
    const bool negative = prompt.negative.find_first_not_of(' ') != std::string::npos;
    return audiosep_set_slot(client_, slot, queries, negative ? 2 : 1) == 0;
}

Health Link::health() const {
    Health health;
    if (!client_) {
        health.failed = missed_;
        health.refused = format_.model.size() > kModelBytes;
        health.error = health.refused ? "A model's name has at most " + std::to_string(kModelBytes) +
                                            " bytes; shorten it."
                                      : "Memory or threads are short; the input plays on.";
        return health;
    }
    const audiosep_stats stats = audiosep_statistics(client_);
    char text[256] = "";
    audiosep_error(client_, text, sizeof text);
    health.connected = stats.connected != 0;
    health.late = stats.late + stats.substituted;
    health.dry = stats.dry;
    health.failed = stats.failed - failed_before_ + missed_;
    health.error = text;
    /* "CODE: sentence", where the code blames what the stream asks for. */
    health.refused = !health.connected && health.error.compare(0, 4, "bad-") == 0;
    if (health.refused) health.error.erase(0, health.error.find(": ") + 2);
    return health;
}

void Link::select(unsigned slot) {
    if (client_) audiosep_select(client_, slot);
}

void Link::strength(float exponent) {
    if (client_) audiosep_set_strength(client_, exponent);
}

void Link::render(bool offline, bool server) {
    if (offline && !bounces_) {
        failed_before_ = client_ ? audiosep_statistics(client_).failed : 0;
        missed_ = 0;
    }
    bounces_ = offline;
    alone_ = offline && !(client_ && server);
    if (client_)
        audiosep_set_contract(client_, !server   ? AUDIOSEP_CONTRACT_REALTIME
                                       : offline ? AUDIOSEP_CONTRACT_RENDER
                                                 : AUDIOSEP_CONTRACT_AUTO);
}

/* While it plays a jump is a loop, whose sound goes on without a seam. Ardour's LV2 plug-ins are
 * not told that it plays before its output does, but where it is. */
void Link::transport(bool playing, int64_t frame) {
    const bool rolls = playing || (clock_of_output_ && frame != told_);
    told_ = frame;
    if (rolls && !rolled_) {
        const int64_t comes_in = frame + (clock_of_output_ ? latency() : 0);
        locate(uint64_t(std::max<int64_t>(comes_in, 0)));
        lead_ = uint64_t(std::max<int64_t>(-comes_in, 0));
    }
    rolled_ = rolls;
}

void Link::reset() {
    locate(0);
    rolled_ = bounces_ = false;
}

void Link::locate(uint64_t origin) {
    if (client_) audiosep_locate(client_, origin);
    taken_ = lead_ = 0;
}

uint32_t Link::latency() const { return client_ ? audiosep_latency(client_) : fixed_latency_; }

void Link::process(const float *const in[2], float *const main[2], float *const second[2],
                   uint32_t frames, const Levels &levels) {
    const auto lead = uint32_t(std::min<uint64_t>(lead_, frames));
    if (lead > 0) {
        piece(in, main, second, 0, lead, levels);
        lead_ -= lead;
        if (lead_ == 0) locate(0);
    }
    if (lead < frames) piece(in, main, second, lead, frames - lead, levels);
}

void Link::piece(const float *const in[2], float *const main[2], float *const second[2],
                 uint32_t from, uint32_t frames, const Levels &levels) {
    if (taken_ == 0) now_ = levels;
    for (uint32_t i = 0; i < frames; ++i) {
        now_.target = towards(now_.target, levels.target, glide_);
        now_.residual = towards(now_.residual, levels.residual, glide_);
        now_.second = towards(now_.second, levels.second, glide_);
        float *frame = &ring_[size_t(kFields) * ((write_ + i) % capacity_)];
        for (uint32_t c = 0; c < kChannels; ++c)
            frame[c] = std::isfinite(in[c][from + i]) ? in[c][from + i] : 0.0f;
        frame[2] = now_.target;
        frame[3] = now_.residual;
        frame[4] = now_.second;
    }
    float *const target[] = {target_[0], target_[1]};
    const float *const mixture[] = {in[0] + from, in[1] + from};
    if (client_) audiosep_process(client_, mixture, target, frames);
    const uint32_t late = std::min(latency(), capacity_ - kChunk);
    const uint32_t read = write_ + capacity_ - late;
    for (uint32_t i = 0; i < frames; ++i) {
        /* Before its first frame the mixture is silent; the ring may hold what was before. */
        static const float silence[kFields] = {};
        const float *frame = taken_ + i < late
                                 ? silence
                                 : &ring_[size_t(kFields) * ((read + i) % capacity_)];
        const float *levels_now = &ring_[size_t(kFields) * ((write_ + i) % capacity_)] + kChannels;
        const float *gain = clock_of_output_ ? levels_now : frame + kChannels;
        for (uint32_t c = 0; c < kChannels; ++c) {
            const float sound = client_ ? target[c][i] : frame[c];
            const float rest = frame[c] - sound;
            /* Both alike are the mixture, without rounding. */
            if (main[c])
                main[c][from + i] = gain[0] == gain[1] ? gain[0] * frame[c]
                                                       : gain[0] * sound + gain[1] * rest;
            if (second[c]) second[c][from + i] = gain[2] * rest;
        }
    }
    write_ = (write_ + frames) % capacity_;
    taken_ += frames;
    if (alone_) missed_ += frames;
}

} // namespace audiosep
