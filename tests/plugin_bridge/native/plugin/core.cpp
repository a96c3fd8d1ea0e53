// The plug-in's core without DPF: one thread plays, another changes what is asked, as hosts do.
#include "launcher.hpp"
#include "link.hpp"
#include "words.hpp"

#include <atomic>
#include <cstdio>
#include <limits>
#include <thread>

using namespace audiosep;

// Blocks of odd sizes, in place, some without a second bus, some with broken samples.
static void play(Link &link, unsigned rate) {
    static float left[Link::kChunk], right[Link::kChunk], rest[2][Link::kChunk];
    const uint32_t sizes[] = {1, 7, 512, Link::kChunk, 333};
    uint32_t done = 0;
    for (unsigned turn = 0; done < rate; ++turn) {
        const uint32_t frames = sizes[turn % 5];
        for (uint32_t i = 0; i < frames; ++i)
            left[i] = right[i] = 0.1f * float((done + i) * 7919u % 1000u) / 1000.0f;
        if (turn % 50 == 0) left[0] = std::numeric_limits<float>::quiet_NaN();
        const float *const in[] = {left, right};
        float *const main[] = {left, right};
        float *const second[] = {turn % 3 ? rest[0] : nullptr, turn % 3 ? rest[1] : nullptr};
        Levels levels;
        levels.residual = float(turn % 4) / 4;
        levels.second = 1;
        link.select(turn / 20 % kPrompts);
        link.strength(1 + float(turn % 3));
        link.render(turn % 400 < 300, true);
        link.transport(turn % 90 != 0, int64_t(done) - 5000);
        link.process(in, main, second, frames, levels);
        done += frames;
    }
}

int main() {
    Words words;
    const std::string texts[] = {"Drum kit", "", " ", "\xff\xfe", std::string(10000, 'x'),
                                 "\xf0\x9f\xa5\x81 drums", "caf\xc3", std::string(512, 'y')};
    for (unsigned i = 0; i < kPrompts; ++i) {
        words.set("prompt" + std::to_string(i + 1), texts[i]);
        words.set("negative" + std::to_string(i + 1), texts[kPrompts - 1 - i]);
        std::printf("%s\n", fault(words.prompts[i]).c_str());
    }
    for (const char *latency : {"", "mix", "mix 48000", "mix 48000 99999999", "mix -1 -1",
                                "x y z", "live 48000 1674 other"})
        for (unsigned mode = 0; mode < kModes + 1; ++mode) {
            words.set("latency", latency);
            if (!known_latency(words, mode, 48000)) return 1;
        }
    words.set("latency", "");
    for (const Format &format : {Format{48000, 1, ""}, Format{44100, 2, ""}, Format{48000, 3, ""},
                                Format{48000, 1, std::string(64, 'm')}}) {
        Link link(format, words, 0, known_latency(words, format.mode, format.rate), true);
        std::atomic<bool> over{false};
        std::thread others([&] {
            for (unsigned turn = 0; !over; ++turn) {
                // Each is a text to encode for the server.
                if (turn < 2 * kPrompts)
                    link.set_prompt(turn % kPrompts, words.prompts[turn * 5 % kPrompts]);
                const Health health = link.health();
                if (health.error == "never") std::puts("");
                std::this_thread::yield();
            }
        });
        play(link, format.rate);
        over = true;
        others.join();
        link.reset();
        play(link, 100);
    }
    return launch_server() == Launch::Waiting ? 0 : 2;
}
