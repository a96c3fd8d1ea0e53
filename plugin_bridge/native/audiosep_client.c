#define _POSIX_C_SOURCE 200809L
#define _DARWIN_C_SOURCE

#include "audiosep_client.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK = 2048,              /* most frames in one AUDIO frame, and in one piece of a block */
    FADE = 480,                /* frames over which a level moves */
    HEADER = 24,               /* bytes of a frame's header */
    CONTROL = 65536,           /* bytes of the largest control payload */
    SLOT = CONTROL - 1024,     /* bytes of the JSON of a slot */
    QUERIES = 16,              /* of a slot */
    CHANNELS = 32,
    ROWS = 2,                  /* target and residual */
    STREAM = 1                 /* number of the only stream of the connection */
};

#define LARGEST 1e6f           /* samples beyond this are broken */
#define SMALLEST 1e-20f        /* under this they are silence: below 1e-38 arithmetic is slow */
#define SLACK_SECONDS 60u      /* most that a server grants */
#define LATENCY_SECONDS 120u
#define GREETING_SECONDS 5.0   /* for WELCOME */
#define OPENING_SECONDS 30.0   /* for OPENED: the server may have to load a model */
#define STALL_SECONDS 5.0      /* of silence, with answers due, after which a server is dead */
#define PING_SECONDS 60.0
#define BACKOFF_SECONDS 0.02   /* before the first attempt to connect again; doubles up to */
#define BACKOFF_MOST 1.0

enum type {
    HELLO = 1, WELCOME, OPEN, OPENED, AUDIO, CHANGE, CHANGED, LATENCY, FLUSH, RESET, CLOSE, DONE,
    STATISTICS, REPORT, ERROR, PING, PONG, OPTIONAL = 128
};

#define LOAD(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)

/* ---- Platform: the only part that knows sockets, pipes and clocks ------------------------- */

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

typedef struct {
    int port; /* TCP; 0 for a Unix-domain socket */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char token[512]; /* path of the file with the token */
} address;

static int folder(char *text, size_t size) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int length = runtime && *runtime
                     ? snprintf(text, size, "%s/audiosep", runtime)
                     : snprintf(text, size, "/tmp/audiosep-%lu", (unsigned long)getuid());
    return length > 0 && (size_t)length < size ? 0 : -1;
}

static int address_parse(address *to, const char *text) {
    char where[480], *end;
    int length;
    memset(to, 0, sizeof *to);
    if (text && !strncmp(text, "tcp:", 4)) {
        long port = strtol(text + 4, &end, 10);
        if (*end || port < 1 || port > 65535 || folder(where, sizeof where)) return -1;
        to->port = (int)port;
        length = snprintf(to->token, sizeof to->token, "%s/bridge-%ld.token", where, port);
        return length > 0 && (size_t)length < sizeof to->token ? 0 : -1;
    }
    if (text && *text) {
        length = snprintf(to->path, sizeof to->path, "%s", text);
    } else {
        if (folder(where, sizeof where)) return -1;
        length = snprintf(to->path, sizeof to->path, "%s/bridge.sock", where);
    }
    return length > 0 && (size_t)length < sizeof to->path ? 0 : -1;
}

/* The token of the server on this machine; empty where there is none. */
static void address_token(const address *from, char *token, size_t size) {
    int file = from->port ? open(from->token, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t length = file < 0 ? 0 : read(file, token, size - 1);
    if (file >= 0) close(file);
    token[length < 0 ? 0 : length] = 0;
    token[strspn(token, "0123456789abcdefABCDEF")] = 0;
}

static void set_options(int fd) {
    int one = 1;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
#ifdef SO_NOSIGPIPE
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one);
#endif
}

/* Whether a path is this user's or the system's, and nobody else's. */
static int owned(const char *path) {
    struct stat status;
    errno = 0;
    return !lstat(path, &status) && (status.st_uid == getuid() || status.st_uid == 0);
}

/* Whether only this user or the system can have put a socket there, and nobody can swap it. */
static int socket_trusted(const char *path) {
    char parent[sizeof(((address *)0)->path)];
    char *slash;
    memcpy(parent, path, sizeof parent);
    slash = strrchr(parent, '/');
    if (slash) slash[slash == parent] = 0;
    return owned(slash ? parent : ".") && owned(path);
}

