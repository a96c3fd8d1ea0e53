/* The editor: eight prompt slots, prompt and negative prompt, the controls, a light with its
 * reason. Drawn with DPF's NanoVG in units of a window 620 wide, scaled to what the host gives. */
#include "DistrhoUI.hpp"
#include "plugin.hpp"
#include "text_field.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

USE_NAMESPACE_DISTRHO
using audiosep::kModes;
using audiosep::kPrompts;
using audiosep::TextField;

namespace {

struct Box {
    float x, y, w, h;
    bool holds(float px, float py) const {
        return px >= x && px < x + w && py >= y && py < y + h;
    }
};

constexpr float kWidth = DISTRHO_UI_DEFAULT_WIDTH, kHeight = DISTRHO_UI_DEFAULT_HEIGHT;
constexpr float kEdge = 20, kWide = kWidth - 2 * kEdge;

/* Fields of text, from top to bottom: what they hold, and where. */
enum Field { kText, kNegative, kName, kModel, kFields };
const char *const kFieldKeys[] = {"prompt", "negative", "name", "model"};
const char *const kFieldLabels[] = {"Let me hear", "but not", "Name of this slot", "Model"};
/* What stands in an empty field. */
const char *const kFieldHints[] = {"the hi-hat", "", "", "the server's own"};
const Box kFieldBoxes[] = {{kEdge, 98, kWide, 34}, {kEdge, 154, 370, 30}, {410, 154, 190, 30},
                           {420, 308, 180, 26}};

const Box kStrengthBox = {kEdge, 214, 180, 26}, kMixBox = {220, 214, 180, 26};
const Box kOutputBox = {kEdge, 256, 180, 28}, kModeBox = {220, 256, 240, 28};
const Box kMuteBox = {480, 256, 120, 28}, kSecondBox = {420, 214, 180, 26};

Box slot_box(unsigned slot) {
    const float wide = kWide / kPrompts;
    return {kEdge + wide * slot, 42, wide - 4, 28};
}

Box part(const Box &box, unsigned index, unsigned of) {
    return {box.x + box.w / of * index, box.y, box.w / of, box.h};
}

const Color kGround(28, 30, 34), kPanel(42, 45, 51), kInk(232, 232, 226), kDim(150, 152, 156);
const Color kAccent(88, 166, 214);

Color light_color(Light light) {
    switch (light) {
    case Light::Connected: return Color(96, 200, 120);
    case Light::Starting: return Color(232, 196, 84);
    case Light::Late: return Color(236, 140, 64);
    case Light::NoServer:
    case Light::Refused: return Color(224, 84, 80);
    case Light::Off: break;
    }
    return kDim;
}

const char *light_word(Light light) {
    switch (light) {
    case Light::Connected: return "connected";
    case Light::Starting: return "starting";
    case Light::Late: return "late";
    case Light::NoServer: return "no server";
    case Light::Refused: return "refused";
    case Light::Off: break;
    }
    return "not running";
}

} // namespace

class AudioSepEditor : public UI {
public:
    AudioSepEditor() : UI(DISTRHO_UI_DEFAULT_WIDTH, DISTRHO_UI_DEFAULT_HEIGHT) {
        setGeometryConstraints(DISTRHO_UI_DEFAULT_WIDTH / 2, DISTRHO_UI_DEFAULT_HEIGHT / 2, true,
                               false);
        loadSharedResources();
        for (uint32_t i = 0; i < kParameters; ++i) values_[i] = 0;
        values_[kPrompt] = values_[kStrength] = values_[kMode] = 1;
        values_[kMix] = 100;
        if (const AudioSepPlugin *plugin = this->plugin()) words_ = plugin->words();
        show_slot();
    }

protected:
    void parameterChanged(uint32_t index, float value) override {
        if (index >= kParameters) return;
        if (index == kPrompt) show_prompt(value);
        values_[index] = value;
        repaint();
    }

    void stateChanged(const char *key, const char *value) override {
        words_.set(key, value);
        show_slot();
        repaint();
    }

