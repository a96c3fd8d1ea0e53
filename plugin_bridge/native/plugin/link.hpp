/* One stream to the server, and the mixture that is on its way through it.
 *
 * All that the plug-in asks of the C client goes through this class: positions, contract and
 * opening have one place. The client gives the target alone; the residual is the mixture, as late,
 * without it, so that both buses sum to the mixture to the last bit of a float's rounding.
 * Levels travel with the frame of the mixture they were drawn at, if the host draws them there
 * (host.hpp). */
#ifndef AUDIOSEP_LINK_HPP
#define AUDIOSEP_LINK_HPP

#include "words.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

struct audiosep_client;

namespace audiosep {

/* What one frame of the mixture is heard with. */
struct Levels {
    float target = 1, residual = 0; /* on the main bus */
    float second = 0;               /* residual on the second bus */
    bool operator==(const Levels &to) const {
        return target == to.target && residual == to.residual && second == to.second;
    }
};

struct Format {
    uint32_t rate = 48000, mode = 1;
    std::string model; /* "" is the server's own */
    bool operator==(const Format &to) const {
        return rate == to.rate && mode == to.mode && model == to.model;
    }
};

struct Health {
    bool connected = false;
    bool refused = false; /* by a server that will not think better of it */
    uint64_t late = 0;   /* frames whose answer was late, or made with masks that stood in */
    uint64_t dry = 0;    /* frames that had no answer when they were played */
    uint64_t failed = 0; /* frames of the last bounce that nobody separated */
    std::string error;
};

class Link {
public:
    static constexpr uint32_t kChannels = 2;
    static constexpr uint32_t kChunk = 1024;

    /* Never waits for a server. May be without a client (`alive()` false) where memory or threads
     * are short, or no server takes the name of the model: then it only delays the mixture. */
    Link(const Format &format, const Words &words, unsigned prompt, uint32_t latency,
         bool offline);
    ~Link();
    Link(const Link &) = delete;
    Link &operator=(const Link &) = delete;

    const Format &format() const { return format_; }
    bool alive() const { return client_ != nullptr; }

    /* Any thread that may wait: what a slot separates. False if it cannot be. */
    bool set_prompt(unsigned slot, const Prompt &prompt);
    Health health() const;

    /* Audio thread. */
    void select(unsigned slot);
    void strength(float exponent);
    /* Whether the host bounces, so that every frame waits for its answer, and whether there is a
     * server to wait for. Hosts that do not say so are known by their haste. */
    void render(bool offline, bool server);
    /* Where the host is with the next frame. Where it starts to play, all sound is forgotten: the
     * same passage then gives the same sound wherever it is started from. */
    void transport(bool playing, int64_t frame);
    void reset();
    /* At most kChunk frames; `in` and the outputs may be the same memory, outputs may be null. */
    void process(const float *const in[2], float *const main[2], float *const second[2],
                 uint32_t frames, const Levels &levels);
    uint32_t latency() const;

private:
    void locate(uint64_t origin);
    void piece(const float *const in[2], float *const main[2], float *const second[2],
               uint32_t from, uint32_t frames, const Levels &levels);

    const Format format_;
    const bool clock_of_output_;
    audiosep_client *client_ = nullptr;
    uint32_t fixed_latency_, capacity_, write_ = 0;
    float glide_;
    Levels now_;
    bool rolled_ = false, bounces_ = false, alone_ = false;
    int64_t told_ = 0;   /* where the host was */
    uint64_t taken_ = 0; /* frames since all sound was forgotten */
    uint64_t lead_ = 0;  /* frames until the host's time line begins, where it starts before it */
    /* Failures before this bounce; frames of it that went without a server. */
    std::atomic<uint64_t> failed_before_{0}, missed_{0};
    std::unique_ptr<float[]> ring_;
    float target_[kChannels][kChunk];
};

} // namespace audiosep

#endif
