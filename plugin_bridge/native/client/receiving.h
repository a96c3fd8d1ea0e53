/* What it is told. */

enum outcome { FINE, LATER, BROKEN };

static enum outcome broken(audiosep_client *c, const char *why) {
    mutex_take(&c->lock);
    snprintf(c->error, sizeof c->error, "%s", why);
    mutex_give(&c->lock);
    return BROKEN;
}

static float sample(const uint8_t *from) {
    uint32_t bits = (uint32_t)get_le(from, 4);
    float value;
    memcpy(&value, &bits, 4);
    if (!isfinite(value)) return 0;
    return value > LOUDEST ? LOUDEST : value < -LOUDEST ? -LOUDEST : value;
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
    int64_t slack = json_integer(text, end, "slack"), preroll;
    if (l->stage != OPENING || latency < 0 || slack < 0 ||
        json_integer(text, end, "rows") != ROWS)
        return broken(c, "the server opened a stream that was not asked for");
    if (slack > c->room) slack = c->room;
    if (latency + slack > c->most_latency)
        return broken(c, "the stream has more latency than this client was given room for");
    if (l->opening) confirm(c, l->opening);
    l->opening = NULL;
    l->latency = (uint32_t)latency;
    preroll = json_integer(text, end, "preroll");
    STORE(c->answered, INT64_MIN / 2);
    STORE(c->preroll, preroll < 0 ? l->latency : (uint32_t)preroll);
    l->stage = STREAMING;
    l->based = 0;
    l->slack = (double)slack / c->config.sample_rate;
    l->look = l->slack / 16;
    if (l->look < 1e-3) l->look = 1e-3;
    if (l->look > 10e-3) l->look = 10e-3;
    /* A host that has compensated a latency keeps it, if the stream can be played at it. */
    if (l->delay_mode != l->mode || c->delay < latency + slack || c->delay > latency + c->room)
        STORE(c->delay, (uint32_t)(latency + slack));
    /* Another mode may be of another model. */
    if (l->delay_mode != l->mode) forget_snapshots(c);
    l->delay_mode = l->mode;
    broken(c, "");
    choose_snapshot(c);
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
    /* The next attempt does without. */
    int refused = !strcmp(code, "bad-snapshot");
    if (refused) forget_snapshots(c);
    /* What is left was about a CHANGE, and the stream goes on as before. */
    return c->link.stage != STREAMING || refused || json_true(text, end, "fatal") ||
                   !strcmp(code, "bad-block") || !strcmp(code, "no-stream")
               ? BROKEN
               : FINE;
}

/* The server proves that it knows the token; then this side does. */
static enum outcome answer_challenge(audiosep_client *c, const char *text, const char *end) {
    connection *l = &c->link;
    char theirs[129], given[65], due[65];
    writer w;
    json_string(text, end, "challenge", theirs, sizeof theirs);
    json_string(text, end, "proof", given, sizeof given);
    prove(due, l->token, "server", l->challenge, theirs);
    if (!c->address.port || l->stage != GREETING || l->proven || !same_digits(given, due))
        return broken(c, "what listens there does not know the token");
    l->proven = 1;
    prove(due, l->token, "client", l->challenge, theirs);
    w = json(l);
    put(&w, "{\"proof\":");
    put_string(&w, due);
    put(&w, "}");
    commit_json(l, PROOF, 0, &w);
    return FINE;
}

static enum outcome handle(audiosep_client *c, const uint8_t *header, const uint8_t *data,
                           size_t length) {
    connection *l = &c->link;
    const char *text = (const char *)data, *end = text + length;
    int64_t version = header[5] == WELCOME ? json_integer(text, end, "version") : 0;
    switch (header[5]) {
    case CHALLENGE:
        return answer_challenge(c, text, end);
    case WELCOME:
        if (c->address.port && !l->proven)
            return broken(c, "what listens there does not prove that it knows the token");
        if (l->stage != GREETING || (version != 1 && version != 2))
            return broken(c, "the server speaks another version of the protocol");
        l->version = (uint8_t)version;
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
        settle_change(c, get_le(header + 16, 8), 1);
        return FINE;
    case SNAPSHOT:
        keep_snapshot(c, data, length);
        return FINE;
    case REPORT:
    case PONG:
        return FINE;
    case LATENCY: /* nothing here asks for it: open anew, which looks at everything */
        return broken(c, "the server changed the stream's latency");
    case ERROR:
        settle_change(c, get_le(header + 16, 8), 0);
        return note_error(c, text, end);
    default:
        return header[5] >= OPTIONAL ? FINE : broken(c, "the server sent an unknown type");
    }
}

/* Make room for a frame that is larger than those of sound. */
static int hold_more(connection *l, size_t bytes) {
    uint8_t *larger = realloc(l->in, bytes + 2);
    if (!larger) return -1;
    l->in = larger;
    l->in_size = bytes;
    return 0;
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
        if (memcmp(header, "ASEP", rest < 4 ? rest : 4) || (rest > 4 && header[4] != l->version)) {
            outcome = broken(c, "what listens there does not speak this protocol");
            break;
        }
        if (rest < HEADER) break;
        uint64_t length = get_le(header + 12, 4);
        if (HEADER + length > l->in_size) {
            if (header[5] == SNAPSHOT && length <= SNAPSHOT_BYTES &&
                !hold_more(l, HEADER + (size_t)length))
                continue;
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
