/* Client of AudioSep's bridge for plug-ins: text-queried separation from an audio thread.
 *
 * One header, one unit (audiosep_client.c with the folder client), C99 with GCC's or Clang's
 * __atomic builtins, POSIX sockets and threads. The protocol is that of plugin_bridge/PROTOCOL.md. "Server" is `audiosep serve`.
 *
 * A client has one thread of its own, which does all that may wait: it connects, sends, receives
 * and connects again. Frames pass between it and the audio thread through two wait-free rings of
 * fixed size. Nobody wakes the thread in the realtime contract (that would be a system call): it
 * looks for blocks every 1 to 10 ms, which the slack covers.
 *
 * Who may call what:
 *   audio thread    audiosep_process, audiosep_reset, audiosep_locate
 *   any thread      audiosep_select, audiosep_set_strength, audiosep_set_levels,
 *                   audiosep_set_contract, audiosep_set_mode, audiosep_abandon,
 *                   audiosep_latency, audiosep_statistics
 *   others only     audiosep_open, audiosep_set_slot, audiosep_error, audiosep_close
 * The first two rows never allocate, lock or enter the kernel, with one exception:
 * audiosep_process in the render contract, or in auto while the host renders, waits for the server.
 */
#ifndef AUDIOSEP_CLIENT_H
#define AUDIOSEP_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Selections that a client holds ready by number. */
#define AUDIOSEP_SLOTS 128

/* TCP port in place of the default socket on Windows: audiosep serve --tcp 27367. */
#define AUDIOSEP_PORT 27367

typedef struct audiosep_client audiosep_client;

typedef enum {
    AUDIOSEP_MODE_RENDER, /* the quality of a file separated as a whole */
    AUDIOSEP_MODE_MIX,    /* at most 1.5 s of latency */
    AUDIOSEP_MODE_TRACK,  /* at most 16,383 frames at 48 kHz */
    AUDIOSEP_MODE_LIVE    /* to be played through: at most 35 ms with the server's slack */
} audiosep_mode;

typedef enum {
    AUDIOSEP_CONTRACT_REALTIME, /* where the answer is late, the delayed mixture stands in */
    AUDIOSEP_CONTRACT_RENDER,   /* audiosep_process waits for the answer */
    AUDIOSEP_CONTRACT_AUTO      /* render while the host takes blocks faster than they last */
} audiosep_contract;

/* One part of a selection; fields as in PROTOCOL.md, section 4. */
typedef struct {
    const char *text; /* UTF-8 */
    double gain_db;
    int mute, solo, negative;
} audiosep_query;

/* Start from audiosep_defaults(); what it points to is copied. */
typedef struct {
    const char *address;        /* path of a socket, "tcp:PORT", or NULL for the default socket */
    const char *name;           /* of the plug-in, for the server's statistics */
    const char *model;          /* of the server, under 64 bytes; NULL leaves it to the server */
    uint32_t sample_rate;       /* Hz, 1,000 to 384,000 */
    uint32_t channels;          /* 1 to 32 */
    audiosep_mode mode;         /* mix */
    audiosep_contract contract; /* realtime */
    int silence;                /* in a render, play silence where an answer is missing, instead of
                                   the mixture: 0 */
    const char *const *queries; /* slot i separates the text queries[i] */
    uint32_t query_count;       /* 1 to AUDIOSEP_SLOTS */
    uint32_t slot;              /* selected at first: 0 */
    float strength;             /* exponent of the masks, over 0, up to 10: 1 */
    float target, residual;     /* levels: 1 and 0 */
    int32_t slack;              /* frames that the server may take, 10 ms at least; -1 leaves it to
                                   the server */
    uint32_t latency;           /* frames to be late while no server has told: 0, or that of the
                                   saved project, which then opens without a change of latency */
    uint32_t max_latency;       /* frames to have room for; a stream with more is refused. 0 is
                                   30 s for the mode render, 3 s for the others */
    uint32_t open_timeout_ms;   /* longest wait of audiosep_open for a server that is there: 2000 */
    uint32_t render_timeout_ms; /* longest wait of audiosep_process without progress: 30000 */
} audiosep_config;

