/* The plug-in for VST3, CLAP and LV2: parameters, state and threads around one Link. */
#ifndef AUDIOSEP_PLUGIN_HPP
#define AUDIOSEP_PLUGIN_HPP

#include "DistrhoPlugin.hpp"
#include "launcher.hpp"
#include "link.hpp"
#include "words.hpp"

#include <array>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

enum Parameters : uint32_t {
    kPrompt,   /* 1 to 8 */
    kStrength, /* exponent of the masks */
    kMix,      /* 0 to 100 % */
    kOutput,   /* target, residual */
    kMute,
    kSecond,   /* the residual on the second bus, which some hosts mix in unasked */
    kMode,     /* render, mix, track, live */
    kOffline,  /* every frame separated; LV2 hosts set it when they bounce */
    kConnected, kLate, kFailed, /* tell the host */
    kParameters
};

enum class Light { Off, Connected, Starting, Late, NoServer, Refused };

struct Status {
    Light light = Light::Off;
    std::string reason;
};

class AudioSepPlugin : public DISTRHO::Plugin {
public:
    AudioSepPlugin();
    ~AudioSepPlugin() override;

    /* For the editor. */
    audiosep::Words words() const;
    Status status() const;
    unsigned prompt() const; /* 0 to 7 */

protected:
    const char *getLabel() const override { return "AudioSep"; }
    const char *getDescription() const override;
    const char *getMaker() const override { return "AudioSep for the DAW"; }
    const char *getLicense() const override { return "MIT"; }
    uint32_t getVersion() const override { return d_version(0, 1, 0); }
    int64_t getUniqueId() const override { return d_cconst('A', 'd', 'S', 'p'); }

    void initAudioPort(bool input, uint32_t index, DISTRHO::AudioPort &port) override;
    void initPortGroup(uint32_t id, DISTRHO::PortGroup &group) override;
    void initParameter(uint32_t index, DISTRHO::Parameter &parameter) override;
    void initState(uint32_t index, DISTRHO::State &state) override;

    float getParameterValue(uint32_t index) const override;
    void setParameterValue(uint32_t index, float value) override;
    void parameterPoint(uint32_t index, float value, uint32_t frame) override;
    DISTRHO::String getState(const char *key) const override;
    void setState(const char *key, const char *value) override;
    void offlineChanged(bool offline) override;

    void activate() override;
    void deactivate() override { active_ = false; }
    void sampleRateChanged(double) override { tell_latency(); }
    void run(const float **inputs, float **outputs, uint32_t frames,
             const DISTRHO::MidiEvent *events, uint32_t event_count) override;

private:
    struct Point {
        uint32_t index, frame;
        float value;
    };
    static constexpr uint32_t kMostPoints = 512;

    audiosep::Format wanted() const;
    unsigned mode() const;
    bool renders() const;
    bool heard() const;
    audiosep::Levels levels() const;
    std::unique_ptr<audiosep::Link> make_link();
    void tell_latency();
    void take_next();
    void take_program_changes(const DISTRHO::MidiEvent *events, uint32_t count);
    void wait_for_server();
    float failed_seconds() const;
    void keep();
    void look_after(audiosep::Link &link);

    std::atomic<float> values_[kParameters];
    std::atomic<bool> offline_{false}, active_{false}, connected_once_{false};
    std::atomic<bool> hopeless_{false}; /* neither a server nor a program that would be one */
    std::atomic<uint32_t> latency_{0}, silent_prompts_{0}; /* a bit for each that is not played */

    /* Audio thread. Points of one block, in order; of one frame in the order they came in. */
    audiosep::Link *playing_ = nullptr;
    std::array<Point, kMostPoints> points_;
    uint32_t point_count_ = 0;
    bool told_alone_ = false;

    /* A bounce waits until the keeper has made the link for what was chosen. */
    std::atomic<bool> stale_{false};
    /* From the keeper to the audio thread and back. */
    std::atomic<audiosep::Link *> next_{nullptr}, done_{nullptr};

    /* All other threads. */
    mutable std::mutex mutex_;
    audiosep::Words words_;
    std::unique_ptr<audiosep::Link> link_, old_;
    Status status_;
    uint64_t heard_late_ = 0;
    unsigned connected_ticks_ = 0, lonely_ticks_ = 0, late_ticks_ = 0;
    bool quit_ = false;
    std::condition_variable wake_;
    std::thread keeper_;

    DISTRHO_DECLARE_NON_COPYABLE(AudioSepPlugin)
};

#endif
