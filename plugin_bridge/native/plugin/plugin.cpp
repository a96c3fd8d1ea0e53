#include "plugin.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

using namespace audiosep;
USE_NAMESPACE_DISTRHO

namespace {

constexpr std::chrono::milliseconds kTick(100);
constexpr unsigned kTicksPerSecond = 10;
/* Without a server for so long before one is started, and after lateness until it is forgotten. */
constexpr unsigned kTicksToLaunch = 3, kTicksLate = 30;
/* Longest wait of a bounce for a server that is being started. */
constexpr std::chrono::seconds kLongestStart(30);

struct Declared {
    const char *name, *symbol, *unit;
    uint32_t hints;
    float value, least, most;
};

constexpr uint32_t kSteps = kParameterIsInteger;
const Declared kDeclared[kParameters] = {
    {"Prompt", "prompt", "", kParameterIsAutomatable | kSteps, 1, 1, float(kPrompts)},
    {"Strength", "strength", "", kParameterIsAutomatable, 1, 0.25f, 4},
    {"Mix", "mix", "%", kParameterIsAutomatable, 100, 0, 100},
    {"Output", "output", "", kParameterIsAutomatable | kSteps, 0, 0, 1},
    {"Mute", "mute", "", kParameterIsAutomatable | kParameterIsBoolean, 0, 0, 1},
    {"Residual bus", "residual_bus", "", kParameterIsAutomatable | kParameterIsBoolean, 0, 0, 1},
    {"Mode", "mode", "", kSteps, 1, 0, float(kModes - 1)},
    {"Offline", "offline", "", kParameterIsBoolean, 0, 0, 1},
    {"Connected", "connected", "", kParameterIsOutput | kParameterIsBoolean, 0, 0, 1},
    {"Late", "late", "s", kParameterIsOutput, 0, 0, 3600},
    {"Failed", "failed", "s", kParameterIsOutput, 0, 0, 3600},
};

enum Groups : uint32_t { kMixture, kTarget, kResidual };

} // namespace

AudioSepPlugin::AudioSepPlugin() : Plugin(kParameters, 0, uint32_t(Words::keys().size())) {
    for (uint32_t i = 0; i < kParameters; ++i) values_[i] = kDeclared[i].value;
    silent_prompts_ = (1u << kPrompts) - 1;
    tell_latency();
}

AudioSepPlugin::~AudioSepPlugin() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        quit_ = true;
    }
    wake_.notify_all();
    if (keeper_.joinable()) keeper_.join();
}

const char *AudioSepPlugin::getDescription() const {
    return "Lets through the sound that a sentence describes, or all but that.";
}

/* ---- What the host is told --------------------------------------------------------------- */

void AudioSepPlugin::initAudioPort(bool input, uint32_t index, AudioPort &port) {
    const char *side = index % 2 ? "right" : "left", *Side = index % 2 ? "Right" : "Left";
    port.groupId = input ? kMixture : index < 2 ? kTarget : kResidual;
    const char *name = input ? "Mixture " : index < 2 ? "Target " : "Residual ";
    const char *symbol = input ? "mixture_" : index < 2 ? "target_" : "residual_";
    port.name = String(name) + Side;
    port.symbol = String(symbol) + side;
    /* Hosts leave such a bus off until it is asked for. */
    if (port.groupId == kResidual) port.hints = kAudioPortIsSidechain;
}

void AudioSepPlugin::initPortGroup(uint32_t id, PortGroup &group) {
    group.name = id == kMixture ? "Mixture" : id == kTarget ? "Target" : "Residual";
    group.symbol = id == kMixture ? "mixture" : id == kTarget ? "target" : "residual";
}

