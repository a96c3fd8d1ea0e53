/* The audio thread in the render contract, where it may wait; and a piece of a block in any. */

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
    if (ready(c, frames) || progress == c->audio.gave_up || LOAD(c->abandoned)) return;
    waker_wake(&c->wake);
    while (!ready(c, frames) && !LOAD(c->abandoned)) {
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

/* Whether there is room, which answers that were heard already may have to make. */
static int replay_room_now(audiosep_client *c, uint32_t frames) {
    player *a = &c->audio;
    take(c, (int64_t)a->position - LOAD(c->delay), 0);
    return room_now(c, frames) || LOAD(c->connections) != a->streams;
}

/* The first frame that a new stream must be given so that none is missing: what is to be played
 * next, and before it what its masks depend on. Answers of the old stream come again. */
static uint64_t replay_begin(audiosep_client *c, uint32_t frames) {
    player *a = &c->audio;
    int64_t first = (int64_t)a->position - LOAD(c->delay) - (int64_t)LOAD(c->preroll);
    int64_t kept = (int64_t)(a->position + frames) - (int64_t)c->line_frames;
    uint64_t resume = LOAD(c->resume);
    STORE(c->answers.tail, LOAD(c->answers.head));
    /* Then what it depends on before is in the snapshot. */
    if (resume != NOWHERE && (int64_t)resume >= kept && resume >= a->start) return resume;
    if (first < kept) first = kept;
    if (first < (int64_t)a->start) first = (int64_t)a->start;
    return (uint64_t)first;
}

/* Give the server everything up to the end of the piece, and wait for the answers that are due.
 * A stream that takes the place of one that was lost gets again what was not answered. */
static void render_piece(audiosep_client *c, uint32_t frames) {
    player *a = &c->audio;
    uint64_t next = a->position, end = a->position + frames;
    for (int tries = 0; tries < MOST_REPLAYS; tries++) {
        wait_until(c, online_now, frames);
        if (!is_online(c)) break;
        uint32_t streams = LOAD(c->connections);
        if (streams != a->streams) a->lost = next = replay_begin(c, frames);
        a->streams = streams;
        while (next < end && LOAD(c->connections) == streams) {
            uint64_t until = end;
            settings with = settings_at(a, next, &until);
            with.contract = AUDIOSEP_CONTRACT_RENDER; /* whatever held when they came first */
            uint32_t count = until - next < BLOCK ? (uint32_t)(until - next) : BLOCK;
            wait_until(c, replay_room_now, count);
            if (!push(c, next, count, &with)) break;
            next += count;
        }
        if (next == end) wait_until(c, answered_now, frames);
        if (LOAD(c->connections) == streams) break;
    }
    if (next < end || LOAD(c->connections) != a->streams) a->lost = end;
}

static void realtime_piece(audiosep_client *c, uint32_t frames, const settings *with) {
    player *a = &c->audio;
    uint32_t streams = LOAD(c->connections);
    /* What was sent on a connection that is gone is not answered any more. */
    if (streams != a->streams) a->lost = a->position;
    a->streams = streams;
    if (!push(c, a->position, frames, with)) a->lost = a->position + frames;
}

/* Whether the host takes blocks faster than they last: then it can wait, and means to be whole.
 * Time spent waiting here is not the host's. A quarter of what is gained is forgotten. */
static int races(audiosep_client *c, uint32_t frames) {
    player *a = &c->audio;
    double time = now(), lasts = (double)frames / c->config.sample_rate;
    double most = 2 * RACE_SECONDS + 8 * lasts;
    if (a->left_at > 0) a->ahead += 0.75 * lasts - (time - a->left_at);
    if (a->ahead < 0) a->ahead = 0;
    if (a->ahead > most) a->ahead = most;
    if (a->ahead >= most / 2) a->racing = 1;
    if (a->ahead <= most / 8) a->racing = 0;
    return a->racing;
}

static void report_failure(audiosep_client *c) {
    player *a = &c->audio;
    if (a->reported || !LOAD(c->failed)) return;
    a->reported = 1;
    char why[256];
    audiosep_error(c, why, sizeof why);
    fprintf(stderr, "audiosep: this render is not whole, frames from %llu on are %s: %s\n",
            (unsigned long long)(a->position - a->start), c->config.silence ? "silent" : "dry",
            LOAD(c->abandoned) ? "it was abandoned" : why[0] ? why : "the server does not answer");
}

static void process_piece(audiosep_client *c, const float *const *in, float *const *out,
                          uint32_t at, uint32_t frames) {
    player *a = &c->audio;
    settings with = wanted(c);
    if (with.contract == AUDIOSEP_CONTRACT_AUTO)
        with.contract = races(c, frames) ? AUDIOSEP_CONTRACT_RENDER : AUDIOSEP_CONTRACT_REALTIME;
    int render = with.contract == AUDIOSEP_CONTRACT_RENDER;
    keep_mixture(c, in, at, frames);
    plan_levels(c);
    note_settings(a, &with);
    if (render) {
        render_piece(c, frames);
    } else {
        STORE(c->abandoned, 0);
        realtime_piece(c, frames, &with);
    }
    uint32_t delay = LOAD(c->delay);
    int64_t want = (int64_t)a->position - delay;
    take(c, want, frames);
    read_dry(c, delay, frames);
    play(c, want, delay, frames, out, at, render);
    a->position += frames;
    STORE(c->frames, a->position);
    if (render) report_failure(c);
    a->left_at = now();
}