typedef struct {
    int connected;        /* whether a stream of the wanted mode is open */
    uint32_t connections; /* streams opened so far */
    uint32_t latency;     /* as audiosep_latency() */
    uint64_t frames;      /* taken in so far */
    uint64_t substituted; /* frames played that the server made with masks that stood in */
    uint64_t dry;         /* frames for which the delayed mixture stood in here */
    uint64_t failed;      /* those of them that fell under the render contract */
    uint64_t late;        /* frames whose answer came when they had been played */
} audiosep_stats;

audiosep_config audiosep_defaults(uint32_t sample_rate, uint32_t channels);

/* Start a client. It waits until the stream is open, so that the latency is known; not where
 * nobody listens or the server refuses, and never longer than open_timeout_ms. A client that is
 * not connected lets the mixture through, `config.latency` frames late, and keeps trying: the
 * latency changes when it gets through, and stays when it is cut off later.
 * Returns NULL for an impossible configuration, and where memory or threads are short. */
audiosep_client *audiosep_open(const audiosep_config *config);

/* Stop the thread and free everything, at once. Nothing else may be running on the client. */
void audiosep_close(audiosep_client *client);

/* Take `frames` frames of the mixture, any number of them, and give as many, audiosep_latency()
 * frames late: target and residual at their levels. in[channel] and out[channel] may be the same.
 *
 * Frames whose answer is missing are the mixture, as late, at the larger of both levels; the step
 * at the loss decays, and the answer is faded in again, over 480 frames each. Samples that are
 * not finite, beyond 1e6 or under 1e-20 count as silence. */
void audiosep_process(audiosep_client *client, const float *const *in, float *const *out,
                      uint32_t frames);

/* Forget all sound: for a jump of the transport. A recording's end needs no call: give
 * audiosep_latency() frames of silence. */
void audiosep_reset(audiosep_client *client);

/* The same, where the host tells where it goes: `origin` is the next frame on its time line. The
 * same passage then gives the same sound wherever the transport started before it. */
void audiosep_locate(audiosep_client *client, uint64_t origin);

/* Frames from input to output: those of the model and of the slack together. Look at it after
 * each block, and tell the host when it has changed. */
uint32_t audiosep_latency(const audiosep_client *client);

/* These hold from the first frame of the next audiosep_process() on, and are heard with it,
 * audiosep_latency() frames later. An impossible value is ignored. */
void audiosep_select(audiosep_client *client, uint32_t slot);
void audiosep_set_strength(audiosep_client *client, float strength);
void audiosep_set_contract(audiosep_client *client, audiosep_contract contract);
/* Levels move to their new value within 480 frames. */
void audiosep_set_levels(audiosep_client *client, float target, float residual);
/* Opens a new stream; the latency changes when it is there. */
void audiosep_set_mode(audiosep_client *client, audiosep_mode mode);

/* Leave a render: a wait of audiosep_process ends at once, and it waits no more until
 * audiosep_reset, audiosep_locate, or a block in real time. Frames without an answer are as if no
 * server were there, and count as failed. For a host whose user breaks off an export. */
void audiosep_abandon(audiosep_client *client);

/* What a slot separates. Returns 0, or -1 for a slot or a number of queries (1 to 16) that is
 * impossible, or too much text; the server judges the text itself: audiosep_error(). */
int audiosep_set_slot(audiosep_client *client, uint32_t slot, const audiosep_query *queries,
                      uint32_t count);

audiosep_stats audiosep_statistics(const audiosep_client *client);

/* Copy the last error, a sentence for people, zero-terminated; empty if there was none. */
void audiosep_error(audiosep_client *client, char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