/* A connection, perhaps not yet made: sending waits until it is. */
static int net_connect(const address *to) {
    struct sockaddr_un local = {0};
    struct sockaddr_in loopback = {0};
    const struct sockaddr *name = (const struct sockaddr *)&local;
    socklen_t size = sizeof local;
    int fd;
    if (!to->port && !socket_trusted(to->path)) {
        if (errno != ENOENT) errno = EACCES;
        return -1;
    }
    fd = socket(to->port ? AF_INET : AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return -1;
    set_options(fd);
    if (to->port) {
        loopback.sin_family = AF_INET;
        loopback.sin_port = htons((uint16_t)to->port);
        loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        name = (const struct sockaddr *)&loopback;
        size = sizeof loopback;
    } else {
        local.sun_family = AF_UNIX;
        memcpy(local.sun_path, to->path, sizeof local.sun_path);
    }
    if (connect(fd, name, size) && errno != EINPROGRESS) {
        int cause = errno;
        close(fd);
        errno = cause;
        return -1;
    }
    return fd;
}

/* Bytes sent or received; 0 if there is nothing to be done now; -1 for the end. */
static long net_result(ssize_t count) {
    if (count > 0) return (long)count;
    if (count == 0) return -1;
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ENOTCONN ? 0 : -1;
}

static long net_send(int fd, const uint8_t *data, size_t size) {
    return net_result(send(fd, data, size, MSG_NOSIGNAL));
}

static long net_receive(int fd, uint8_t *data, size_t size) {
    return net_result(recv(fd, data, size, 0));
}

/* Wait until the connection can do what is asked of it, or somebody wakes the thread. */
static void net_wait(int fd, int receives, int sends, int woken, double seconds) {
    struct pollfd on[2] = {{woken, POLLIN, 0}, {fd, 0, 0}};
    char rest[64];
    on[1].events = (short)((receives ? POLLIN : 0) | (sends ? POLLOUT : 0));
    poll(on, fd >= 0 && on[1].events ? 2 : 1, (int)(seconds * 1e3 + 0.5));
    while (read(woken, rest, sizeof rest) == (ssize_t)sizeof rest) {
    }
}

static int waker_open(int ends[2]) {
    if (pipe(ends)) return -1;
    set_options(ends[0]);
    set_options(ends[1]);
    return 0;
}

static void waker_wake(const int ends[2]) {
    ssize_t written = write(ends[1], "", 1); /* a full pipe wakes as well */
    (void)written;
}

static void waker_close(const int ends[2]) {
    close(ends[0]);
    close(ends[1]);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void pause_for(double seconds) {
    struct timespec time = {0, (long)(seconds * 1e9)};
    nanosleep(&time, NULL);
}

/* Memory whose pages are there already: the audio thread must not fault them in. */
static void *memory(size_t size) {
    volatile char *data = calloc(1, size);
    for (size_t at = 0; data && at < size; at += 4096) data[at] = 0;
    return (void *)data;
}

/* ---- Rings of 32-bit words, with one producer and one consumer ---------------------------- */

typedef struct {
    uint32_t *words, size; /* a power of two */
    uint32_t head;         /* words ever written; the producer's */
    char apart[64];        /* so that the threads do not write to one line of the cache */
    uint32_t tail;         /* words ever read; the consumer's */
} ring;

static int ring_open(ring *r, double words) {
    r->size = 1024;
    while (r->size < words && r->size < 1u << 30) r->size *= 2;
    r->words = memory(sizeof(uint32_t) * (size_t)r->size);
    return r->words ? 0 : -1;
}

static uint32_t ring_room(const ring *r) { return r->size - (r->head - LOAD(r->tail)); }

static uint32_t ring_filled(const ring *r) { return LOAD(r->head) - r->tail; }

/* Words behind `at` that lie in one piece, at most `count`. */
static uint32_t ring_run(const ring *r, uint32_t at, uint32_t count) {
    uint32_t run = r->size - (at & (r->size - 1));
    return run < count ? run : count;
}

static void ring_write(ring *r, uint32_t at, const void *from, uint32_t count) {
    uint32_t run = ring_run(r, at, count);
    memcpy(r->words + (at & (r->size - 1)), from, 4 * (size_t)run);
    memcpy(r->words, (const char *)from + 4 * (size_t)run, 4 * (size_t)(count - run));
}

static void ring_read(const ring *r, uint32_t at, void *to, uint32_t count) {
    uint32_t run = ring_run(r, at, count);
    memcpy(to, r->words + (at & (r->size - 1)), 4 * (size_t)run);
    memcpy((char *)to + 4 * (size_t)run, r->words, 4 * (size_t)(count - run));
}

/* ---- What passes through them: a header, then channels (rows and channels) of samples ------ */

typedef struct {
    uint32_t slot, texts, contract; /* texts counts the changes of the slot */
    float strength;
} settings;

typedef struct {
    uint64_t position; /* of the first frame, counted over the client's whole life */
    uint32_t frames, epoch;
    settings with; /* from this frame on */
} block_header;

typedef struct {
    int64_t position; /* frame of the mixture that the first one belongs to */
    uint32_t frames, substituted;
} answer_header;

#define WORDS(type) ((uint32_t)(sizeof(type) / 4))

/* ---- The client --------------------------------------------------------------------------- */

enum stage { GREETING, OPENING, STREAMING };

/* The connection; the client's own thread's. */
typedef struct {
    int fd;
    enum stage stage;
    audiosep_mode mode, delay_mode; /* of the stream; that client.delay was made for */
    double deadline, sent_at, received_at;
    uint64_t sequence;
    uint8_t *in, *out;
    size_t in_size, in_filled, out_size, out_begin, out_end;
    uint64_t in_skip;              /* bytes of an optional frame that is too large to be kept */
    int stalled;                   /* an answer waits for room in the ring */
    int based;                     /* base and epoch are those of the stream */
    uint64_t base, sent, received; /* first frame sent; frames sent and received since */
    uint32_t epoch, resets;        /* RESETs whose DONE is due: answers until then are stale */
    settings with;
    uint32_t latency;
    float *staged; /* channels of BLOCK frames */
    uint32_t staging;
    double look, slack; /* seconds: between looks for blocks; that the server may take */
} connection;

/* The audio thread's. */
typedef struct {
    uint64_t position, start; /* frames taken in, ever and before the last reset */
    uint64_t lost;            /* answers to frames before this one need not be waited for */
    uint32_t epoch;           /* counts resets */
    uint32_t streams;         /* connections, as last seen */
    uint64_t gave_up;         /* progress at which waiting was given up */
    uint32_t delay;           /* that the last piece was played at */
    float from[ROWS], to[ROWS];
    uint32_t moving;          /* frames in which levels get from there to there */
    uint32_t fading;          /* frames in which the answer is faded in */
    uint32_t stepping;        /* frames in which the step at a loss decays */
    int wet;                  /* whether the last frame had an answer */
    float last[CHANNELS], step[CHANNELS];
    float *line;              /* the mixture of the last line_frames frames */
    float *block, *dry, *rows; /* a piece: as it came, delayed, and its answer */
    uint8_t *have;            /* of each frame: 0 no answer, 1 one, 2 a substituted one */
} player;

struct audiosep_client {
    audiosep_config config;
    address address;
    char name[64];
    uint32_t line_frames, room; /* of the delay line; of the answers */
    ring blocks, answers;
    /* Anybody writes, the audio thread reads. */
    uint32_t slot, texts[AUDIOSEP_SLOTS], contract, mode;
    float strength, target, residual;
    /* The client's own thread writes, others read. */
    uint32_t delay, online; /* online: 0, or 1 + mode of the open stream */
    uint32_t connections, attempts;
    int64_t answered;  /* frame of the mixture behind the last answer in the ring */
    uint64_t progress; /* counts answers and streams */
    /* The audio thread writes, others read. */
    uint64_t frames, substituted, dry, failed;

    player audio;
    connection link;
    pthread_t thread;
    int wake[2], stop;
    pthread_mutex_t lock; /* over what follows; never taken by the audio thread */
    char *slots[AUDIOSEP_SLOTS];
    char error[256];
};

static float load_float(const float *place) {
    float value;
    __atomic_load(place, &value, __ATOMIC_ACQUIRE);
    return value;
}

static void store_float(float *place, float value) {
    __atomic_store(place, &value, __ATOMIC_RELEASE);
}

/* ---- JSON: as much of it as the protocol needs -------------------------------------------- */

typedef struct {
    char *text;
    size_t size, length; /* length runs on past size: then the text does not fit */
} writer;

static void put(writer *w, const char *text) {
    for (; *text; text++, w->length++)
        if (w->length + 1 < w->size) w->text[w->length] = *text;
    if (w->size) w->text[w->length < w->size ? w->length : w->size - 1] = 0;
}

/* Without printf's %f, which writes a comma in some locales. */
static void put_number(writer *w, double value) {
    char text[48];
    double size = fabs(value) < 1e9 ? fabs(value) : 1e9;
    uint64_t whole = (uint64_t)(size * 1e9 + 0.5);
    snprintf(text, sizeof text, "%s%llu.%09llu", value < 0 ? "-" : "",
             (unsigned long long)(whole / 1000000000), (unsigned long long)(whole % 1000000000));
    put(w, text);
}

static void put_integer(writer *w, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    put(w, text);
}

static void put_string(writer *w, const char *text) {
    char escaped[8];
    put(w, "\"");
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20 || byte == '"' || byte == '\\')
            snprintf(escaped, sizeof escaped, "\\u%04x", byte);
        else
            snprintf(escaped, sizeof escaped, "%c", byte);
        put(w, escaped);
    }
    put(w, "\"");
}

