-- A session with one stereo track and the plug-in on it, in FOLDER/NAME. PRESET is loaded first;
-- AUTOMATION is "PARAMETER FRAME VALUE;..." with the parameters' numbers.
local backend = AudioEngine:set_backend("None (Dummy)", "", "")
backend:set_sample_rate(48000)
backend:set_buffer_size(1024)
AudioEngine:start(false)
local folder, name = os.getenv("FOLDER"), os.getenv("NAME")
local session = create_session(folder .. "/" .. name, name, 48000)
local track = session:new_audio_track(2, 2, nil, 1, "mix", ARDOUR.PresentationInfo.max_order,
                                      ARDOUR.TrackMode.Normal, true, true):front()
local kind = os.getenv("KIND") == "LV2" and ARDOUR.PluginType.LV2 or ARDOUR.PluginType.VST3
local id = os.getenv("KIND") == "LV2" and "urn:audiosep:plugin" or "AudioSep"
local processor = ARDOUR.LuaAPI.new_plugin(session, id, kind, os.getenv("PRESET") or "")
assert(not processor:isnil(), "the plug-in is not found")
track:add_processor_by_index(processor, 0, nil, true)
for number, frame, value in (os.getenv("AUTOMATION") or ""):gmatch("(%d+) (%d+) ([%d.]+)") do
    local _, control = ARDOUR.LuaAPI.plugin_automation(processor, tonumber(number))
    control:add(Temporal.timepos_t(tonumber(frame)), tonumber(value), false, true)
    local id = processor:to_insert():plugin(0):nth_parameter(tonumber(number), false)
    local parameter = Evoral.Parameter(ARDOUR.AutomationType.PluginAutomation, 0, id)
    processor:to_automatable():automation_control(parameter, false)
             :set_automation_state(ARDOUR.AutoState.Play)
end
-- The second bus goes to the master too, where it is silent unless it is asked for.
local outputs, master = track:output(), session:master_out():input()
for side = 0, 1 do
    if outputs:nth(2 + side):connect(master:nth(side):name()) ~= 0 then error("not connected") end
end
session:save_state("")
close_session()