void AudioSepPlugin::initParameter(uint32_t index, Parameter &parameter) {
    const Declared &declared = kDeclared[index];
    parameter.name = declared.name;
    parameter.symbol = declared.symbol;
    parameter.unit = declared.unit;
    parameter.hints = declared.hints;
    parameter.ranges = ParameterRanges(declared.value, declared.least, declared.most);
    const char *outputs[] = {"Target", "Residual"};
    const char *modes[kModes] = {"Render", "Mix", "Track", "Live"};
    const bool output = index == kOutput;
    if (!output && index != kMode) return;
    parameter.enumValues.count = output ? 2 : kModes;
    parameter.enumValues.restrictedMode = true;
    parameter.enumValues.values = new ParameterEnumerationValue[parameter.enumValues.count];
    for (uint8_t i = 0; i < parameter.enumValues.count; ++i) {
        parameter.enumValues.values[i].value = i;
        parameter.enumValues.values[i].label = output ? outputs[i] : modes[i];
    }
}

void AudioSepPlugin::initState(uint32_t index, State &state) {
    const std::string &key = Words::keys()[index];
    state.key = state.label = key.c_str();
    state.defaultValue = Words().get(key).c_str();
    if (key != "latency" && key != "failed" && key != "reason" && key != "version")
        state.hints = kStateIsHostWritable;
}

void AudioSepPlugin::tell_latency() {
    std::unique_lock<std::mutex> lock(mutex_);
    const Format format = wanted();
    latency_ = known_latency(words_, format.mode, format.rate);
    setLatency(latency_);
}

/* ---- Parameters and state ---------------------------------------------------------------- */

float AudioSepPlugin::getParameterValue(uint32_t index) const {
    return index < kParameters ? values_[index].load() : 0;
}

void AudioSepPlugin::setParameterValue(uint32_t index, float value) {
    if (index >= kConnected || !std::isfinite(value)) return;
    const Declared &declared = kDeclared[index];
    value = std::min(std::max(value, declared.least), declared.most);
    if (declared.hints & (kSteps | kParameterIsBoolean)) value = std::round(value);
    values_[index] = value;
    if (index == kMode && !active_) tell_latency();
}

void AudioSepPlugin::parameterPoint(uint32_t index, float value, uint32_t frame) {
    if (point_count_ == kMostPoints) return;
    uint32_t at = point_count_++;
    for (; at > 0 && points_[at - 1].frame > frame; --at) points_[at] = points_[at - 1];
    points_[at] = {index, frame, value};
}

Format AudioSepPlugin::wanted() const {
    Format format;
    format.rate = uint32_t(std::lround(std::min(std::max(getSampleRate(), 1000.0), 384000.0)));
    format.mode = mode();
    format.model = words_.model;
    return format;
}

bool AudioSepPlugin::renders() const { return offline_ || values_[kOffline] >= 0.5f; }

unsigned AudioSepPlugin::mode() const { return unsigned(values_[kMode].load()); }

unsigned AudioSepPlugin::prompt() const { return unsigned(values_[kPrompt].load()) - 1; }

/* Whether the selected prompt asks for something. */
bool AudioSepPlugin::heard() const { return !(silent_prompts_ >> prompt() & 1); }

Levels AudioSepPlugin::levels() const {
    Levels levels;
    if (values_[kMute] >= 0.5f) {
        levels.target = levels.residual = 0;
    } else if (!heard()) {
        /* Nothing is asked for: the mixture, all of it. */
        levels.residual = 1;
    } else {
        const bool residual = values_[kOutput] >= 0.5f;
        const float rest = 1 - values_[kMix] / 100;
        levels.target = residual ? rest : 1;
        levels.residual = residual ? 1 : rest;
        levels.second = values_[kSecond];
    }
    return levels;
}

String AudioSepPlugin::getState(const char *key) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (std::string(key) == "latency" && connected_once_ && link_) {
        const Format &format = link_->format();
        return String(saved_latency(format.mode, format.rate, latency_, format.model).c_str());
    }
    if (std::string(key) == "failed") return String(failed_seconds());
    if (std::string(key) == "reason") return String(status_.reason.c_str());
    return String(words_.get(key).c_str());
}