static void put_query(writer *w, const audiosep_query *query) {
    put(w, "{\"text\":");
    put_string(w, query->text);
    if (query->gain_db != 0) {
        put(w, ",\"gain_db\":");
        put_number(w, query->gain_db);
    }
    if (query->mute) put(w, ",\"mute\":true");
    if (query->solo) put(w, ",\"solo\":true");
    if (query->negative) put(w, ",\"negative\":true");
    put(w, "}");
}

/* The value of a field of the outermost object, or NULL; `end` is behind the payload. */
static const char *json_field(const char *at, const char *end, const char *name) {
    size_t length = strlen(name);
    int depth = 0;
    while (at < end) {
        char byte = *at++;
        if (byte == '{' || byte == '[') depth++;
        if (byte == '}' || byte == ']') depth--;
        if (byte != '"') continue;
        const char *text = at;
        while (at < end && *at != '"') at += *at == '\\' ? 2 : 1;
        if (at >= end) return NULL;
        size_t size = (size_t)(at++ - text);
        while (at < end && strchr(" \t\r\n", *at) && *at) at++;
        if (depth != 1 || at >= end || *at != ':') continue;
        at++;
        while (at < end && strchr(" \t\r\n", *at) && *at) at++;
        if (size == length && !memcmp(text, name, length)) return at < end ? at : NULL;
    }
    return NULL;
}

/* A whole number under 2^31, or -1. */
static int64_t json_integer(const char *at, const char *end, const char *name) {
    int64_t value = 0;
    at = json_field(at, end, name);
    if (!at || *at < '0' || *at > '9') return -1;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        if ((value = 10 * value + (*at - '0')) > INT32_MAX) return -1;
    return at < end && strchr(",} \t\r\n", *at) && *at ? value : -1;
}

static int json_true(const char *at, const char *end, const char *name) {
    at = json_field(at, end, name);
    return at && end - at >= 4 && !memcmp(at, "true", 4);
}

/* A string; its escapes stay as they are. */
static void json_string(const char *at, const char *end, const char *name, char *to, size_t size) {
    size_t length = 0;
    at = json_field(at, end, name);
    if (at && *at == '"')
        for (at++; at < end && *at != '"' && length + 1 < size; at++) {
            to[length++] = *at;
            if (*at == '\\' && at + 1 < end && length + 1 < size) to[length++] = *++at;
        }
    to[length] = 0;
}

/* ---- Sending ------------------------------------------------------------------------------ */

static void put_le(uint8_t *to, uint64_t value, int bytes) {
    for (int at = 0; at < bytes; at++) to[at] = (uint8_t)(value >> (8 * at));
}

static uint64_t get_le(const uint8_t *from, int bytes) {
    uint64_t value = 0;
    for (int at = 0; at < bytes; at++) value |= (uint64_t)from[at] << (8 * at);
    return value;
}

static size_t out_room(connection *l) {
    if (l->out_begin == l->out_end) l->out_begin = l->out_end = 0;
    return l->out_size - l->out_end;
}

/* Room for a payload at the end of what is to be sent; commit() then sends it. */
static uint8_t *payload(connection *l) { return l->out + l->out_end + HEADER; }

static void commit(connection *l, enum type type, uint32_t stream, size_t length) {
    uint8_t *header = l->out + l->out_end;
    memcpy(header, "ASEP", 4);
    header[4] = 1;
    header[5] = (uint8_t)type;
    put_le(header + 6, 0, 2);
    put_le(header + 8, stream, 4);
    put_le(header + 12, length, 4);
    put_le(header + 16, l->sequence++, 8);
    l->out_end += HEADER + length;
}

static void commit_json(connection *l, enum type type, uint32_t stream, const writer *w) {
    commit(l, type, stream, w->length < w->size ? w->length : w->size - 1);
}

static writer json(connection *l) {
    writer w = {(char *)payload(l), CONTROL, 0};
    return w;
}

static void put_slot(audiosep_client *c, writer *w, uint32_t slot) {
    pthread_mutex_lock(&c->lock);
    put(w, "\"queries\":");
    put(w, c->slots[slot] ? c->slots[slot] : "[]");
    pthread_mutex_unlock(&c->lock);
}

static void put_strength(writer *w, float strength) {
    put(w, ",\"strength\":");
    put_number(w, (double)strength);
}

static void put_contract(writer *w, uint32_t contract) {
    put(w, contract == AUDIOSEP_CONTRACT_RENDER ? ",\"contract\":\"render\""
                                                : ",\"contract\":\"realtime\"");
}

