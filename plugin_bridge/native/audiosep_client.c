#define _POSIX_C_SOURCE 200809L
#define _DARWIN_C_SOURCE

#include "audiosep_client.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 2048,              /* most frames in one AUDIO frame, and in one piece of a block */
    FADE = 480,                /* frames over which a level moves */
    HEADER = 24,               /* bytes of a frame's header */
    CONTROL = 65536,           /* bytes of the largest control payload */
    SMALL = 128,               /* bytes of a CHANGE without queries */
    SLOT = CONTROL - 1024,     /* bytes of the JSON of a slot */
    QUERIES = 16,              /* of a slot */
    CHANNELS = 32,
    MODEL = 64,                /* bytes of a model's name, with its zero */
    ROWS = 2,                  /* target and residual */
    PLANNED = 4096,            /* changes of levels that wait for their frame */
    MOST_REPLAYS = 16,         /* of one piece, for a server that dies of it */
    SNAPSHOTS = 4,             /* that are kept, one for each 5 s of a render */
    SNAPSHOT_BYTES = 1 << 24,  /* of the largest that is */
    PAST = 256,                /* changes of settings that a replay can repeat */
    STREAM = 1                 /* number of the only stream of the connection */
};

#define LARGEST 1e6f           /* samples beyond this are broken */
#define SMALLEST 1e-20f        /* under this they are silence: below 1e-38 arithmetic is slow */
#define LOUDEST 1e3f           /* what a server gives beyond this is cut off: 60 dB over full scale */
#define SLACK_SECONDS 60u      /* most that a server grants */
#define LATENCY_SECONDS 120u
#define GREETING_SECONDS 5.0   /* for WELCOME */
#define PAST_SECONDS 30u       /* of the mixture that are kept for a replay, behind what is delayed */
#define OPENING_SECONDS 30.0   /* for OPENED: the server may have to load a model */
#define STALL_SECONDS 5.0      /* of silence, with answers due, after which a server is dead */
#define RACE_SECONDS 0.05      /* gained on the clock, by which a host renders */
#define PING_SECONDS 60.0
#define BACKOFF_SECONDS 0.02   /* before the first attempt to connect again; doubles up to */
#define BACKOFF_MOST 1.0

enum type {
    HELLO = 1, WELCOME, OPEN, OPENED, AUDIO, CHANGE, CHANGED, LATENCY, FLUSH, RESET, CLOSE, DONE,
    STATISTICS, REPORT, ERROR, PING, PONG, CHALLENGE = 19, PROOF, OPTIONAL = 128,
    SNAPSHOT = 128
};

#define NOWHERE UINT64_MAX

#define LOAD(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)

/* One unit, in the order in which the parts need each other. */
#ifdef _WIN32
#include "client/platform_windows.h"
#else
#include "client/platform_posix.h"
#endif
#include "client/rings.h"
#include "client/state.h"
#include "client/json.h"
#include "client/proof.h"
#include "client/outgoing.h"
#include "client/snapshots.h"
#include "client/sending.h"
#include "client/receiving.h"
#include "client/own_thread.h"
#include "client/playing.h"
#include "client/render.h"

void audiosep_process(audiosep_client *c, const float *const *in, float *const *out,
                      uint32_t frames) {
    for (uint32_t at = 0, piece; at < frames; at += piece) {
        piece = frames - at < BLOCK ? frames - at : BLOCK;
        process_piece(c, in, out, at, piece);
    }
}

void audiosep_reset(audiosep_client *c) { audiosep_locate(c, 0); }

void audiosep_locate(audiosep_client *c, uint64_t origin) {
    player *a = &c->audio;
    a->epoch++;
    a->origin = origin;
    a->plans = 0;
    a->reported = 0;
    a->start = a->position;
    a->moving = a->stepping = a->fading = 0;
    a->to[0] = a->asked[0] = load_float(&c->target);
    a->to[1] = a->asked[1] = load_float(&c->residual);
    a->wet = 0;
    STORE(c->abandoned, 0);
    memset(a->last, 0, sizeof a->last);
}

uint32_t audiosep_latency(const audiosep_client *c) { return LOAD(c->delay); }

