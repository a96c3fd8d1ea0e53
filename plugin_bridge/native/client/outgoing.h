/* What is to be sent: bytes in order, and frames around them. */

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
    header[4] = l->version;
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

/* Frames of a turn that takes blocks to what is to be sent, at the most, in bytes. */
static size_t turn_bytes(const audiosep_client *c) {
    return CONTROL + 2 * SMALL + 6 * (HEADER + 4 * (size_t)c->config.channels * BLOCK);
}

/* Make room for more than there usually is; by the client's own thread. */
static int make_room(connection *l, size_t bytes) {
    if (out_room(l) >= bytes) return 0;
    uint8_t *larger = realloc(l->out, l->out_end + bytes);
    if (!larger) return -1;
    l->out = larger;
    l->out_size = l->out_end + bytes;
    return 0;
}