static void say_hello(audiosep_client *c) {
    char token[128];
    writer w = json(&c->link);
    address_token(&c->address, token, sizeof token);
    put(&w, "{\"versions\":[1],\"client\":");
    put_string(&w, c->name);
    put(&w, ",\"token\":");
    put_string(&w, token);
    put(&w, "}");
    commit_json(&c->link, HELLO, 0, &w);
}

static settings wanted(const audiosep_client *c) {
    settings with = {LOAD(c->slot), 0, LOAD(c->contract), load_float(&c->strength)};
    with.texts = LOAD(c->texts[with.slot]);
    return with;
}

static void ask_for_stream(audiosep_client *c) {
    static const char *const modes[] = {"render", "mix", "track"};
    connection *l = &c->link;
    writer w = json(l);
    l->with = wanted(c);
    l->mode = (audiosep_mode)LOAD(c->mode);
    put(&w, "{\"sample_rate\":");
    put_integer(&w, c->config.sample_rate);
    put(&w, ",\"channels\":");
    put_integer(&w, c->config.channels);
    put(&w, ",\"max_block\":");
    put_integer(&w, BLOCK);
    put(&w, ",\"outputs\":\"target+residual\",\"mode\":");
    put_string(&w, modes[l->mode]);
    if (c->config.slack >= 0) {
        put(&w, ",\"slack\":");
        put_integer(&w, (uint64_t)c->config.slack);
    }
    put(&w, ",");
    put_slot(c, &w, l->with.slot);
    put_strength(&w, l->with.strength);
    put_contract(&w, l->with.contract);
    put(&w, "}");
    commit_json(l, OPEN, STREAM, &w);
}

static void send_staged(audiosep_client *c) {
    connection *l = &c->link;
    uint8_t *to = payload(l);
    if (!l->staging) return;
    for (uint32_t channel = 0; channel < c->config.channels; channel++)
        for (uint32_t at = 0; at < l->staging; at++, to += 4) {
            uint32_t bits;
            memcpy(&bits, l->staged + (size_t)channel * BLOCK + at, 4);
            put_le(to, bits, 4);
        }
    commit(l, AUDIO, STREAM, 4 * (size_t)c->config.channels * l->staging);
    l->sent += l->staging;
    l->staging = 0;
}

static void send_change(audiosep_client *c, const block_header *block) {
    connection *l = &c->link;
    const settings *old = &l->with, *new = &block->with;
    int queries = old->slot != new->slot || old->texts != new->texts;
    if (!queries && old->contract == new->contract && !(old->strength != new->strength)) return;
    send_staged(c);
    writer w = json(l);
    put(&w, "{\"position\":");
    put_integer(&w, block->position - l->base);
    if (queries) {
        put(&w, ",");
        put_slot(c, &w, new->slot);
    }
    if (old->strength != new->strength) put_strength(&w, new->strength);
    if (old->contract != new->contract) put_contract(&w, new->contract);
    put(&w, "}");
    commit_json(l, CHANGE, STREAM, &w);
    l->with = *new;
}

/* The stream begins anew where the host asked for it, and where blocks were lost. */
static void follow(audiosep_client *c, const block_header *block) {
    connection *l = &c->link;
    if (l->based && l->epoch == block->epoch &&
        block->position == l->base + l->sent + l->staging)
        return;
    if (l->based) {
        send_staged(c);
        commit(l, RESET, STREAM, 0);
        l->resets++;
    }
    l->based = 1;
    l->epoch = block->epoch;
    l->base = block->position;
    l->sent = l->received = 0;
}

/* Blocks from the ring to what is to be sent; those of many frames as they are, small ones
 * together. */
static void take_blocks(audiosep_client *c) {
    connection *l = &c->link;
    ring *r = &c->blocks;
    uint32_t channels = c->config.channels;
    size_t most = CONTROL + 4 * (HEADER + 4 * (size_t)channels * BLOCK);
    while (ring_filled(r) && out_room(l) >= most) {
        block_header block;
        ring_read(r, r->tail, &block, WORDS(block_header));
        follow(c, &block);
        send_change(c, &block);
        if (l->staging + block.frames > BLOCK) send_staged(c);
        for (uint32_t channel = 0; channel < channels; channel++)
            ring_read(r, r->tail + WORDS(block_header) + channel * block.frames,
                      l->staged + (size_t)channel * BLOCK + l->staging, block.frames);
        l->staging += block.frames;
        STORE(r->tail, r->tail + WORDS(block_header) + channels * block.frames);
    }
    send_staged(c);
}

/* ---- Receiving ---------------------------------------------------------------------------- */

enum outcome { FINE, LATER, BROKEN };

static enum outcome broken(audiosep_client *c, const char *why) {
    pthread_mutex_lock(&c->lock);
    snprintf(c->error, sizeof c->error, "%s", why);
    pthread_mutex_unlock(&c->lock);
    return BROKEN;
}

static float sample(const uint8_t *from) {
    uint32_t bits = (uint32_t)get_le(from, 4);
    float value;
    memcpy(&value, &bits, 4);
    return isfinite(value) ? value : 0;
}

static enum outcome keep_answer(audiosep_client *c, const uint8_t *data, size_t length,
                                uint32_t substituted) {
    connection *l = &c->link;
    ring *r = &c->answers;
    uint32_t signals = ROWS * c->config.channels;
    uint32_t frames = (uint32_t)(length / (4 * signals));
    if (l->stage != STREAMING || length % (4 * signals) || !frames || frames > BLOCK)
        return broken(c, "the server sent audio that was not asked for");
    if (l->resets) return FINE;
    if (l->received + frames > l->sent)
        return broken(c, "the server sent more audio than it was given");
    /* What the stream puts before its first frame belongs to no mixture. */
    uint64_t lead = l->received < l->latency ? l->latency - l->received : 0;
    uint32_t skip = lead < frames ? (uint32_t)lead : frames;
    answer_header answer = {
        (int64_t)(l->base + l->received + skip) - (int64_t)l->latency, frames - skip, substituted};
    if (answer.frames) {
        uint32_t at = r->head + WORDS(answer_header);
        if (ring_room(r) < WORDS(answer_header) + signals * answer.frames) return LATER;
        ring_write(r, r->head, &answer, WORDS(answer_header));
        for (uint32_t signal = 0; signal < signals; signal++)
            for (uint32_t frame = skip; frame < frames; frame++, at++) {
                float value = sample(data + 4 * ((size_t)signal * frames + frame));
                memcpy(r->words + (at & (r->size - 1)), &value, 4);
            }
        STORE(r->head, at);
        STORE(c->answered, answer.position + (int64_t)answer.frames);
    }
    l->received += frames;
    STORE(c->progress, c->progress + 1);
    return FINE;
}

