"""Copy DPF and put in what the plug-in needs of it and the release does not do.

    python3 patch_dpf.py /usr/share/dpf build/dpf

1. The host's offline flag reaches the plug-in as ``offlineChanged``: VST3's process mode and CLAP's
   render extension. In LV2 the control "offline" is designated ``lv2:freeWheeling``.
2. Changes of a parameter inside a block reach it as ``parameterPoint``, with their frame.
3. VST3: buses of outputs behind the first one get their own buffers.
4. The frame of the transport is the project's: VST3's flag for it speaks of music, not of samples,
   and CLAP's steady time goes on while the transport jumps. In LV2 it may lie before 0.
5. VST3: what is typed into the editor arrives as it is, beyond ASCII too (``utf16.hpp``).
6. VST3: a host that sets a state is not told to look at it anew: Ardour 7 would wait for itself.
7. Program changes. LV2: MIDI has a port of its own, the last: where an audio track leaves it open,
   Ardour tells no time on it. VST3: MIDI comes without the 2080 parameters that DPF makes of its
   controllers; a hidden parameter is flagged for program changes (``program_list.hpp``). A host
   hears of a prompt slot that MIDI or that parameter has chosen, in CLAP and VST3, and shows slots
   by name.
8. CLAP: gestures and the transport's events are not taken for MIDI; a host need not take news of
   the latency.

Each place is named by a line of DPF; another DPF, in which one is missing, is refused.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_VST3, _CLAP = "distrho/src/DistrhoPluginVST3.cpp", "distrho/src/DistrhoPluginCLAP.cpp"
_LV2, _LV2_TEXT = "distrho/src/DistrhoPluginLV2.cpp", "distrho/src/DistrhoPluginLV2export.cpp"
#: What stands twice in its file: a host's values are read before and behind a block.
_VALUES = "                const v3_param_id rindex = v3_cpp_obj(queue)->get_param_id(queue);\n"
_TOLD = "fHostExtensions.latency->changed(fHost);\n"
_TWICE = (_VALUES, _TOLD)

#: File, the line(s) looked for, what comes instead; "{}" is what was found.
CHANGES = [
    (
        "distrho/DistrhoPlugin.hpp",
        "    virtual void sampleRateChanged(double newSampleRate);\n",
        "{}    virtual void offlineChanged(bool) {{}}\n"
        "    virtual void parameterPoint(uint32_t, float, uint32_t) {{}}\n",
    ),
    (
        "distrho/src/DistrhoPluginInternal.hpp",
        "    ~PluginExporter()\n",
        "    void setOffline(const bool offline) {{ fPlugin->offlineChanged(offline); }}\n"
        "    void setParameterPoint(const uint32_t index, const float value,\n"
        "                           const uint32_t frame)\n"
        "    {{\n        fPlugin->parameterPoint(index, value, frame);\n    }}\n\n{}",
    ),
    (
        _VST3,
        "process_mode can be V3_REALTIME, V3_PREFETCH, V3_OFFLINE\n",
        "{}        fPlugin.setOffline(setup->process_mode == V3_OFFLINE);\n",
    ),
    (
        _VST3,
        "        // activate plugin if not done yet\n",
        "        fPlugin.setOffline(data->process_mode == V3_OFFLINE);\n\n{}",
    ),
    (
        _VST3,
        "                // if there are any parameter changes at frame 0, handle them here\n",
        "                for (int32_t j = 0, pcount = v3_cpp_obj(queue)->get_point_count(queue);"
        " j < pcount; ++j)\n"
        "                {{\n"
        "                    if (v3_cpp_obj(queue)->get_point(queue, j, &offset, &normalized)"
        " != V3_OK)\n"
        "                        break;\n"
        "                    const uint32_t at = rindex - kVst3InternalParameterCount;\n"
        "                    if (offset > 0 && !fPlugin.isParameterOutputOrTrigger(at))\n"
        "                        fPlugin.setParameterPoint(at,"
        " fPlugin.getParameterRanges(at).getUnnormalizedValue(normalized), offset);\n"
        "                }}\n\n{}",
    ),
    (
        _VST3,
        "                for (int32_t j = 0; j < data->outputs->num_channels; ++j)\n",
        "                for (int32_t b = 0; b < data->num_output_buses; ++b)\n"
        "                for (int32_t j = 0; j < data->outputs[b].num_channels; ++j)\n",
    ),
    (
        _VST3,
        "                    while (!fEnabledOutputs[i] && i < DISTRHO_PLUGIN_NUM_OUTPUTS)\n"
        "                        outputs[i++] = fDummyAudioBuffer;\n\n",
        "",
    ),
    (
        _VST3,
        "                    outputs[i++] = data->outputs->channel_buffers_32[j];\n",
        # Hosts also list buses that are off.
        "                    outputs[i] = fEnabledOutputs[i]"
        " && data->outputs[b].channel_buffers_32\n"
        "                               ? data->outputs[b].channel_buffers_32[j]\n"
        "                               : fDummyAudioBuffer;\n"
        "                    ++i;\n",
    ),
    (
        _VST3,
        "        if (fComponentHandler != nullptr)\n"
        "            v3_cpp_obj(fComponentHandler)->restart_component("
        "fComponentHandler, V3_RESTART_PARAM_VALUES_CHANGED);\n\n",
        "",
    ),
    (
        _VST3,
        "            if (ctx->state & V3_PROCESS_CTX_PROJECT_TIME_VALID)\n"
        "                fTimePosition.frame = ctx->project_time_in_samples;\n"
        "            else if (ctx->state & V3_PROCESS_CTX_CONT_TIME_VALID)\n"
        "                fTimePosition.frame = ctx->continuous_time_in_samples;\n",
        "            fTimePosition.frame = ctx->project_time_in_samples;\n",
    ),
    (
        _CLAP,
        "            fTimePosition.frame = process->steady_time >= 0 ? process->steady_time : 0;\n",
        "            if (transport->flags & CLAP_TRANSPORT_HAS_SECONDS_TIMELINE)\n"
        "                fTimePosition.frame = std::llround("
        "double(transport->song_pos_seconds) / CLAP_SECTIME_FACTOR * fPlugin.getSampleRate());\n",
    ),
    (
        _CLAP,
        "        fPlugin.setParameterValue(event->param_id, event->value);\n",
        "        if (event->header.time != 0)\n"
        "            fPlugin.setParameterPoint(event->param_id, event->value,"
        " event->header.time);\n"
        "        else\n    {}",
    ),
    (
        _CLAP,
        "    void deactivate()\n",
        "    void setOffline(const bool offline) {{ fPlugin.setOffline(offline); }}\n\n{}",
    ),
    (
        _CLAP,
        "static CLAP_ABI const void* clap_plugin_get_extension"
        "(const clap_plugin_t*, const char* const id)\n{{\n",
        "struct clap_render_calls {{\n"
        "    bool(CLAP_ABI* has_hard_realtime_requirement)(const clap_plugin_t*);\n"
        "    bool(CLAP_ABI* set)(const clap_plugin_t*, int32_t);\n"
        "}};\n\n"
        "static CLAP_ABI bool clap_render_is_hard(const clap_plugin_t*) {{ return false; }}\n\n"
        "static CLAP_ABI bool clap_render_set(const clap_plugin_t* const plugin, int32_t mode)\n"
        "{{\n"
        "    static_cast<PluginCLAP*>(plugin->plugin_data)->setOffline(mode == 1);\n"
        "    return true;\n"
        "}}\n\n"
        "static const clap_render_calls clap_render = {{ clap_render_is_hard, clap_render_set }};\n"
        "\n{}"
        '    if (std::strcmp(id, "clap.render") == 0)\n        return &clap_render;\n',
    ),
    (
        "distrho/src/DistrhoPluginVST.hpp",
        "#include <algorithm>\n#include <cmath>\n",
        '{}\n#include "utf16.hpp"\n',
    ),
    (
        "distrho/src/DistrhoPluginVST.hpp",
        "        for (size_t i=0; i<len; ++i)\n        {{\n"
        "            // skip non-ascii chars, unsupported\n"
        "            if ((uint8_t)src[i] >= 0x80)\n                continue;\n\n"
        "            dst[i] = src[i];\n        }}\n        dst[len] = 0;\n",
        "        dst[audiosep::to_utf16(dst, src, len)] = 0;\n",
    ),
    *[
        (
            f"distrho/src/Distrho{side}VST3.cpp",
            f"{indent}char* const value = (char*)value16;\n\n"
            f"{indent}for (int64_t i=0; i<keyLength; ++i)\n"
            f"{indent}    key[i] = key16[i];\n"
            f"{indent}for (int64_t i=0; i<valueLength; ++i)\n"
            f"{indent}    value[i] = value16[i];\n\n"
            f"{indent}key[keyLength] = '\\0';\n"
            f"{indent}value[valueLength] = '\\0';\n",
            f"{indent}for (int64_t i=0; i<keyLength; ++i)\n"
            f"{indent}    key[i] = key16[i];\n"
            f"{indent}key[keyLength] = '\\0';\n"
            f"{indent}const std::string text = audiosep::to_utf8(value16, valueLength);\n"
            f"{indent}const char* const value = text.c_str();\n",
        )
        for side, indent in (("Plugin", " " * 8), ("UI", " " * 12))
    ],
    (
        _LV2,
        "                    if (fLastPositionData.frame >= 0)\n"
        "                        fTimePosition.frame = fLastPositionData.frame;\n",
        "                    fTimePosition.frame = fLastPositionData.frame;\n",
    ),
    (
        _LV2_TEXT,
        '                    pluginString += "        lv2:symbol \\"" + symbol + "\\" ;\\n";\n',
        '{}                    if (symbol == "offline")\n'
        '                        pluginString += "        lv2:designation lv2:freeWheeling ;\\n";'
        "\n",
    ),
    (
        _LV2_TEXT,
        "# if DISTRHO_PLUGIN_WANT_MIDI_INPUT\n"
        '            pluginString += "        atom:supports midi:MidiEvent ;\\n";\n# endif\n',
        "",
    ),
    (
        _LV2_TEXT,
        "            for (uint32_t i=0, count=plugin.getParameterCount(); i < count;"
        " ++i, ++portIndex)\n",
        '            pluginString += "    lv2:port [\\n";\n'
        '            pluginString += "        a lv2:InputPort, atom:AtomPort ;\\n";\n'
        '            pluginString += "        lv2:index "'
        ' + String(portIndex + plugin.getParameterCount()) + " ;\\n";\n'
        '            pluginString += "        lv2:name \\"MIDI\\" ;\\n";\n'
        '            pluginString += "        lv2:symbol \\"midi\\" ;\\n";\n'
        '            pluginString += "        lv2:portProperty lv2:connectionOptional ;\\n";\n'
        '            pluginString += "        atom:bufferType atom:Sequence ;\\n";\n'
        '            pluginString += "        atom:supports midi:MidiEvent ;\\n";\n'
        '            pluginString += "    ] ;\\n\\n";\n\n{}',
    ),
    (
        _LV2,
        "                fPortControls[i] = (float*)dataLocation;\n                return;\n"
        "            }}\n        }}\n",
        "{}\n        if (port == index)\n"
        "            fPortMidiIn = (LV2_Atom_Sequence*)dataLocation;\n",
    ),
    (
        _LV2,
        "        LV2_ATOM_SEQUENCE_FOREACH(fPortEventsIn, event)\n        {{\n"
        "            if (event == nullptr)\n                break;\n\n"
        "# if DISTRHO_PLUGIN_WANT_MIDI_INPUT\n",
        "        for (const LV2_Atom_Sequence* const events : {{ fPortEventsIn, fPortMidiIn }})\n"
        "        if (events != nullptr)\n"
        "        LV2_ATOM_SEQUENCE_FOREACH(events, event)\n        {{\n"
        "            if (event == nullptr)\n                break;\n\n"
        "# if DISTRHO_PLUGIN_WANT_MIDI_INPUT\n",
    ),
    (
        _LV2,
        "    LV2_Atom_Sequence* fPortEventsIn;\n",
        "{}    LV2_Atom_Sequence* fPortMidiIn = nullptr;\n",
    ),
    (
        "distrho/src/DistrhoPluginVST.hpp",
        "   #if DISTRHO_PLUGIN_WANT_PROGRAMS\n    kVst3InternalParameterProgram,\n   #endif\n",
        "    kVst3InternalParameterProgram,\n",
    ),
    (
        "distrho/src/DistrhoPluginVST.hpp",
        "    kVst3InternalParameterMidiCC_end = kVst3InternalParameterMidiCC_start + 130*16,\n"
        "    kVst3InternalParameterCount = kVst3InternalParameterMidiCC_end\n",
        "    kVst3InternalParameterMidiCC_end = kVst3InternalParameterMidiCC_start - 1,\n"
        "    kVst3InternalParameterCount = kVst3InternalParameterBaseCount\n",
    ),
    (
        _VST3,
        "        *id = kVst3InternalParameterMidiCC_start + channel * 130 + cc;\n"
        "        return V3_TRUE;\n",
        "        return V3_FALSE;\n        (void)id;\n",
    ),
    (
        _VST3,
        '#include "travesty/host.h"\n',
        '{}#include "travesty/unit.h"\n#include "slot_names.hpp"\n#include "words.hpp"\n',
    ),
    (
        _VST3,
        "    // stuff called for UI creation\n",
        "    // stuff called for the list of programs\n\n"
        "    String getStateValue(const char* const key) const\n"
        "    {{\n        return fPlugin.getStateValue(key);\n    }}\n\n{}",
    ),
    (
        _VST3,
        _VALUES,
        "                v3_param_id rindex = v3_cpp_obj(queue)->get_param_id(queue);\n"
        "                if (rindex == kVst3InternalParameterProgram)\n"
        "                {{\n"
        "                    rindex = kVst3InternalParameterCount;\n"
        "                    fParameterValuesChangedDuringProcessing"
        "[kVst3InternalParameterBaseCount] = true;\n"
        "                }}\n",
    ),
    (
        _VST3,
        "// dpf_edit_controller\n\nstruct dpf_edit_controller : v3_edit_controller_cpp {{\n",
        '#include "program_list.hpp"\n\n{}',
    ),
    (
        _VST3,
        "    // cached values\n    v3_component_handler** handler;\n",
        "    dpf_program_list programs{{vst3}};\n{}",
    ),
    (
        _VST3,
        "            ++controller->refcounter;\n            *iface = self;\n"
        "            return V3_OK;\n        }}\n\n",
        "{}        if (v3_tuid_match(iid, v3_unit_information_iid))\n"
        "            return controller->programs.give(self, iface);\n\n",
    ),
    (
        _VST3,
        "        return vst3->getParameterInfo(param_idx, param_info);\n",
        "        return parameter_info(*vst3, param_idx, param_info);\n",
    ),
    *[
        (_VST3, f"return vst3->{call}(index", f"return vst3->{call}(prompt_for_program(index)")
        for call in (
            "getParameterStringForValue",
            "getParameterValueForString",
            "normalizedParameterToPlain",
            "plainParameterToNormalized",
            "getParameterNormalized",
            "setParameterNormalized",
        )
    ],
    (
        _CLAP,
        "                    case CLAP_EVENT_TRANSPORT:\n",
        "{}                        break;\n",
    ),
    (_CLAP, _TOLD, "if (fHostExtensions.latency != nullptr) {}"),
    (
        _CLAP,
        '#include "clap/ext/timer-support.h"\n',
        '{}#include "slot_names.hpp"\n',
    ),
    (
        _CLAP,
        "                if (fPlugin.isParameterOutputOrTrigger(i))\n                {{\n"
        "                    value = ",
        "                if (i == 0 || fPlugin.isParameterOutputOrTrigger(i))\n                {{\n"
        "                    value = ",
    ),
    (
        _CLAP,
        "        if (hints & kParameterIsInteger)\n"
        "            snprintf_i32(display, value, size);\n",
        "        if (param_id == 0)\n"
        '            snprintf(display, size, "%d %s", static_cast<int>(value),'
        " audiosep::slot_name(fPlugin, static_cast<int>(value)).c_str());\n"
        "        else if (hints & kParameterIsInteger)\n"
        "            snprintf_i32(display, value, size);\n",
    ),
]


def main(source: Path, to: Path) -> None:
    """Copy and change; nothing is left where a place is missing."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(source, to)
    try:
        for name, found, instead in CHANGES:
            path = to / name
            text, found = path.read_text(encoding="utf-8"), found.format()
            if text.count(found) != 1 + (found in _TWICE):
                raise SystemExit(
                    f"{source}/{name} is not that of DPF 1.6 (Debian's dpf-source 1.6+ds): "
                    f"{found.strip()!r} is in it {text.count(found)} times; install that version"
                )
            changed = text.replace(found, instead.format(found))
            path.write_text(changed, encoding="utf-8")
    except BaseException:
        shutil.rmtree(to)
        raise


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: patch_dpf.py DPF NEW_FOLDER")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
