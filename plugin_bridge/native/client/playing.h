/* The audio thread: answers at their time, or the mixture. */

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

static int push(audiosep_client *c, uint64_t position, uint32_t frames, const settings *with) {
    player *a = &c->audio;
    ring *r = &c->blocks;
    uint32_t size = c->line_frames, begin = (uint32_t)(position % size);
    uint32_t run = size - begin < frames ? size - begin : frames;
    block_header block = {position, a->origin + (position - a->start), frames, a->epoch, *with};
    uint32_t at = r->head + WORDS(block_header);
    if (ring_room(r) < block_words(c, frames)) return 0;
    ring_write(r, r->head, &block, WORDS(block_header));
    for (uint32_t channel = 0; channel < c->config.channels; channel++, at += frames) {
        const float *line = a->line + (size_t)channel * size;
        ring_write(r, at, line + begin, run);
        ring_write(r, at + run, line, frames - run);
    }
    STORE(r->head, at);
    return 1;
}

static void note_settings(player *a, const settings *with) {
    settings_change *last = a->past + (a->pasts + PAST - 1) % PAST;
    if (a->pasts && !memcmp(&last->with, with, sizeof *with)) return;
    a->past[a->pasts % PAST] = (settings_change){a->position, *with};
    a->pasts++;
}

/* What held at a frame; `until` becomes the first frame at which something else did. */
static settings settings_at(const player *a, uint64_t position, uint64_t *until) {
    uint32_t at = a->pasts, oldest = a->pasts > PAST ? a->pasts - PAST : 0;
    while (at-- > oldest + 1) {
        const settings_change *held = a->past + at % PAST;
        if (held->position <= position) return held->with;
        *until = held->position;
    }
    return a->past[oldest % PAST].with;
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
        if (first < want && end > a->heard) {
            int64_t since = first > a->heard ? first : a->heard, till = end < want ? end : want;
            if (till > since) STORE(c->late, c->late + (uint64_t)(till - since));
            a->heard = till > a->heard ? till : a->heard;
        }
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

static void aim_levels(player *a, const float levels[ROWS]) {
    float share = (float)(FADE - a->moving) / FADE;
    for (int row = 0; row < ROWS; row++) {
        a->from[row] = a->moving ? a->from[row] + share * (a->to[row] - a->from[row]) : a->to[row];
        a->to[row] = levels[row];
    }
    a->moving = FADE;
}

/* Levels are those of the frame that they came with, and are heard with it. */
static void plan_levels(audiosep_client *c) {
    player *a = &c->audio;
    float levels[ROWS] = {load_float(&c->target), load_float(&c->residual)};
    if (levels[0] == a->asked[0] && levels[1] == a->asked[1]) return;
    memcpy(a->asked, levels, sizeof levels);
    if (a->position == a->start) { /* Before the first frame there is nothing to move from. */
        memcpy(a->to, levels, sizeof levels);
        a->moving = 0;
        return;
    }
    if (a->plans < PLANNED) a->plans++;
    level_change *last = a->planned + (a->first_planned + a->plans - 1) % PLANNED;
    last->position = a->position;
    memcpy(last->levels, levels, sizeof levels);
}

static void follow_plan(player *a, int64_t frame) {
    while (a->plans && (int64_t)a->planned[a->first_planned].position <= frame) {
        aim_levels(a, a->planned[a->first_planned].levels);
        a->first_planned = (a->first_planned + 1) % PLANNED;
        a->plans--;
    }
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
                       uint32_t at, int render) {
    player *a = &c->audio;
    uint32_t channels = c->config.channels;
    int have = a->have[frame], lost = (a->wet && !have) || jumps;
    float levels[ROWS];
    move_levels(a, levels);
    float stand_in = levels[0] > levels[1] ? levels[0] : levels[1];
    if (render && c->config.silence) stand_in = 0;
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
    for (uint32_t frame = 0; frame < frames; frame++) {
        follow_plan(a, want + frame);
        if (want + frame < (int64_t)a->start) {
            play_silence(c, frame, out, at);
            continue;
        }
        play_frame(c, frame, jumps, out, at, render);
        jumps = 0;
        if (a->have[frame] && want + frame >= a->heard) a->heard = want + frame + 1;
        substituted += a->have[frame] == 2;
        dry += a->have[frame] == 0;
    }
    STORE(c->substituted, c->substituted + substituted);
    STORE(c->dry, c->dry + dry);
    if (render) STORE(c->failed, c->failed + dry);
}
