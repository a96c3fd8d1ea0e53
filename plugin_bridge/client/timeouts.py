"""How long both clients wait, in seconds."""

#: Until a server has let us in.
CONNECT_SECONDS = 5.0
#: Without a byte of the server, after which waiting for it fails.
TIMEOUT_SECONDS = 60.0
#: For which a render waits for another server when it has lost one.
RECONNECT_SECONDS = 30.0
#: Servers that may be lost one behind the other over one block.
MOST_REPLAYS = 16
#: Until the first new try after a connection is lost, and the most between two.
FIRST_RETRY, LAST_RETRY = 0.05, 2.0