void AudioSepPlugin::setState(const char *key, const char *value) {
    const std::string name(key);
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        words_.set(name, value);
        uint32_t silent = 0;
        for (unsigned i = 0; i < kPrompts; ++i) {
            const Prompt &prompt = words_.prompts[i];
            const bool changed = name.back() == char('1' + i) && name.compare(0, 4, "name") != 0;
            bool heard = !prompt.empty() && fault(prompt).empty();
            if (changed && heard && link_) heard = link_->set_prompt(i, prompt);
            silent |= uint32_t(!heard) << i;
        }
        silent_prompts_ = silent;
        stale_ = active_ && !(link_->format() == wanted());
    }
    if ((name == "latency" || name == "model") && !active_) tell_latency();
}

void AudioSepPlugin::offlineChanged(bool offline) { offline_ = offline; }

Words AudioSepPlugin::words() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return words_;
}

Status AudioSepPlugin::status() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return status_;
}

/* ---- Links ------------------------------------------------------------------------------- */

/* With the mutex held. */
std::unique_ptr<Link> AudioSepPlugin::make_link() {
    const Format format = wanted();
    connected_once_ = hopeless_ = false;
    std::unique_ptr<Link> made(
        new Link(format, words_, prompt(), known_latency(words_, format.mode, format.rate),
                 renders()));
    return made;
}

void AudioSepPlugin::activate() {
    if (isDummyInstance()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    /* Nothing runs now: links are changed here without the detour. */
    next_ = done_ = nullptr;
    old_.reset();
    if (!link_ || !link_->alive() || !(link_->format() == wanted()))
        link_ = make_link();
    else
        link_->reset();
    playing_ = link_.get();
    point_count_ = 0;
    stale_ = told_alone_ = false;
    latency_ = playing_->latency();
    setLatency(latency_);
    active_ = true;
    if (!keeper_.joinable()) keeper_ = std::thread(&AudioSepPlugin::keep, this);
}

/* With the mutex held. */
float AudioSepPlugin::failed_seconds() const {
    if (!link_) return 0;
    return float(double(link_->health().failed) / link_->format().rate);
}

/* The keeper: all that may wait. */
void AudioSepPlugin::keep() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!quit_) {
        if (old_ && done_.load() == old_.get()) {
            done_ = nullptr;
            old_.reset();
        }
        if (active_ && link_ && !old_ && !(link_->format() == wanted())) {
            old_ = std::move(link_);
            link_ = make_link();
            next_ = link_.get();
        }
        stale_ = active_ && link_ && !(link_->format() == wanted());
        if (link_) look_after(*link_);
        wake_.wait_for(lock, kTick);
    }
}

/* With the mutex held, except while a server is started. */
void AudioSepPlugin::look_after(Link &link) {
    const Health health = link.health();
    const double rate = link.format().rate;
    connected_once_ = connected_once_ || health.connected;
    values_[kConnected] = health.connected;
    values_[kLate] = float(double(health.late) / rate);
    values_[kFailed] = failed_seconds();
    lonely_ticks_ = health.connected ? 0 : lonely_ticks_ + 1;
    connected_ticks_ = health.connected ? connected_ticks_ + 1 : 0;
    /* What came in before the connection has no answer: nobody is late with it. */
    const bool settled = connected_ticks_ > kTicksPerSecond * (1 + link.latency() / rate);
    const uint64_t late = health.late + health.dry;
    late_ticks_ = settled && late != heard_late_ ? kTicksLate : late_ticks_ - (late_ticks_ > 0);
    heard_late_ = late;

    const Prompt selected = words_.prompts[prompt()];
    Status now;
    if (health.connected) {
        hopeless_ = false;
        now.light = late_ticks_ ? Light::Late : Light::Connected;
        now.reason = late_ticks_ ? "The server answers late: the mixture stands in." : health.error;
    } else {
        Launch launched = Launch::Waiting;
        if (lonely_ticks_ >= kTicksToLaunch && !health.refused) {
            mutex_.unlock();
            launched = launch_server();
            mutex_.lock();
        }
        const bool hopeless =
            health.refused || launched == Launch::Unknown || launched == Launch::Failed;
        if (hopeless) hopeless_ = true;
        now.light = health.refused ? Light::Refused : hopeless ? Light::NoServer : Light::Starting;
        now.reason = launched == Launch::Unknown
                         ? "No server runs: run \"audiosep plugin install\" or \"audiosep serve\"."
                     : launched == Launch::Failed
                         ? "The server's program is gone: run \"audiosep plugin install\" again."
                     : health.error.empty() ? "Waiting for the server."
                                            : health.error;
    }
    if (health.failed) now.reason = "The bounce has unseparated parts: bounce again.";
    if (words_.version > kStateVersion)
        now.reason = "Saved by a newer version: what this one does not know is left out.";
    if (!fault(selected).empty()) now.reason = fault(selected);
    if (selected.empty()) now.reason = "Type what you want to hear.";
    status_ = now;
}