static enum outcome begin_stream(audiosep_client *c, const char *text, const char *end) {
    connection *l = &c->link;
    int64_t latency = json_integer(text, end, "latency");
    int64_t slack = json_integer(text, end, "slack");
    if (l->stage != OPENING || latency < 0 || slack < 0 ||
        json_integer(text, end, "rows") != ROWS)
        return broken(c, "the server opened a stream that was not asked for");
    if (slack > c->room) slack = c->room;
    if (latency + slack > c->line_frames - BLOCK)
        return broken(c, "the stream has more latency than this client was given room for");
    l->latency = (uint32_t)latency;
    l->stage = STREAMING;
    l->based = 0;
    l->slack = (double)slack / c->config.sample_rate;
    l->look = l->slack / 16;
    if (l->look < 1e-3) l->look = 1e-3;
    if (l->look > 10e-3) l->look = 10e-3;
    /* A host that has compensated a latency keeps it, if the stream can be played at it. */
    if (l->delay_mode != l->mode || c->delay < latency + slack || c->delay > latency + c->room)
        STORE(c->delay, (uint32_t)(latency + slack));
    l->delay_mode = l->mode;
    broken(c, "");
    STORE(c->blocks.tail, LOAD(c->blocks.head));
    STORE(c->connections, c->connections + 1);
    STORE(c->progress, c->progress + 1);
    /* Last: a block given from here on is sent on the stream that was counted. */
    STORE(c->online, 1 + (uint32_t)l->mode);
    STORE(c->attempts, c->attempts + 1);
    return FINE;
}

static enum outcome note_error(audiosep_client *c, const char *text, const char *end) {
    char code[32], message[192], both[sizeof code + sizeof message + 4];
    json_string(text, end, "code", code, sizeof code);
    json_string(text, end, "message", message, sizeof message);
    snprintf(both, sizeof both, "%s: %s", code, message);
    broken(c, both);
    /* What is left was about a CHANGE, and the stream goes on as before. */
    return c->link.stage != STREAMING || json_true(text, end, "fatal") ||
                   !strcmp(code, "bad-block") || !strcmp(code, "no-stream")
               ? BROKEN
               : FINE;
}

static enum outcome handle(audiosep_client *c, const uint8_t *header, const uint8_t *data,
                           size_t length) {
    connection *l = &c->link;
    const char *text = (const char *)data, *end = text + length;
    switch (header[5]) {
    case WELCOME:
        if (l->stage != GREETING || json_integer(text, end, "version") != 1)
            return broken(c, "the server speaks another version of the protocol");
        ask_for_stream(c);
        l->stage = OPENING;
        l->deadline = now() + OPENING_SECONDS;
        return FINE;
    case OPENED:
        return begin_stream(c, text, end);
    case AUDIO:
        return keep_answer(c, data, length, header[6] & 1);
    case DONE:
        if (l->resets) l->resets--;
        return FINE;
    case CHANGED:
    case REPORT:
    case PONG:
        return FINE;
    case LATENCY: /* nothing here asks for it: open anew, which looks at everything */
        return broken(c, "the server changed the stream's latency");
    case ERROR:
        return note_error(c, text, end);
    default:
        return header[5] >= OPTIONAL ? FINE : broken(c, "the server sent an unknown type");
    }
}

/* The frames among what has come. */
static enum outcome handle_all(audiosep_client *c) {
    connection *l = &c->link;
    enum outcome outcome = FINE;
    size_t at = 0;
    while (outcome == FINE) {
        size_t rest = l->in_filled - at;
        const uint8_t *header = l->in + at;
        if (l->in_skip) {
            size_t skipped = l->in_skip < rest ? (size_t)l->in_skip : rest;
            l->in_skip -= skipped;
            at += skipped;
            if (l->in_skip) break;
            continue;
        }
        if (memcmp(header, "ASEP", rest < 4 ? rest : 4) || (rest > 4 && header[4] != 1)) {
            outcome = broken(c, "what listens there does not speak this protocol");
            break;
        }
        if (rest < HEADER) break;
        uint64_t length = get_le(header + 12, 4);
        if (HEADER + length > l->in_size) {
            if (header[5] < OPTIONAL) {
                outcome = broken(c, "the server sent more than a frame can hold");
                break;
            }
            l->in_skip = HEADER + length;
            continue;
        }
        if (rest < HEADER + length) break;
        outcome = handle(c, header, header + HEADER, (size_t)length);
        if (outcome == FINE) at += HEADER + (size_t)length;
    }
    memmove(l->in, l->in + at, l->in_filled - at);
    l->in_filled -= at;
    l->stalled = outcome == LATER;
    return outcome;
}

static enum outcome receive(audiosep_client *c) {
    connection *l = &c->link;
    /* A server that never stops talking must not hold the thread. */
    for (int turn = 0; turn < 64; turn++) {
        if (handle_all(c) == BROKEN) return BROKEN;
        if (l->stalled || l->in_filled == l->in_size) return FINE;
        long count = net_receive(l->fd, l->in + l->in_filled, l->in_size - l->in_filled);
        if (count < 0) return broken(c, "the server closed the connection");
        if (!count) return FINE;
        l->in_filled += (size_t)count;
        l->received_at = now();
    }
    return FINE;
}

/* ---- The client's own thread -------------------------------------------------------------- */

static int connect_now(audiosep_client *c) {
    connection *l = &c->link;
    char why[128];
    l->received = l->sent = 0;
    l->fd = net_connect(&c->address);
    if (l->fd < 0) {
        snprintf(why, sizeof why, "no server listens there (error %d); start 'audiosep serve'",
                 errno);
        broken(c, why);
        return -1;
    }
    l->stage = GREETING;
    l->sequence = 0;
    l->in_filled = l->out_begin = l->out_end = 0;
    l->in_skip = 0;
    l->stalled = l->based = 0;
    l->resets = l->staging = 0;
    l->received_at = l->sent_at = now();
    l->deadline = l->received_at + GREETING_SECONDS;
    say_hello(c);
    return 0;
}

