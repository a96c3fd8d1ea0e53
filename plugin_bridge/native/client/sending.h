/* What the client says. */

/* What is asked for, and what holds. The server separates what it has confirmed. A change that it refuses is as if nobody had asked:
 * a new connection opens with what was confirmed, and asks for the rest again. */

static void drop_text(audiosep_client *c, slot_text *text) {
    mutex_take(&c->lock);
    int last = text && !--text->users;
    mutex_give(&c->lock);
    if (last) free(text);
}

static slot_text *take_text(audiosep_client *c, uint32_t slot) {
    mutex_take(&c->lock);
    slot_text *text = c->slots[slot];
    if (text) text->users++;
    mutex_give(&c->lock);
    return text;
}

static void confirm(audiosep_client *c, slot_text *queries) {
    drop_text(c, c->link.confirmed);
    c->link.confirmed = queries;
}

static void remember_change(audiosep_client *c, slot_text *queries) {
    connection *l = &c->link;
    change *sent = malloc(sizeof *sent);
    if (!sent) {
        drop_text(c, queries);
        return;
    }
    *sent = (change){l->changes, l->sequence, queries};
    l->changes = sent;
}

/* The answer to a change of queries; other changes are not remembered. */
static void settle_change(audiosep_client *c, uint64_t sequence, int accepted) {
    for (change **at = &c->link.changes; *at; at = &(*at)->next) {
        change *found = *at;
        if (found->sequence != sequence) continue;
        *at = found->next;
        if (accepted) confirm(c, found->queries);
        else drop_text(c, found->queries);
        free(found);
        return;
    }
}

/* Nobody will answer what is on its way: it is to be asked for again. */
static void forget_changes(audiosep_client *c) {
    connection *l = &c->link;
    drop_text(c, l->opening);
    l->opening = NULL;
    if (l->changes) l->with.slot = AUDIOSEP_SLOTS;
    while (l->changes) settle_change(c, l->changes->sequence, 0);
}

static void put_queries(writer *w, const slot_text *text) {
    put(w, "\"queries\":");
    put(w, text ? text->json : "[]");
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
    writer w = json(&c->link);
    put(&w, "{\"versions\":[1,2],\"client\":");
    put_string(&w, c->name);
    if (c->address.port) {
        put(&w, ",\"challenge\":");
        put_string(&w, c->link.challenge);
    }
    put(&w, "}");
    commit_json(&c->link, HELLO, 0, &w);
}

static settings wanted(const audiosep_client *c) {
    settings with = {LOAD(c->slot), 0, LOAD(c->contract), load_float(&c->strength)};
    with.texts = LOAD(c->texts[with.slot]);
    return with;
}

static void ask_for_stream(audiosep_client *c) {
    static const char *const modes[] = {"render", "mix", "track", "live"};
    connection *l = &c->link;
    writer w = json(l);
    settings with = wanted(c);
    if (l->confirmed) { /* What is wanted now follows with the first block. */
        with.slot = l->with.slot;
        with.texts = l->with.texts;
    } else {
        drop_text(c, l->opening);
        l->opening = take_text(c, with.slot);
    }
    l->with = with;
    if (l->with.contract == AUDIOSEP_CONTRACT_AUTO) l->with.contract = AUDIOSEP_CONTRACT_REALTIME;
    l->mode = (audiosep_mode)LOAD(c->mode);
    put(&w, "{\"sample_rate\":");
    put_integer(&w, c->config.sample_rate);
    put(&w, ",\"channels\":");
    put_integer(&w, c->config.channels);
    put(&w, ",\"max_block\":");
    put_integer(&w, BLOCK);
    put(&w, ",\"snapshots\":true,\"outputs\":\"target+residual\",\"mode\":");
    put_string(&w, modes[l->mode]);
    if (c->model[0]) {
        put(&w, ",\"model\":");
        put_string(&w, c->model);
    }
    if (c->config.slack >= 0) {
        /* Less than this is refused in realtime, and any host may come to run in realtime. */
        uint32_t least = (c->config.sample_rate + 99) / 100, slack = (uint32_t)c->config.slack;
        put(&w, ",\"slack\":");
        put_integer(&w, slack > least ? slack : least);
    }
    put(&w, ",");
    put_queries(&w, l->confirmed ? l->confirmed : l->opening);
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

static writer begin_change(connection *l, const block_header *block) {
    writer w = json(l);
    put(&w, "{\"position\":");
    put_integer(&w, l->version > 1 ? block->time : block->position - l->base);
    return w;
}

static void end_change(connection *l, writer *w) {
    put(w, "}");
    commit_json(l, CHANGE, STREAM, w);
}

/* One CHANGE for each thing, so that one that is refused takes no other with it. */
static void send_changes(audiosep_client *c, const block_header *block) {
    connection *l = &c->link;
    const settings *old = &l->with, *new = &block->with;
    int queries = old->slot != new->slot || old->texts != new->texts;
    int strength = old->strength != new->strength, contract = old->contract != new->contract;
    if (queries || strength || contract) send_staged(c);
    if (queries) {
        writer w = begin_change(l, block);
        slot_text *text = take_text(c, new->slot);
        put(&w, ",");
        put_queries(&w, text);
        remember_change(c, text);
        end_change(l, &w);
    }
    if (strength) {
        writer w = begin_change(l, block);
        put_strength(&w, new->strength);
        end_change(l, &w);
    }
    if (contract) {
        writer w = begin_change(l, block);
        put_contract(&w, new->contract);
        end_change(l, &w);
    }
    l->with = *new;
}

/* The stream begins anew where the host asked for it, and where blocks were lost. */
static void follow(audiosep_client *c, const block_header *block) {
    connection *l = &c->link;
    if (l->based && l->epoch == block->epoch &&
        block->position == l->base + l->sent + l->staging)
        return;
    if (l->based || (l->version > 1 && block->time)) {
        writer w;
        send_staged(c);
        w = json(l);
        put(&w, l->version > 1 ? "{\"origin\":" : "");
        if (l->version > 1) {
            put_integer(&w, block->time);
            put(&w, "}");
        }
        commit_json(l, RESET, STREAM, &w);
        l->resets++;
    }
    if (l->epoch != block->epoch) forget_snapshots(c);
    if (!l->based && block->position == c->resume) send_snapshot(c, block->position);
    l->line = block->time - block->position;
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
    while (ring_filled(r) && out_room(l) >= turn_bytes(c)) {
        block_header block;
        ring_read(r, r->tail, &block, WORDS(block_header));
        follow(c, &block);
        send_changes(c, &block);
        if (l->staging + block.frames > BLOCK) send_staged(c);
        for (uint32_t channel = 0; channel < channels; channel++)
            ring_read(r, r->tail + WORDS(block_header) + channel * block.frames,
                      l->staged + (size_t)channel * BLOCK + l->staging, block.frames);
        l->staging += block.frames;
        STORE(r->tail, r->tail + WORDS(block_header) + channels * block.frames);
    }
    send_staged(c);
}