/* ---- Audio thread ------------------------------------------------------------------------ */

/* The link that the keeper has made for another mode or model. */
void AudioSepPlugin::take_next() {
    if (Link *next = next_.exchange(nullptr)) {
        done_ = playing_;
        playing_ = next;
    }
}

/* In a bounce nothing is played, so it may wait: for the link of a mode or model that is chosen
 * with its first block, for the first connection, or the certainty that there will be none. */
void AudioSepPlugin::wait_for_server() {
    const auto until = std::chrono::steady_clock::now() + kLongestStart;
    while ((stale_ || playing_->format().mode != mode()) && std::chrono::steady_clock::now() < until) {
        wake_.notify_all();
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        take_next();
    }
    while (!connected_once_ && !hopeless_ && std::chrono::steady_clock::now() < until)
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (!connected_once_) hopeless_ = true;
}

void AudioSepPlugin::take_program_changes(const MidiEvent *events, uint32_t count) {
    for (const MidiEvent *event = events; event < events + count; ++event)
        if (event->size > 1 && event->size <= MidiEvent::kDataSize &&
            (event->data[0] & 0xf0) == 0xc0 && event->data[1] < kPrompts)
            parameterPoint(kPrompt, float(event->data[1] + 1), event->frame);
}

void AudioSepPlugin::run(const float **inputs, float **outputs, uint32_t frames,
                         const MidiEvent *events, uint32_t event_count) {
    take_next();
    if (!playing_) {
        for (uint32_t c = 0; c < DISTRHO_PLUGIN_NUM_OUTPUTS; ++c)
            if (outputs[c]) std::fill_n(outputs[c], frames, 0.0f);
        point_count_ = 0;
        return;
    }
    const bool offline = renders();
    if (offline) wait_for_server();
    Link &link = *playing_;
    const bool server = connected_once_ && !hopeless_;
    if (offline && !server && !told_alone_ && heard()) {
        told_alone_ = true;
        std::fputs("audiosep: this bounce is not separated, no server answers what is asked; the "
                   "plug-in says why beside its light\n",
                   stderr);
    }
    link.render(offline, server);
    link.transport(getTimePosition().playing, int64_t(getTimePosition().frame));
    take_program_changes(events, event_count);
    for (uint32_t start = 0, point = 0; start < frames;) {
        for (; point < point_count_ && points_[point].frame <= start; ++point)
            setParameterValue(points_[point].index, points_[point].value);
        uint32_t end = std::min(start + Link::kChunk, frames);
        if (point < point_count_) end = std::min(end, points_[point].frame);
        link.select(prompt());
        link.strength(values_[kStrength]);
        const float *const in[] = {inputs[0] + start, inputs[1] + start};
        float *to[DISTRHO_PLUGIN_NUM_OUTPUTS];
        for (uint32_t c = 0; c < DISTRHO_PLUGIN_NUM_OUTPUTS; ++c)
            to[c] = outputs[c] ? outputs[c] + start : nullptr;
        link.process(in, to, to + 2, end - start, levels());
        start = end;
    }
    /* A point behind the block belongs to none. */
    point_count_ = 0;
    latency_ = link.latency();
    setLatency(latency_);
}

START_NAMESPACE_DISTRHO
Plugin *createPlugin() { return new AudioSepPlugin(); }
END_NAMESPACE_DISTRHO
