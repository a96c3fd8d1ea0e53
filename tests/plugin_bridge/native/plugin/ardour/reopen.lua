-- Open the session FOLDER/NAME, save it as its host would, and close it.
local backend = AudioEngine:set_backend("None (Dummy)", "", "")
backend:set_sample_rate(48000)
backend:set_buffer_size(1024)
AudioEngine:start(false)
local name = os.getenv("NAME")
local session = load_session(os.getenv("FOLDER") .. "/" .. name, name)
session:save_state("")
close_session()