void audiosep_select(audiosep_client *c, uint32_t slot) {
    if (slot < AUDIOSEP_SLOTS) STORE(c->slot, slot);
}

void audiosep_set_strength(audiosep_client *c, float strength) {
    if (strength > 0 && strength <= 10) store_float(&c->strength, strength);
}

void audiosep_set_contract(audiosep_client *c, audiosep_contract contract) {
    if (contract >= AUDIOSEP_CONTRACT_REALTIME && contract <= AUDIOSEP_CONTRACT_AUTO)
        STORE(c->contract, (uint32_t)contract);
}

void audiosep_set_levels(audiosep_client *c, float target, float residual) {
    if (!isfinite(target) || !isfinite(residual)) return;
    store_float(&c->target, target);
    store_float(&c->residual, residual);
}

void audiosep_set_mode(audiosep_client *c, audiosep_mode mode) {
    if (mode >= AUDIOSEP_MODE_RENDER && mode <= AUDIOSEP_MODE_LIVE)
        STORE(c->mode, (uint32_t)mode);
}

void audiosep_abandon(audiosep_client *c) { STORE(c->abandoned, 1); }

int audiosep_set_slot(audiosep_client *c, uint32_t slot, const audiosep_query *queries,
                      uint32_t count) {
    if (slot >= AUDIOSEP_SLOTS || !count || count > QUERIES) return -1;
    for (uint32_t at = 0; at < count; at++)
        if (!queries[at].text) return -1;
    slot_text *text = malloc(sizeof *text + SLOT);
    if (!text) return -1;
    text->users = 1;
    writer w = {text->json, SLOT, 0};
    for (uint32_t at = 0; at < count; at++) {
        put(&w, at ? "," : "[");
        put_query(&w, queries + at);
    }
    put(&w, "]");
    if (w.length >= w.size) {
        free(text);
        return -1;
    }
    slot_text *kept = realloc(text, sizeof *text + w.length + 1);
    mutex_take(&c->lock);
    slot_text *before = c->slots[slot];
    c->slots[slot] = kept ? kept : text;
    STORE(c->texts[slot], c->texts[slot] + 1);
    mutex_give(&c->lock);
    drop_text(c, before);
    return 0;
}

audiosep_stats audiosep_statistics(const audiosep_client *c) {
    audiosep_stats stats = {is_online(c),   LOAD(c->connections), LOAD(c->delay), LOAD(c->frames),
                            LOAD(c->substituted), LOAD(c->dry),   LOAD(c->failed), LOAD(c->late)};
    return stats;
}

void audiosep_error(audiosep_client *c, char *text, size_t size) {
    mutex_take(&c->lock);
    if (size) snprintf(text, size, "%s", c->error);
    mutex_give(&c->lock);
}

audiosep_config audiosep_defaults(uint32_t sample_rate, uint32_t channels) {
    audiosep_config config = {0};
    config.sample_rate = sample_rate;
    config.channels = channels;
    config.mode = AUDIOSEP_MODE_MIX;
    config.strength = 1;
    config.target = 1;
    config.slack = -1;
    config.open_timeout_ms = 2000;
    config.render_timeout_ms = 30000;
    return config;
}

static int possible(const audiosep_config *config) {
    return config->sample_rate >= 1000 && config->sample_rate <= 384000 && config->channels &&
           config->channels <= CHANNELS && config->queries && config->query_count &&
           config->query_count <= AUDIOSEP_SLOTS && config->slot < config->query_count &&
           config->mode <= AUDIOSEP_MODE_LIVE && config->contract <= AUDIOSEP_CONTRACT_AUTO &&
           (!config->model || strlen(config->model) < MODEL) && config->strength > 0 &&
           config->strength <= 10 && isfinite(config->target) &&
           isfinite(config->residual) &&
           config->slack <= (int32_t)(SLACK_SECONDS * config->sample_rate) &&
           config->max_latency <= LATENCY_SECONDS * config->sample_rate;
}

