/* The prompt slots as VST3's programs.
 *
 * VST3 has no program changes: a host turns them into values of a parameter that is flagged for
 * them and belongs to a unit with a list of programs. Some hosts show no such parameter (Ardour),
 * so "Prompt" is none: a hidden one, "Program", is another name for it.
 *
 * Included into DPF's DistrhoPluginVST3.cpp, behind PluginVst3 (patch_dpf.py). */

static inline v3_param_id prompt_for_program(const v3_param_id id) {
    return id == kVst3InternalParameterProgram ? v3_param_id(kVst3InternalParameterCount) : id;
}

static inline v3_result parameter_info(const PluginVst3 &plugin, const int32_t index,
                                       v3_param_info *const info) {
    if (index != kVst3InternalParameterProgram) return plugin.getParameterInfo(index, info);
    const v3_result result = plugin.getParameterInfo(kVst3InternalParameterCount, info);
    info->param_id = kVst3InternalParameterProgram;
    info->flags |= V3_PARAM_PROGRAM_CHANGE | V3_PARAM_IS_LIST | V3_PARAM_IS_HIDDEN;
    strncpy_utf16(info->title, "Program", 128);
    strncpy_utf16(info->short_title, "Program", 128);
    return result;
}

struct dpf_program_list : v3_unit_information_cpp {
    enum : int32_t { kUnit = 0, kList = 1 };

    /* `owner` is the edit controller, as hosts hold it: it counts the references. */
    dpf_program_list(ScopedPointer<PluginVst3> &plugin) : self(this), plugin(plugin) {
        query_interface = query;
        ref = add_reference;
        unref = drop_reference;
        unit.get_unit_count = [](void *) -> int32_t { return 1; };
        unit.get_unit_info = get_unit_info;
        unit.get_program_list_count = [](void *) -> int32_t { return 1; };
        unit.get_program_list_info = get_list_info;
        unit.get_program_name = get_program_name;
        unit.get_program_info = [](void *, int32_t, int32_t, const char *,
                                   v3_str_128) -> v3_result { return V3_NOT_IMPLEMENTED; };
        unit.has_program_pitch_names = [](void *, int32_t, int32_t) -> v3_result {
            return V3_FALSE;
        };
        unit.get_program_pitch_name = [](void *, int32_t, int32_t, int16_t,
                                         v3_str_128) -> v3_result {
            return V3_NOT_IMPLEMENTED;
        };
        unit.get_selected_unit = [](void *) -> int32_t { return kUnit; };
        unit.select_unit = [](void *, int32_t id) -> v3_result {
            return id == kUnit ? V3_OK : V3_INVALID_ARG;
        };
        unit.get_unit_by_bus = get_unit_by_bus;
        unit.set_unit_program_data = [](void *, int32_t, int32_t,
                                        v3_bstream **) -> v3_result {
            return V3_NOT_IMPLEMENTED;
        };
    }

    v3_result give(void *const controller, void **const interface) {
        owner = static_cast<v3_funknown **>(controller);
        v3_cpp_obj_ref(owner);
        *interface = &self;
        return V3_OK;
    }

private:
    dpf_program_list *self;
    v3_funknown **owner = nullptr;
    ScopedPointer<PluginVst3> &plugin;

    static dpf_program_list &of(void *const self) {
        return **static_cast<dpf_program_list **>(self);
    }

    static v3_result V3_API query(void *const self, const v3_tuid iid, void **const interface) {
        return (*of(self).owner)->query_interface(of(self).owner, iid, interface);
    }

    static uint32_t V3_API add_reference(void *const self) {
        return v3_cpp_obj_ref(of(self).owner);
    }

    static uint32_t V3_API drop_reference(void *const self) {
        return v3_cpp_obj_unref(of(self).owner);
    }

    static v3_result V3_API get_unit_info(void *, const int32_t index, v3_unit_info *const info) {
        if (index != 0) return V3_INVALID_ARG;
        info->id = kUnit;
        info->parent_unit_id = -1;
        info->program_list_id = kList;
        strncpy_utf16(info->name, "Prompts", 128);
        return V3_OK;
    }

    static v3_result V3_API get_list_info(void *, const int32_t index,
                                          v3_program_list_info *const info) {
        if (index != 0) return V3_INVALID_ARG;
        info->id = kList;
        info->programCount = audiosep::kPrompts;
        strncpy_utf16(info->name, "Prompts", 128);
        return V3_OK;
    }

    static v3_result V3_API get_program_name(void *const self, const int32_t list,
                                             const int32_t index, v3_str_128 name) {
        const PluginVst3 *const known = of(self).plugin.get();
        if (known == nullptr || list != kList || index < 0 || index >= int32_t(audiosep::kPrompts))
            return V3_INVALID_ARG;
        strncpy_utf16(name, audiosep::slot_name(*known, index + 1).c_str(), 128);
        return V3_OK;
    }

    static v3_result V3_API get_unit_by_bus(void *, const int32_t type, const int32_t direction,
                                            const int32_t bus, int32_t, int32_t *const id) {
        if (type != V3_EVENT || direction != V3_INPUT || bus != 0) return V3_FALSE;
        *id = kUnit;
        return V3_OK;
    }
};
