/* The bridge's C client, compiled into the plug-in. */
#include "../audiosep_client.c"