    void uiIdle() override {
        const AudioSepPlugin *plugin = this->plugin();
        if (!plugin) return;
        /* Hosts do not tell what MIDI has chosen. */
        const unsigned heard = plugin->prompt();
        if (heard != heard_) show_prompt(float(heard + 1));
        heard_ = heard;
        const Status now = plugin->status();
        if (now.light == status_.light && now.reason == status_.reason) return;
        status_ = now;
        repaint();
    }

    void onNanoDisplay() override {
        resetTransform();
        scale(getWidth() / kWidth, getHeight() / kHeight);
        beginPath();
        rect(0, 0, kWidth, kHeight);
        fillColor(kGround);
        fill();
        label(kEdge, 22, "AudioSep", 18, kInk);
        draw_status();
        for (unsigned i = 0; i < kPrompts; ++i) draw_slot(i);
        for (unsigned i = 0; i < kFields; ++i) draw_field(Field(i));
        draw_slider(kStrengthBox, "Strength", kStrength, 0.25f, 4, "%.2f");
        draw_slider(kMixBox, "Mix", kMix, 0, 100, "%.0f %%");
        const char *outputs[] = {"Target", "Residual"};
        const char *modes[kModes] = {"Render", "Mix", "Track", "Live"};
        draw_choice(kOutputBox, outputs, 2, unsigned(values_[kOutput]));
        draw_choice(kModeBox, modes, kModes, unsigned(values_[kMode]));
        const char *mute[] = {"Mute"};
        draw_choice(kMuteBox, mute, 1, values_[kMute] >= 0.5f ? 0 : 1);
        const char *second[] = {"Residual bus"};
        draw_choice(kSecondBox, second, 1, values_[kSecond] >= 0.5f ? 0 : 1);
        char late[64];
        std::snprintf(late, sizeof late, "late %.1f s    unseparated in a bounce %.1f s",
                      double(values_[kLate]), double(values_[kFailed]));
        label(kEdge, 321, late, 12, kDim);
    }

    bool onMouse(const MouseEvent &event) override {
        if (event.button != 1) return false;
        if (!event.press) {
            if (dragged_ < kParameters) editParameter(dragged_, false);
            dragged_ = kParameters;
            return true;
        }
        /* Otherwise the host keeps the keys as its shortcuts. */
        getWindow().focus();
        const float x = unscaled_x(event), y = unscaled_y(event);
        commit();
        focus_ = kFields;
        for (unsigned i = 0; i < kFields; ++i)
            if (kFieldBoxes[i].holds(x, y)) focus_ = Field(i);
        for (unsigned i = 0; i < kPrompts; ++i)
            if (slot_box(i).holds(x, y)) choose(kPrompt, float(i + 1));
        for (unsigned i = 0; i < 2; ++i)
            if (part(kOutputBox, i, 2).holds(x, y)) choose(kOutput, float(i));
        for (unsigned i = 0; i < kModes; ++i)
            if (part(kModeBox, i, kModes).holds(x, y)) choose(kMode, float(i));
        if (kMuteBox.holds(x, y)) choose(kMute, values_[kMute] >= 0.5f ? 0.0f : 1.0f);
        if (kSecondBox.holds(x, y)) choose(kSecond, values_[kSecond] >= 0.5f ? 0.0f : 1.0f);
        if (kStrengthBox.holds(x, y)) dragged_ = kStrength;
        if (kMixBox.holds(x, y)) dragged_ = kMix;
        if (dragged_ < kParameters) editParameter(dragged_, true);
        drag(x);
        repaint();
        return true;
    }

    bool onMotion(const MotionEvent &event) override {
        if (dragged_ == kParameters) return false;
        drag(float(event.pos.getX()) * kWidth / getWidth());
        return true;
    }

    bool onCharacterInput(const CharacterInputEvent &event) override {
        if (focus_ == kFields || event.mod & (kModifierControl | kModifierSuper)) return false;
        if (event.character < 0x20 || event.character == 0x7f) return true;
        fields_[focus_].insert(event.string);
        repaint();
        return true;
    }

