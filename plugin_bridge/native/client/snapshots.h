/* What the server's network remembers: in a render another server goes on with it. */

static void forget_snapshots(audiosep_client *c) {
    connection *l = &c->link;
    while (l->keeping) free(l->kept[--l->keeping].data);
}

/* Places are told on the host's time line, and kept as the client counts its frames. */
static void keep_snapshot(audiosep_client *c, const uint8_t *data, size_t length) {
    connection *l = &c->link;
    snapshot came = {0};
    if (l->stage != STREAMING || l->resets || length < 16) return;
    came.data = malloc(length);
    if (!came.data) return;
    memcpy(came.data, data, length);
    came.length = length;
    came.begin = get_le(data, 8) - l->line;
    came.position = get_le(data + 8, 8) - l->line;
    if (l->keeping == SNAPSHOTS) {
        free(l->kept[0].data);
        memmove(l->kept, l->kept + 1, (SNAPSHOTS - 1) * sizeof *l->kept);
        l->keeping--;
    }
    l->kept[l->keeping++] = came;
}

/* Choose the last one that knows no more than what was played, and tell the audio thread where a
 * stream has to begin that goes on with it. */
static void choose_snapshot(audiosep_client *c) {
    connection *l = &c->link;
    int64_t next = (int64_t)LOAD(c->frames) - LOAD(c->delay);
    uint64_t begin = NOWHERE;
    for (uint32_t at = 0; at < l->keeping; at++)
        if ((int64_t)l->kept[at].position <= next) begin = l->kept[at].begin;
    STORE(c->resume, begin);
}

/* Send the one with which a stream goes on that begins at a frame, if there is one. */
static void send_snapshot(audiosep_client *c, uint64_t begin) {
    connection *l = &c->link;
    for (uint32_t at = 0; at < l->keeping; at++) {
        const snapshot *kept = l->kept + at;
        if (kept->begin != begin || make_room(l, HEADER + kept->length + turn_bytes(c))) continue;
        memcpy(payload(l), kept->data, kept->length);
        commit(l, SNAPSHOT, STREAM, kept->length);
        return;
    }
}
