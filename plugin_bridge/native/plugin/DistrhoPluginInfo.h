/* What DPF is told about the plug-in before it is compiled. */
#ifndef DISTRHO_PLUGIN_INFO_H_INCLUDED
#define DISTRHO_PLUGIN_INFO_H_INCLUDED

#define DISTRHO_PLUGIN_BRAND "AudioSep"
#define DISTRHO_PLUGIN_NAME "AudioSep"
#define DISTRHO_PLUGIN_URI "urn:audiosep:plugin"
#define DISTRHO_PLUGIN_CLAP_ID "audiosep.plugin"
#define DISTRHO_PLUGIN_CLAP_FEATURES "audio-effect", "utility", "restoration", "stereo"
#define DISTRHO_PLUGIN_VST3_CATEGORIES "Fx|Restoration|Stereo"
#define DISTRHO_PLUGIN_LV2_CATEGORY "lv2:FilterPlugin"

#ifndef AUDIOSEP_EDITOR
#define AUDIOSEP_EDITOR 1
#endif

/* The mixture comes in; target and residual go out, as two stereo buses. */
#define DISTRHO_PLUGIN_NUM_INPUTS 2
#define DISTRHO_PLUGIN_NUM_OUTPUTS 4
#define DISTRHO_PLUGIN_IS_RT_SAFE 1
#define DISTRHO_PLUGIN_HAS_UI AUDIOSEP_EDITOR
/* The editor asks the plug-in itself for the words of its state. */
#define DISTRHO_PLUGIN_WANT_DIRECT_ACCESS AUDIOSEP_EDITOR
/* Program changes choose a prompt. */
#define DISTRHO_PLUGIN_WANT_MIDI_INPUT 1
#define DISTRHO_PLUGIN_WANT_LATENCY 1
#define DISTRHO_PLUGIN_WANT_STATE 1
#define DISTRHO_PLUGIN_WANT_FULL_STATE 1
#define DISTRHO_PLUGIN_WANT_TIMEPOS 1
#define DISTRHO_UI_USE_NANOVG 1
#define DISTRHO_UI_USER_RESIZABLE 1
#define DISTRHO_UI_DEFAULT_WIDTH 620
#define DISTRHO_UI_DEFAULT_HEIGHT 350

#endif