    /* All keys are taken while a field has the focus: Space must not start the transport. */
    bool onKeyboard(const KeyboardEvent &event) override {
        if (focus_ == kFields) return false;
        if (!event.press) return true;
        TextField &field = fields_[focus_];
        if (event.mod & (kModifierControl | kModifierSuper)) {
            shortcut(field, event.key);
        } else {
            switch (event.key) {
            case kKeyBackspace: field.backspace(); break;
            case kKeyDelete: field.remove(); break;
            case kKeyLeft: field.left(); break;
            case kKeyRight: field.right(); break;
            case kKeyHome: field.home(); break;
            case kKeyEnd: field.end(); break;
            case '\r':
            case '\n': commit(); break;
            case '\t': commit(), focus_ = Field((focus_ + 1) % kFields); break;
            case kKeyEscape: field.set(words_.get(key(focus_))), focus_ = kFields; break;
            default: break;
            }
        }
        repaint();
        return true;
    }

    void uiFocus(bool focus, DGL_NAMESPACE::CrossingMode) override {
        if (!focus) commit();
        repaint();
    }

private:
    const AudioSepPlugin *plugin() {
        return static_cast<const AudioSepPlugin *>(getPluginInstancePointer());
    }

    unsigned slot() const { return std::min(unsigned(values_[kPrompt]) - 1, kPrompts - 1); }

    std::string key(unsigned field) const {
        return field == kModel ? kFieldKeys[field]
                               : kFieldKeys[field] + std::to_string(slot() + 1);
    }

    /* What is being typed stays. */
    void show_slot() {
        for (unsigned i = 0; i < kFields; ++i)
            if (!fields_[i].edited()) fields_[i].set(words_.get(key(i)));
    }

    /* The plug-in hears of a text when it is complete: Return, Tab, a click elsewhere, or another
     * slot. */
    void commit() {
        if (focus_ == kFields || !fields_[focus_].edited()) return;
        words_.set(key(focus_), fields_[focus_].text());
        fields_[focus_].keep();
        setState(key(focus_).c_str(), words_.get(key(focus_)).c_str());
    }

    /* Whoever chose it, the host, MIDI or a click. What is typed next would be another slot's. */
    void show_prompt(float value) {
        if (value == values_[kPrompt]) return;
        commit();
        if (focus_ != kModel) focus_ = kFields;
        values_[kPrompt] = value;
        show_slot();
        repaint();
    }

    void shortcut(TextField &field, uint key) {
        if (key == 'a') field.select_all();
        if ((key == 'c' || key == 'x') && !field.text().empty())
            getWindow().setClipboard("text/plain", field.text().c_str(), field.text().size() + 1);
        if (key == 'x') field.clear();
        size_t size = 0;
        if (key == 'v')
            if (const void *data = getWindow().getClipboard(size))
                field.insert(std::string(static_cast<const char *>(data), size));
    }

    void choose(uint32_t index, float value) {
        editParameter(index, true);
        setParameterValue(index, value);
        editParameter(index, false);
        if (index == kPrompt) show_prompt(value);
        values_[index] = value;
    }

    void drag(float x) {
        if (dragged_ == kParameters) return;
        const Box &box = dragged_ == kMix ? kMixBox : kStrengthBox;
        const float share = std::min(std::max((x - box.x) / box.w, 0.0f), 1.0f);
        values_[dragged_] = dragged_ == kMix ? 100 * share : 0.25f + 3.75f * share;
        setParameterValue(dragged_, values_[dragged_]);
        repaint();
    }

    float unscaled_x(const MouseEvent &event) { return event.pos.getX() * kWidth / getWidth(); }
    float unscaled_y(const MouseEvent &event) { return event.pos.getY() * kHeight / getHeight(); }

    void panel(const Box &box, const Color &color) {
        beginPath();
        roundedRect(box.x, box.y, box.w, box.h, 5);
        fillColor(color);
        fill();
    }

    void label(float x, float y, const char *words, float size, const Color &color,
               int align = ALIGN_LEFT | ALIGN_MIDDLE) {
        if (!*words) return;
        fontFace(NANOVG_DEJAVU_SANS_TTF);
        fontSize(size);
        textAlign(align);
        fillColor(color);
        text(x, y, words, nullptr);
    }

