/* What a hostile server may send. Reads cases from stdin, each a stage of the connection (0 to 2, 3 to 5
 * over TCP), a length (32 bits, little-endian) and as many bytes, and lets the client take them in pieces.
 * Before that it turns the connection's clocks. */
#include "audiosep_client.c"

/* What takes a minute otherwise: an idle connection is kept alive, a dead one is given up. */
static void check_clocks(audiosep_client *c) {
    connection *l = &c->link;
    l->stage = STREAMING;
    l->mode = c->config.mode;
    l->out_begin = l->out_end = 0;
    l->sent_at = now() - 1 - PING_SECONDS;
    l->sent = l->received = 7;
    l->received_at = now() - 1000;
    if (check_times(c) != FINE || l->out_end != HEADER || l->out[5] != PING) abort();
    l->out_end = 0;
    l->sent_at = now();
    l->sent++;
    if (check_times(c) != FINE || l->out_end) abort();
    l->received_at = now() - 1 - STALL_SECONDS;
    if (check_times(c) != BROKEN) abort();
}

int main(void) {
    static const char *const queries[] = {"Drum kit"};
    uint8_t head[5];
    uint32_t cases = 0, answers = 0;
    audiosep_config config = audiosep_defaults(48000, 2);
    config.address = "/nowhere";
    config.queries = queries;
    config.query_count = 1;
    audiosep_client *c = audiosep_open(&config);
    if (!c) return 2;
    /* From here on the connection is this thread's. */
    STORE(c->stop, 1);
    waker_wake(&c->wake);
    thread_join(c->thread);
    check_clocks(c);
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        connection *l = &c->link;
        size_t length = (size_t)get_le(head + 1, 4);
        uint8_t *data = malloc(length ? length : 1);
        if (!data || fread(data, 1, length, stdin) != length) return 2;
        l->stage = (enum stage)(head[0] % 3);
        /* Of every other six, a server that has to prove that it knows the token. */
        c->address.port = head[0] / 3;
        l->proven = 0;
        l->in_filled = l->out_begin = l->out_end = 0;
        l->in_skip = 0;
        l->version = 1;
        l->resets = l->stalled = 0;
        l->base = 100000;
        l->sent = 50000;
        l->received = 0;
        l->latency = 200;
        enum outcome outcome = FINE;
        for (size_t at = 0; at < length && outcome == FINE;) {
            size_t piece = (at % 4999) + 1, room = l->in_size - l->in_filled;
            piece = piece < length - at ? piece : length - at;
            piece = piece < room ? piece : room;
            memcpy(l->in + l->in_filled, data + at, piece);
            l->in_filled += piece;
            at += piece;
            outcome = handle_all(c);
        }
        free(data);
        take(c, 0, 0); /* an audio thread that looks at all of it */
        for (int64_t want = 99000; want < 160000; want += BLOCK) take(c, want, BLOCK);
        answers += l->received > 0;
        cases++;
    }
    printf("%u %u\n", cases, answers);
    release(c);
    return 0;
}