static enum outcome check_times(audiosep_client *c) {
    connection *l = &c->link;
    double time = now();
    if (l->stage != STREAMING)
        return time > l->deadline ? broken(c, "the server did not answer in time") : FINE;
    if (l->mode != (audiosep_mode)LOAD(c->mode)) return BROKEN;
    double patience = l->with.contract == AUDIOSEP_CONTRACT_RENDER
                          ? 1e-3 * c->config.render_timeout_ms
                          : STALL_SECONDS + l->slack;
    /* The clock of an answer starts with the question. */
    if (l->sent == l->received || l->stalled) l->received_at = time;
    if (time - l->received_at > patience) return broken(c, "the server stopped answering");
    if (time - l->sent_at > PING_SECONDS && l->out_begin == l->out_end) commit(l, PING, 0, 0);
    return FINE;
}

/* From connecting until the connection is of no more use. */
static void serve_connection(audiosep_client *c) {
    connection *l = &c->link;
    if (connect_now(c)) return;
    while (!LOAD(c->stop)) {
        if (l->stage == STREAMING) take_blocks(c);
        if (l->out_begin < l->out_end) {
            long count = net_send(l->fd, l->out + l->out_begin, l->out_end - l->out_begin);
            if (count < 0) {
                broken(c, "the server closed the connection");
                break;
            }
            l->out_begin += (size_t)count;
            if (count) l->sent_at = now();
        }
        if (receive(c) == BROKEN || check_times(c) == BROKEN) break;
        net_wait(l->fd, !l->stalled, l->out_begin < l->out_end, c->wake[0],
                 l->stage == STREAMING ? l->look : 50e-3);
    }
    close(l->fd);
}

static void *run(void *argument) {
    audiosep_client *c = argument;
    double backoff = BACKOFF_SECONDS;
    while (!LOAD(c->stop)) {
        uint32_t mode = LOAD(c->mode);
        serve_connection(c);
        STORE(c->online, 0);
        STORE(c->attempts, c->attempts + 1);
        if (c->link.received) backoff = BACKOFF_SECONDS;
        double until = now() + backoff;
        while (!LOAD(c->stop) && LOAD(c->mode) == mode && now() < until)
            net_wait(-1, 0, 0, c->wake[0], until - now());
        backoff = 2 * backoff < BACKOFF_MOST ? 2 * backoff : BACKOFF_MOST;
    }
    return NULL;
}

/* ---- The audio thread --------------------------------------------------------------------- */

static int is_online(const audiosep_client *c) { return LOAD(c->online) == 1 + LOAD(c->mode); }

static uint32_t block_words(const audiosep_client *c, uint32_t frames) {
    return WORDS(block_header) + c->config.channels * frames;
}

static uint32_t answer_words(const audiosep_client *c, uint32_t frames) {
    return WORDS(answer_header) + ROWS * c->config.channels * frames;
}

/* Keep a piece of the mixture: as it will be sent, and for when no answer comes. */
static void keep_mixture(audiosep_client *c, const float *const *in, uint32_t at,
                         uint32_t frames) {
    player *a = &c->audio;
    uint32_t size = c->line_frames, begin = (uint32_t)(a->position % size);
    uint32_t run = size - begin < frames ? size - begin : frames;
    for (uint32_t channel = 0; channel < c->config.channels; channel++) {
        float *block = a->block + (size_t)channel * BLOCK;
        float *line = a->line + (size_t)channel * size;
        for (uint32_t frame = 0; frame < frames; frame++) {
            float value = in[channel][at + frame], magnitude = fabsf(value);
            /* NaN compares as false. */
            block[frame] = magnitude <= LARGEST && magnitude >= SMALLEST ? value : 0;
        }
        memcpy(line + begin, block, 4 * (size_t)run);
        memcpy(line, block + run, 4 * (size_t)(frames - run));
    }
}

static int push(audiosep_client *c, uint32_t frames, const settings *with) {
    player *a = &c->audio;
    ring *r = &c->blocks;
    block_header block = {a->position, frames, a->epoch, *with};
    uint32_t at = r->head + WORDS(block_header);
    if (ring_room(r) < block_words(c, frames)) return 0;
    ring_write(r, r->head, &block, WORDS(block_header));
    for (uint32_t channel = 0; channel < c->config.channels; channel++, at += frames)
        ring_write(r, at, a->block + (size_t)channel * BLOCK, frames);
    STORE(r->head, at);
    return 1;
}

/* The frames of a piece, whose first belongs to frame `want` of the mixture, as far as they are
 * there; what is too late is dropped. */
static void take(audiosep_client *c, int64_t want, uint32_t frames) {
    player *a = &c->audio;
    ring *r = &c->answers;
    int64_t behind = want + frames;
    /* What comes in meanwhile waits for the next call: this one must end. */
    uint32_t head = LOAD(r->head), tail = r->tail;
    memset(a->have, 0, frames);
    while (tail != head) {
        answer_header answer;
        ring_read(r, tail, &answer, WORDS(answer_header));
        int64_t first = answer.position, end = first + answer.frames;
        if (first >= behind) break;
        int64_t from = first > want ? first : want, to = end < behind ? end : behind;
        for (uint32_t row = 0; from < to && row < ROWS * c->config.channels; row++)
            ring_read(r, tail + answer_words(c, 0) + row * answer.frames + (uint32_t)(from - first),
                      a->rows + (size_t)row * BLOCK + (from - want), (uint32_t)(to - from));
        if (from < to)
            memset(a->have + (from - want), 1 + (int)answer.substituted, (size_t)(to - from));
        if (end > behind) break;
        tail += answer_words(c, answer.frames);
    }
    STORE(r->tail, tail);
}