static int allocate(audiosep_client *c) {
    const audiosep_config *config = &c->config;
    uint32_t rate = config->sample_rate, channels = config->channels;
    uint32_t slack = config->slack >= 0 ? (uint32_t)config->slack : rate / 2;
    uint32_t latency = config->max_latency ? config->max_latency
                       : config->mode == AUDIOSEP_MODE_RENDER ? 30 * rate
                                                               : 3 * rate;
    uint32_t past = latency > PAST_SECONDS * rate ? latency : PAST_SECONDS * rate;
    player *a = &c->audio;
    connection *l = &c->link;
    size_t piece = sizeof(float) * (size_t)channels * BLOCK;
    /* Behind what is delayed that which the masks depend on: a stream that is lost in a render is
     * given both anew. */
    c->most_latency = latency;
    c->line_frames = latency + past + BLOCK;
    /* The answers that are early by the slack and then some; headers of small blocks besides. */
    c->room = slack + rate / 4;
    l->in_size = 2 * (CONTROL + HEADER + ROWS * piece);
    l->out_size = 2 * (CONTROL + 2 * SMALL + 6 * (HEADER + piece));
    a->line = memory(sizeof(float) * (size_t)channels * c->line_frames);
    a->block = memory(piece);
    a->planned = memory(PLANNED * sizeof *a->planned);
    a->past = memory(PAST * sizeof *a->past);
    a->dry = memory(piece);
    a->rows = memory(ROWS * piece);
    a->have = memory(BLOCK);
    l->staged = memory(piece);
    l->in = memory(l->in_size + 2);
    l->out = memory(l->out_size);
    return !a->line || !a->block || !a->planned || !a->past || !a->dry || !a->rows || !a->have || !l->staged || !l->in ||
           !l->out || ring_open(&c->blocks, (double)channels * rate / 2 + 65536) ||
           ring_open(&c->answers, ROWS * (double)channels * (c->room + 2 * BLOCK) + 65536);
}

static void release(audiosep_client *c) {
    player *a = &c->audio;
    connection *l = &c->link;
    void *all[] = {a->planned, a->past, a->line, a->block, a->dry,  a->rows,         a->have,
                   l->in,   l->out,   l->staged, c->blocks.words, c->answers.words};
    for (size_t at = 0; at < sizeof all / sizeof *all; at++) free(all[at]);
    forget_changes(c);
    forget_snapshots(c);
    drop_text(c, l->confirmed);
    for (size_t at = 0; at < AUDIOSEP_SLOTS; at++) drop_text(c, c->slots[at]);
    mutex_close(&c->lock);
    waker_close(&c->wake);
    free(c);
}

static int fill_slots(audiosep_client *c, const audiosep_config *config) {
    for (uint32_t slot = 0; slot < config->query_count; slot++) {
        audiosep_query query = {config->queries[slot], 0, 0, 0, 0};
        if (audiosep_set_slot(c, slot, &query, 1)) return -1;
    }
    return 0;
}

audiosep_client *audiosep_open(const audiosep_config *config) {
    audiosep_client *c = possible(config) ? calloc(1, sizeof *c) : NULL;
    if (!c || waker_open(&c->wake)) {
        free(c);
        return NULL;
    }
    mutex_open(&c->lock);
    c->config = *config;
    snprintf(c->name, sizeof c->name, "%s", config->name ? config->name : "audiosep_client.c");
    snprintf(c->model, sizeof c->model, "%s", config->model ? config->model : "");
    c->slot = config->slot;
    c->mode = config->mode;
    c->contract = config->contract;
    c->strength = config->strength;
    c->target = config->target;
    c->residual = config->residual;
    c->delay = c->audio.delay = config->latency;
    c->link.delay_mode = config->mode;
    c->audio.gave_up = UINT64_MAX;
    c->resume = NOWHERE;
    if (allocate(c) || config->latency > c->most_latency ||
        address_parse(&c->address, config->address) || fill_slots(c, config) ||
        thread_start(&c->thread, run, c)) {
        release(c);
        return NULL;
    }
    audiosep_reset(c);
    double until = now() + 1e-3 * config->open_timeout_ms;
    while (!LOAD(c->attempts) && now() < until) pause_for(1e-3);
    return c;
}

void audiosep_close(audiosep_client *c) {
    STORE(c->stop, 1);
    waker_wake(&c->wake);
    thread_join(c->thread);
    release(c);
}
