/* LV2 effect over the bridge's C client: lets through what a query describes, or all but that.
 *
 * The queries are the lines of queries.txt in the bundle, or of the file that the environment
 * variable AUDIOSEP_QUERIES names; AUDIOSEP_ADDRESS says where the server listens, as in
 * audiosep_config; AUDIOSEP_MODEL names a model of the server; AUDIOSEP_MISSING=silence leaves holes
 * in a bounce where the server did not answer, instead of the input. An offline host waits for the
 * server, and so does one that takes blocks faster than they last; others never do. */
#define _POSIX_C_SOURCE 200809L

#include "audiosep_client.h"

#include <lv2/core/lv2.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUERY, STRENGTH, MIX, OUTPUT, MODE, FREEWHEEL, LATENCY, CONNECTED, SUBSTITUTED, DRY, FAILED,
    LATE, AUDIO
};

enum { MOST_QUERIES = 64, MOST_CHANNELS = 2 };

/* Room for every mode: "render" has 24 s of latency. */
#define LATENCY_SECONDS 30

typedef struct {
    audiosep_client *client;
    uint32_t channels;
    float *ports[AUDIO + 2 * MOST_CHANNELS];
} effect;

/* The lines of a file, cut in place; their number. */
static uint32_t read_queries(const char *bundle, char *text, size_t size, const char **queries) {
    const char *path = getenv("AUDIOSEP_QUERIES");
    char in_bundle[4096], *rest = text;
    uint32_t count = 0;
    snprintf(in_bundle, sizeof in_bundle, "%s/queries.txt", bundle);
    FILE *file = fopen(path && *path ? path : in_bundle, "r");
    if (!file) return 0;
    text[fread(text, 1, size - 1, file)] = 0;
    fclose(file);
    for (char *line; count < MOST_QUERIES && (line = strtok_r(rest, "\r\n", &rest));)
        queries[count++] = line;
    return count;
}

static LV2_Handle instantiate(const LV2_Descriptor *descriptor, double rate, const char *bundle,
                              const LV2_Feature *const *features) {
    const char *queries[MOST_QUERIES], *silence = getenv("AUDIOSEP_MISSING");
    char text[16384];
    (void)features;
    effect *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->channels = strstr(descriptor->URI, "mono") ? 1 : 2;
    audiosep_config config = audiosep_defaults((uint32_t)(rate + 0.5), e->channels);
    config.name = "LV2";
    config.address = getenv("AUDIOSEP_ADDRESS");
    config.model = getenv("AUDIOSEP_MODEL");
    config.queries = queries;
    config.query_count = read_queries(bundle, text, sizeof text, queries);
    config.contract = AUDIOSEP_CONTRACT_AUTO;
    config.silence = silence && !strcmp(silence, "silence");
    config.max_latency = LATENCY_SECONDS * config.sample_rate;
    e->client = audiosep_open(&config);
    if (e->client) return e;
    fprintf(stderr, "audiosep: cannot start; AUDIOSEP_QUERIES must name a text file with one query "
                    "a line, AUDIOSEP_ADDRESS a socket or tcp:PORT, where they are set\n");
    free(e);
    return NULL;
}

static void connect_port(LV2_Handle handle, uint32_t port, void *data) {
    effect *e = handle;
    if (port < AUDIO + 2 * e->channels) e->ports[port] = data;
}

static void activate(LV2_Handle handle) { audiosep_reset(((effect *)handle)->client); }

/* A control may be anything while a host draws its curve. */
static uint32_t whole(float value) {
    return value >= 0 && value < 1e6f ? (uint32_t)(value + 0.5f) : 0;
}

static void set_controls(effect *e) {
    float mix = fminf(fmaxf(*e->ports[MIX], 0), 1), dry = 1 - mix;
    int residual = *e->ports[OUTPUT] >= 0.5f;
    audiosep_select(e->client, whole(*e->ports[QUERY]));
    audiosep_set_strength(e->client, *e->ports[STRENGTH]);
    audiosep_set_levels(e->client, residual ? dry : 1, residual ? 1 : dry);
    audiosep_set_mode(e->client, (audiosep_mode)whole(*e->ports[MODE]));
    audiosep_set_contract(e->client, *e->ports[FREEWHEEL] >= 0.5f ? AUDIOSEP_CONTRACT_RENDER
                                                                  : AUDIOSEP_CONTRACT_AUTO);
}

static void run(LV2_Handle handle, uint32_t frames) {
    effect *e = handle;
    const float *const in[MOST_CHANNELS] = {e->ports[AUDIO], e->ports[AUDIO + 1]};
    float *const out[MOST_CHANNELS] = {e->ports[AUDIO + e->channels],
                                       e->ports[AUDIO + 2 * e->channels - 1]};
    set_controls(e);
    audiosep_process(e->client, in, out, frames);
    audiosep_stats stats = audiosep_statistics(e->client);
    *e->ports[LATENCY] = (float)stats.latency;
    *e->ports[CONNECTED] = (float)stats.connected;
    *e->ports[SUBSTITUTED] = (float)stats.substituted;
    *e->ports[DRY] = (float)stats.dry;
    *e->ports[FAILED] = (float)stats.failed;
    *e->ports[LATE] = (float)stats.late;
}

static void cleanup(LV2_Handle handle) {
    effect *e = handle;
    audiosep_close(e->client);
    free(e);
}

LV2_SYMBOL_EXPORT const LV2_Descriptor *lv2_descriptor(uint32_t index) {
    static const LV2_Descriptor effects[] = {
        {"urn:audiosep:lv2:mono", instantiate, connect_port, activate, run, NULL, cleanup, NULL},
        {"urn:audiosep:lv2:stereo", instantiate, connect_port, activate, run, NULL, cleanup, NULL},
    };
    return index < 2 ? effects + index : NULL;
}