static void read_dry(audiosep_client *c, uint32_t delay, uint32_t frames) {
    player *a = &c->audio;
    uint32_t size = c->line_frames;
    uint32_t begin = (uint32_t)((a->position + size - delay) % size);
    uint32_t run = size - begin < frames ? size - begin : frames;
    for (uint32_t channel = 0; channel < c->config.channels; channel++) {
        float *dry = a->dry + (size_t)channel * BLOCK;
        memcpy(dry, a->line + (size_t)channel * size + begin, 4 * (size_t)run);
        memcpy(dry + run, a->line + (size_t)channel * size, 4 * (size_t)(frames - run));
    }
}

/* The levels of the next frame. */
static void move_levels(player *a, float levels[ROWS]) {
    float share = 1;
    if (a->moving) share = (float)(FADE - --a->moving) / FADE;
    for (int row = 0; row < ROWS; row++)
        levels[row] = share < 1 ? a->from[row] + share * (a->to[row] - a->from[row]) : a->to[row];
}

static void aim_levels(audiosep_client *c) {
    player *a = &c->audio;
    float target = load_float(&c->target), residual = load_float(&c->residual);
    if (target == a->to[0] && residual == a->to[1]) return;
    float share = (float)(FADE - a->moving) / FADE;
    for (int row = 0; row < ROWS; row++)
        a->from[row] = a->moving ? a->from[row] + share * (a->to[row] - a->from[row]) : a->to[row];
    a->to[0] = target;
    a->to[1] = residual;
    a->moving = FADE;
}

static float answer_sample(const player *a, const float levels[ROWS], uint32_t channel,
                           uint32_t channels, uint32_t frame) {
    float target = a->rows[(size_t)channel * BLOCK + frame];
    float value = levels[0] == 1 ? target : levels[0] * target;
    /* A row at full level alone stays as it is, to the bit. */
    if (levels[1] != 0) value += levels[1] * a->rows[(size_t)(channels + channel) * BLOCK + frame];
    return value;
}

/* One frame of the output. */
static void play_frame(audiosep_client *c, uint32_t frame, int jumps, float *const *out,
                       uint32_t at) {
    player *a = &c->audio;
    uint32_t channels = c->config.channels;
    int have = a->have[frame], lost = (a->wet && !have) || jumps;
    float levels[ROWS];
    move_levels(a, levels);
    float stand_in = levels[0] > levels[1] ? levels[0] : levels[1];
    if (!have) a->fading = FADE;
    else if (a->fading) a->fading--;
    float share = (float)(FADE - a->fading) / FADE;
    if (lost) a->stepping = FADE;
    for (uint32_t channel = 0; channel < channels; channel++) {
        float value = stand_in * a->dry[(size_t)channel * BLOCK + frame];
        if (have) {
            float answer = answer_sample(a, levels, channel, channels, frame);
            value = a->fading ? value + share * (answer - value) : answer;
        }
        if (lost) a->step[channel] = a->last[channel] - value;
        if (a->stepping) value += a->step[channel] * ((float)a->stepping / FADE);
        out[channel][at + frame] = a->last[channel] = value;
    }
    if (a->stepping) a->stepping--;
    a->wet = have != 0;
}

/* Before the first frame of the mixture. */
static void play_silence(audiosep_client *c, uint32_t frame, float *const *out, uint32_t at) {
    player *a = &c->audio;
    float levels[ROWS];
    move_levels(a, levels);
    for (uint32_t channel = 0; channel < c->config.channels; channel++)
        out[channel][at + frame] = a->last[channel] = 0;
}

static void play(audiosep_client *c, int64_t want, uint32_t delay, uint32_t frames,
                 float *const *out, uint32_t at, int render) {
    player *a = &c->audio;
    uint64_t substituted = 0, dry = 0;
    int jumps = a->position > a->start && delay != a->delay;
    a->delay = delay;
    aim_levels(c);
    for (uint32_t frame = 0; frame < frames; frame++) {
        if (want + frame < (int64_t)a->start) {
            play_silence(c, frame, out, at);
            continue;
        }
        play_frame(c, frame, jumps, out, at);
        jumps = 0;
        substituted += a->have[frame] == 2;
        dry += a->have[frame] == 0;
    }
    STORE(c->substituted, c->substituted + substituted);
    STORE(c->dry, c->dry + dry);
    if (render) STORE(c->failed, c->failed + dry);
}

/* ---- The audio thread in the render contract, where it may wait ---------------------------- */

typedef int (*condition)(audiosep_client *, uint32_t frames);

static int online_now(audiosep_client *c, uint32_t frames) {
    (void)frames;
    return is_online(c);
}

static int room_now(audiosep_client *c, uint32_t frames) {
    return ring_room(&c->blocks) >= block_words(c, frames);
}

/* Whether the answer to a piece, already sent, is there or will not come. */
static int answered_now(audiosep_client *c, uint32_t frames) {
    player *a = &c->audio;
    int64_t want = (int64_t)a->position - LOAD(c->delay), behind = want + frames;
    take(c, want, 0);
    return LOAD(c->answered) >= behind || behind <= (int64_t)a->start ||
           behind <= (int64_t)a->lost || LOAD(c->connections) != a->streams;
}

static void wait_until(audiosep_client *c, condition ready, uint32_t frames) {
    uint64_t progress = LOAD(c->progress);
    double patience = 1e-3 * c->config.render_timeout_ms, until = now() + patience;
    if (ready(c, frames) || progress == c->audio.gave_up) return;
    waker_wake(c->wake);
    while (!ready(c, frames)) {
        uint64_t current = LOAD(c->progress);
        double time = now();
        if (current != progress) until = time + patience;
        progress = current;
        if (time >= until) {
            c->audio.gave_up = progress;
            return;
        }
        pause_for(1e-4);
    }
}

/* ---- The interface ------------------------------------------------------------------------ */

/* What was sent on a connection that is gone is not answered any more. */
static void notice_streams(audiosep_client *c, uint64_t position) {
    player *a = &c->audio;
    uint32_t streams = LOAD(c->connections);
    if (streams == a->streams) return;
    a->streams = streams;
    a->lost = position;
}

