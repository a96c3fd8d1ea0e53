/* Rings of 32-bit words, with one producer and one consumer. */

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
