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

Each place is named by a line of DPF; another DPF, in which one is missing, is refused.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

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
        "distrho/src/DistrhoPluginVST3.cpp",
        "process_mode can be V3_REALTIME, V3_PREFETCH, V3_OFFLINE\n",
        "{}        fPlugin.setOffline(setup->process_mode == V3_OFFLINE);\n",
    ),
    (
        "distrho/src/DistrhoPluginVST3.cpp",
        "        // activate plugin if not done yet\n",
        "        fPlugin.setOffline(data->process_mode == V3_OFFLINE);\n\n{}",
    ),
    (
        "distrho/src/DistrhoPluginVST3.cpp",
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
        "distrho/src/DistrhoPluginVST3.cpp",
        "                for (int32_t j = 0; j < data->outputs->num_channels; ++j)\n",
        "                for (int32_t b = 0; b < data->num_output_buses; ++b)\n"
        "                for (int32_t j = 0; j < data->outputs[b].num_channels; ++j)\n",
    ),
    (
        "distrho/src/DistrhoPluginVST3.cpp",
        "                    while (!fEnabledOutputs[i] && i < DISTRHO_PLUGIN_NUM_OUTPUTS)\n"
        "                        outputs[i++] = fDummyAudioBuffer;\n\n",
        "",
    ),
    (
        "distrho/src/DistrhoPluginVST3.cpp",
        "                    outputs[i++] = data->outputs->channel_buffers_32[j];\n",
        # Hosts also list buses that are off.
        "                    outputs[i] = fEnabledOutputs[i]"
        " && data->outputs[b].channel_buffers_32\n"
        "                               ? data->outputs[b].channel_buffers_32[j]\n"
        "                               : fDummyAudioBuffer;\n"
        "                    ++i;\n",
    ),
    (
        "distrho/src/DistrhoPluginVST3.cpp",
        "        if (fComponentHandler != nullptr)\n"
        "            v3_cpp_obj(fComponentHandler)->restart_component("
        "fComponentHandler, V3_RESTART_PARAM_VALUES_CHANGED);\n\n",
        "",
    ),
    (
        "distrho/src/DistrhoPluginVST3.cpp",
        "            if (ctx->state & V3_PROCESS_CTX_PROJECT_TIME_VALID)\n"
        "                fTimePosition.frame = ctx->project_time_in_samples;\n"
        "            else if (ctx->state & V3_PROCESS_CTX_CONT_TIME_VALID)\n"
        "                fTimePosition.frame = ctx->continuous_time_in_samples;\n",
        "            fTimePosition.frame = ctx->project_time_in_samples;\n",
    ),
    (
        "distrho/src/DistrhoPluginCLAP.cpp",
        "            fTimePosition.frame = process->steady_time >= 0 ? process->steady_time : 0;\n",
        "            if (transport->flags & CLAP_TRANSPORT_HAS_SECONDS_TIMELINE)\n"
        "                fTimePosition.frame = std::llround("
        "double(transport->song_pos_seconds) / CLAP_SECTIME_FACTOR * fPlugin.getSampleRate());\n",
    ),
    (
        "distrho/src/DistrhoPluginCLAP.cpp",
        "        fPlugin.setParameterValue(event->param_id, event->value);\n",
        "        if (event->header.time != 0)\n"
        "            fPlugin.setParameterPoint(event->param_id, event->value,"
        " event->header.time);\n"
        "        else\n    {}",
    ),
    (
        "distrho/src/DistrhoPluginCLAP.cpp",
        "    void deactivate()\n",
        "    void setOffline(const bool offline) {{ fPlugin.setOffline(offline); }}\n\n{}",
    ),
    (
        "distrho/src/DistrhoPluginCLAP.cpp",
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
        "distrho/src/DistrhoPluginLV2.cpp",
        "                    if (fLastPositionData.frame >= 0)\n"
        "                        fTimePosition.frame = fLastPositionData.frame;\n",
        "                    fTimePosition.frame = fLastPositionData.frame;\n",
    ),
    (
        "distrho/src/DistrhoPluginLV2export.cpp",
        '                    pluginString += "        lv2:symbol \\"" + symbol + "\\" ;\\n";\n',
        '{}                    if (symbol == "offline")\n'
        '                        pluginString += "        lv2:designation lv2:freeWheeling ;\\n";'
        "\n",
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
            if text.count(found) != 1:
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