static void process_piece(audiosep_client *c, const float *const *in, float *const *out,
                          uint32_t at, uint32_t frames) {
    player *a = &c->audio;
    settings with = wanted(c);
    int render = with.contract == AUDIOSEP_CONTRACT_RENDER;
    keep_mixture(c, in, at, frames);
    if (render) wait_until(c, online_now, frames);
    notice_streams(c, a->position);
    if (render) wait_until(c, room_now, frames);
    if (!push(c, frames, &with)) a->lost = a->position + frames;
    if (render) {
        wait_until(c, answered_now, frames);
        notice_streams(c, a->position + frames);
    }
    uint32_t delay = LOAD(c->delay);
    int64_t want = (int64_t)a->position - delay;
    take(c, want, frames);
    read_dry(c, delay, frames);
    play(c, want, delay, frames, out, at, render);
    a->position += frames;
    STORE(c->frames, a->position);
}

void audiosep_process(audiosep_client *c, const float *const *in, float *const *out,
                      uint32_t frames) {
    for (uint32_t at = 0, piece; at < frames; at += piece) {
        piece = frames - at < BLOCK ? frames - at : BLOCK;
        process_piece(c, in, out, at, piece);
    }
}

void audiosep_reset(audiosep_client *c) {
    player *a = &c->audio;
    a->epoch++;
    a->start = a->position;
    a->moving = a->stepping = a->fading = 0;
    a->to[0] = load_float(&c->target);
    a->to[1] = load_float(&c->residual);
    a->wet = 0;
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
    if (contract == AUDIOSEP_CONTRACT_REALTIME || contract == AUDIOSEP_CONTRACT_RENDER)
        STORE(c->contract, (uint32_t)contract);
}

void audiosep_set_levels(audiosep_client *c, float target, float residual) {
    if (!isfinite(target) || !isfinite(residual)) return;
    store_float(&c->target, target);
    store_float(&c->residual, residual);
}

void audiosep_set_mode(audiosep_client *c, audiosep_mode mode) {
    if (mode >= AUDIOSEP_MODE_RENDER && mode <= AUDIOSEP_MODE_TRACK)
        STORE(c->mode, (uint32_t)mode);
}

int audiosep_set_slot(audiosep_client *c, uint32_t slot, const audiosep_query *queries,
                      uint32_t count) {
    if (slot >= AUDIOSEP_SLOTS || !count || count > QUERIES) return -1;
    for (uint32_t at = 0; at < count; at++)
        if (!queries[at].text) return -1;
    char *text = malloc(SLOT);
    if (!text) return -1;
    writer w = {text, SLOT, 0};
    for (uint32_t at = 0; at < count; at++) {
        put(&w, at ? "," : "[");
        put_query(&w, queries + at);
    }
    put(&w, "]");
    if (w.length >= w.size) {
        free(text);
        return -1;
    }
    char *kept = realloc(text, w.length + 1);
    pthread_mutex_lock(&c->lock);
    free(c->slots[slot]);
    c->slots[slot] = kept ? kept : text;
    STORE(c->texts[slot], c->texts[slot] + 1);
    pthread_mutex_unlock(&c->lock);
    return 0;
}

audiosep_stats audiosep_statistics(const audiosep_client *c) {
    audiosep_stats stats = {is_online(c),   LOAD(c->connections), LOAD(c->delay), LOAD(c->frames),
                            LOAD(c->substituted), LOAD(c->dry),   LOAD(c->failed)};
    return stats;
}

void audiosep_error(audiosep_client *c, char *text, size_t size) {
    pthread_mutex_lock(&c->lock);
    if (size) snprintf(text, size, "%s", c->error);
    pthread_mutex_unlock(&c->lock);
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
           config->mode <= AUDIOSEP_MODE_TRACK && config->contract <= AUDIOSEP_CONTRACT_RENDER &&
           config->strength > 0 && config->strength <= 10 && isfinite(config->target) &&
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
    player *a = &c->audio;
    connection *l = &c->link;
    size_t piece = sizeof(float) * (size_t)channels * BLOCK;
    c->line_frames = latency + BLOCK;
    /* The answers that are early by the slack and then some; headers of small blocks besides. */
    c->room = slack + rate / 4;
    l->in_size = 2 * (CONTROL + HEADER + ROWS * piece);
    l->out_size = 2 * (CONTROL + 4 * (HEADER + piece));
    a->line = memory(sizeof(float) * (size_t)channels * c->line_frames);
    a->block = memory(piece);
    a->dry = memory(piece);
    a->rows = memory(ROWS * piece);
    a->have = memory(BLOCK);
    l->staged = memory(piece);
    l->in = memory(l->in_size + 2);
    l->out = memory(l->out_size);
    return !a->line || !a->block || !a->dry || !a->rows || !a->have || !l->staged || !l->in ||
           !l->out || ring_open(&c->blocks, (double)channels * rate / 2 + 65536) ||
           ring_open(&c->answers, ROWS * (double)channels * (c->room + 2 * BLOCK) + 65536);
}

static void release(audiosep_client *c) {
    player *a = &c->audio;
    connection *l = &c->link;
    void *all[] = {a->line, a->block, a->dry,  a->rows,         a->have,
                   l->in,   l->out,   l->staged, c->blocks.words, c->answers.words};
    for (size_t at = 0; at < sizeof all / sizeof *all; at++) free(all[at]);
    for (size_t at = 0; at < AUDIOSEP_SLOTS; at++) free(c->slots[at]);
    pthread_mutex_destroy(&c->lock);
    waker_close(c->wake);
    free(c);
}

/* The host's signals are not for this thread. */
static int start_thread(audiosep_client *c) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&c->thread, NULL, run, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
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
    if (!c || waker_open(c->wake)) {
        free(c);
        return NULL;
    }
    pthread_mutex_init(&c->lock, NULL);
    c->config = *config;
    snprintf(c->name, sizeof c->name, "%s", config->name ? config->name : "audiosep_client.c");
    c->slot = config->slot;
    c->mode = config->mode;
    c->contract = config->contract;
    c->strength = config->strength;
    c->target = config->target;
    c->residual = config->residual;
    c->delay = c->audio.delay = config->latency;
    c->link.delay_mode = config->mode;
    c->audio.gave_up = UINT64_MAX;
    if (allocate(c) || config->latency > c->line_frames - BLOCK ||
        address_parse(&c->address, config->address) || fill_slots(c, config) || start_thread(c)) {
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
    waker_wake(c->wake);
    pthread_join(c->thread, NULL);
    release(c);
}
