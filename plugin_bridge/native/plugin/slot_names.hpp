/* What hosts show for a prompt slot. Included into DPF's sources (patch_dpf.py). */
#ifndef AUDIOSEP_SLOT_NAMES_HPP
#define AUDIOSEP_SLOT_NAMES_HPP

#include <string>

namespace audiosep {

/* The slot's name, or its words, or its number; slots count from 1. */
template <class Plugin> std::string slot_name(const Plugin &plugin, int slot) {
    const std::string number = std::to_string(slot);
    for (const char *key : {"name", "prompt"}) {
        const std::string text(plugin.getStateValue((key + number).c_str()).buffer());
        if (text.find_first_not_of(' ') != std::string::npos) return text;
    }
    return "Prompt " + number;
}

} // namespace audiosep

#endif