    void draw_status() {
        beginPath();
        circle(140, 22, 6);
        fillColor(light_color(status_.light));
        fill();
        std::string words = light_word(status_.light);
        if (!status_.reason.empty()) words += ": " + status_.reason;
        save();
        scissor(152, 8, kWidth - kEdge - 152, 28);
        label(152, 22, words.c_str(), 13, kInk);
        restore();
    }

    void draw_slot(unsigned i) {
        const Box box = slot_box(i);
        const audiosep::Prompt &prompt = words_.prompts[i];
        const std::string &named = prompt.name.empty() ? prompt.text : prompt.name;
        panel(box, i == slot() ? kAccent : kPanel);
        save();
        scissor(box.x + 4, box.y, box.w - 8, box.h);
        label(box.x + 6, box.y + box.h / 2,
              (std::to_string(i + 1) + " " + named).c_str(), 12, i == slot() ? kGround : kDim);
        restore();
    }

    void draw_field(Field i) {
        const Box &box = kFieldBoxes[i];
        const bool focused = focus_ == i;
        label(box.x, box.y - 10, kFieldLabels[i], 12, kDim);
        panel(box, kPanel);
        beginPath();
        roundedRect(box.x, box.y, box.w, box.h, 5);
        strokeColor(focused ? kAccent : kPanel);
        strokeWidth(1.5f);
        stroke();
        save();
        scissor(box.x + 6, box.y, box.w - 12, box.h);
        const float size = i == kText ? 18.0f : 14.0f;
        const std::string &words = fields_[i].text();
        fontFace(NANOVG_DEJAVU_SANS_TTF);
        fontSize(size);
        textAlign(ALIGN_LEFT | ALIGN_MIDDLE);
        DGL_NAMESPACE::Rectangle<float> bounds;
        const std::string left = words.substr(0, fields_[i].cursor());
        const float before = left.empty() ? 0 : textBounds(0, 0, left.c_str(), nullptr, bounds);
        /* The cursor stays in sight in a text longer than the field. */
        const float shift = std::max(0.0f, before - (box.w - 20));
        const float x = box.x + 8 - shift, y = box.y + box.h / 2;
        if (focused && fields_[i].all_selected()) {
            const float wide = textBounds(0, 0, words.c_str(), nullptr, bounds);
            panel({x, box.y + 5, wide, box.h - 10}, Color(70, 110, 140));
        }
        if (words.empty() && !focused)
            label(x, y, kFieldHints[i], size, Color(96, 98, 102));
        else
            label(x, y, words.c_str(), size, kInk);
        if (focused) {
            beginPath();
            rect(x + before, box.y + 6, 1.5f, box.h - 12);
            fillColor(kAccent);
            fill();
        }
        restore();
    }

    void draw_slider(const Box &box, const char *name, uint32_t index, float least, float most,
                     const char *format) {
        char value[32];
        std::snprintf(value, sizeof value, format, double(values_[index]));
        panel(box, kPanel);
        panel({box.x, box.y, box.w * (values_[index] - least) / (most - least), box.h},
              Color(58, 92, 116));
        label(box.x + 8, box.y + box.h / 2, name, 13, kInk);
        label(box.x + box.w - 8, box.y + box.h / 2, value, 13, kInk, ALIGN_RIGHT | ALIGN_MIDDLE);
    }

    void draw_choice(const Box &box, const char *const *names, unsigned count, unsigned chosen) {
        for (unsigned i = 0; i < count; ++i) {
            const Box one = part(box, i, count);
            panel({one.x, one.y, one.w - 3, one.h}, i == chosen ? kAccent : kPanel);
            label(one.x + one.w / 2, one.y + one.h / 2, names[i], 13,
                  i == chosen ? kGround : kInk, ALIGN_CENTER | ALIGN_MIDDLE);
        }
    }

    float values_[kParameters];
    audiosep::Words words_;
    TextField fields_[kFields];
    Field focus_ = kFields;
    unsigned heard_ = kPrompts; /* the slot that the plug-in played when it was last asked */
    uint32_t dragged_ = kParameters;
    Status status_;

    DISTRHO_DECLARE_NON_COPYABLE(AudioSepEditor)
};

START_NAMESPACE_DISTRHO
UI *createUI() { return new AudioSepEditor(); }
END_NAMESPACE_DISTRHO
