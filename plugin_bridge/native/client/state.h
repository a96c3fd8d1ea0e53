/* What passes between the threads, and what each of them has. */

typedef struct {
    uint32_t slot, texts, contract; /* texts counts the changes of the slot */
    float strength;
} settings;

typedef struct {
    uint64_t position; /* of the first frame, counted over the client's whole life */
    uint64_t time;     /* the same on the host's time line */
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

/* The JSON of a slot's queries: never changed, only replaced; client.lock guards `users`. */
typedef struct {
    uint32_t users;
    char json[];
} slot_text;

/* Queries that the server was asked for and has neither confirmed nor refused. */
typedef struct change {
    struct change *next;
    uint64_t sequence;
    slot_text *queries;
} change;

/* What the server's network remembered. */
typedef struct {
    uint64_t begin, position; /* first frame of a stream that goes on with it; first one that is
                                 then as it was */
    uint8_t *data;
    size_t length;
} snapshot;

/* The connection; the client's own thread's. */
typedef struct {
    net_socket fd;
    enum stage stage;
    uint8_t version;
    audiosep_mode mode, delay_mode; /* of the stream; that client.delay was made for */
    double deadline, sent_at, received_at;
    uint64_t sequence;
    /* Over TCP: what both sides know, what the server has to prove that with, whether it has. */
    char token[65], challenge[65];
    int proven;
    uint8_t *in, *out;
    size_t in_size, in_filled, out_size, out_begin, out_end;
    uint64_t in_skip;              /* bytes of an optional frame that is too large to be kept */
    int stalled;                   /* an answer waits for room in the ring */
    int based;                     /* base and epoch are those of the stream */
    uint64_t base, sent, received; /* first frame sent; frames sent and received since */
    uint64_t line;                 /* what the host's time line is ahead of the frames counted */
    uint32_t epoch, resets;        /* RESETs whose DONE is due: answers until then are stale */
    settings with;        /* what the server was asked for last */
    slot_text *confirmed; /* what it separates: the queries that it accepted last */
    slot_text *opening;   /* what OPEN asked for, until OPENED */
    change *changes;      /* on their way, the latest first */
    snapshot kept[SNAPSHOTS]; /* the oldest first */
    uint32_t keeping;
    uint32_t latency;
    float *staged; /* channels of BLOCK frames */
    uint32_t staging;
    double look, slack; /* seconds: between looks for blocks; that the server may take */
} connection;

typedef struct {
    uint64_t position; /* the first frame that they hold for */
    float levels[ROWS];
} level_change;

typedef struct {
    uint64_t position;
    settings with;
} settings_change;

/* The audio thread's. */
typedef struct {
    uint64_t position, start; /* frames taken in, ever and before the last reset */
    uint64_t origin;          /* of `start` on the host's time line */
    level_change *planned;    /* a ring of PLANNED */
    uint32_t first_planned, plans;
    float asked[ROWS];        /* levels of the frame that came last */
    settings_change *past;    /* a ring of PAST: what held from which frame on */
    uint32_t pasts;
    double ahead, left_at;    /* the contract auto: seconds gained on the clock; end of a call */
    int64_t heard;            /* frames of the mixture before this one had an answer, or it was
                                 counted as late */
    int racing, reported;     /* the host runs ahead; a failure was told */
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
    char name[64], model[MODEL];
    uint32_t most_latency;      /* frames to have room for */
    uint32_t line_frames, room; /* of the delay line; of the answers */
    ring blocks, answers;
    /* Anybody writes, the audio thread reads. */
    uint32_t slot, texts[AUDIOSEP_SLOTS], contract, mode;
    uint32_t abandoned; /* whether a render waits for nothing; the audio thread takes it back */
    float strength, target, residual;
    /* The client's own thread writes, others read. */
    uint32_t delay, online; /* online: 0, or 1 + mode of the open stream */
    uint32_t connections, attempts;
    int64_t answered;  /* frame of the mixture behind the last answer in the ring */
    uint32_t preroll;  /* frames before one that its masks depend on */
    uint64_t resume;   /* where a stream has to begin that goes on with a snapshot, or NOWHERE */
    uint64_t progress; /* counts answers and streams */
    /* The audio thread writes, others read. */
    uint64_t frames, substituted, dry, failed, late;

    player audio;
    connection link;
    thread_handle thread;
    waker wake;
    int stop;
    mutex lock; /* over what follows; never taken by the audio thread */
    slot_text *slots[AUDIOSEP_SLOTS];
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
