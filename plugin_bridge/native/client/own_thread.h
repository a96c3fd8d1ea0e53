/* The client's own thread: connects, sends, receives, connects again. */

/* Without a token nobody could be told from who has taken the port. */
static int prepare_proof(audiosep_client *c) {
    connection *l = &c->link;
    uint8_t random[32];
    l->proven = 0;
    address_token(&c->address, l->token);
    if (!l->token[0] || random_bytes(random, sizeof random)) {
        broken(c, "no server of this user has left a token; start 'audiosep serve --tcp PORT'");
        return -1;
    }
    put_hex(l->challenge, random);
    return 0;
}

static int connect_now(audiosep_client *c) {
    connection *l = &c->link;
    char why[128];
    l->received = l->sent = 0;
    forget_changes(c);
    if (c->address.port && prepare_proof(c)) return -1;
    l->fd = net_connect(&c->address);
    if (l->fd == NO_SOCKET) {
        snprintf(why, sizeof why, "no server listens there (error %d); start 'audiosep serve'",
                 net_error());
        broken(c, why);
        return -1;
    }
    l->stage = GREETING;
    l->version = 1;
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

/* The stream ends on purpose: say so, as far as the system takes it at once. */
static void say_goodbye(audiosep_client *c) {
    connection *l = &c->link;
    if (l->stage != STREAMING || out_room(l) < HEADER) return;
    commit(l, CLOSE, STREAM, 0);
    (void)net_send(l->fd, l->out + l->out_begin, l->out_end - l->out_begin);
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
        net_wait(l->fd, !l->stalled, l->out_begin < l->out_end, &c->wake,
                 l->stage == STREAMING ? l->look : 50e-3);
    }
    say_goodbye(c);
    net_close(l->fd);
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
            net_wait(NO_SOCKET, 0, 0, &c->wake, until - now());
        backoff = 2 * backoff < BACKOFF_MOST ? 2 * backoff : BACKOFF_MOST;
    }
    return NULL;
}
