/* JSON: as much of it as the protocol needs. */

typedef struct {
    char *text;
    size_t size, length; /* length runs on past size: then the text does not fit */
} writer;

static void put(writer *w, const char *text) {
    for (; *text; text++, w->length++)
        if (w->length + 1 < w->size) w->text[w->length] = *text;
    if (w->size) w->text[w->length < w->size ? w->length : w->size - 1] = 0;
}

/* Without printf's %f, which writes a comma in some locales. */
static void put_number(writer *w, double value) {
    char text[48];
    double size = fabs(value) < 1e9 ? fabs(value) : 1e9;
    uint64_t whole = (uint64_t)(size * 1e9 + 0.5);
    snprintf(text, sizeof text, "%s%llu.%09llu", value < 0 ? "-" : "",
             (unsigned long long)(whole / 1000000000), (unsigned long long)(whole % 1000000000));
    put(w, text);
}

static void put_integer(writer *w, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    put(w, text);
}

static void put_string(writer *w, const char *text) {
    char escaped[8];
    put(w, "\"");
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20 || byte == '"' || byte == '\\')
            snprintf(escaped, sizeof escaped, "\\u%04x", byte);
        else
            snprintf(escaped, sizeof escaped, "%c", byte);
        put(w, escaped);
    }
    put(w, "\"");
}

static void put_query(writer *w, const audiosep_query *query) {
    put(w, "{\"text\":");
    put_string(w, query->text);
    if (query->gain_db != 0) {
        put(w, ",\"gain_db\":");
        put_number(w, query->gain_db);
    }
    if (query->mute) put(w, ",\"mute\":true");
    if (query->solo) put(w, ",\"solo\":true");
    if (query->negative) put(w, ",\"negative\":true");
    put(w, "}");
}

/* The value of a field of the outermost object, or NULL; `end` is behind the payload. */
static const char *json_field(const char *at, const char *end, const char *name) {
    size_t length = strlen(name);
    int depth = 0;
    while (at < end) {
        char byte = *at++;
        if (byte == '{' || byte == '[') depth++;
        if (byte == '}' || byte == ']') depth--;
        if (byte != '"') continue;
        const char *text = at;
        while (at < end && *at != '"') at += *at == '\\' ? 2 : 1;
        if (at >= end) return NULL;
        size_t size = (size_t)(at++ - text);
        while (at < end && strchr(" \t\r\n", *at) && *at) at++;
        if (depth != 1 || at >= end || *at != ':') continue;
        at++;
        while (at < end && strchr(" \t\r\n", *at) && *at) at++;
        if (size == length && !memcmp(text, name, length)) return at < end ? at : NULL;
    }
    return NULL;
}

/* A whole number under 2^31, or -1. */
static int64_t json_integer(const char *at, const char *end, const char *name) {
    int64_t value = 0;
    at = json_field(at, end, name);
    if (!at || *at < '0' || *at > '9') return -1;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        if ((value = 10 * value + (*at - '0')) > INT32_MAX) return -1;
    return at < end && strchr(",} \t\r\n", *at) && *at ? value : -1;
}

static int json_true(const char *at, const char *end, const char *name) {
    at = json_field(at, end, name);
    return at && end - at >= 4 && !memcmp(at, "true", 4);
}

/* A string; its escapes stay as they are. */
static void json_string(const char *at, const char *end, const char *name, char *to, size_t size) {
    size_t length = 0;
    at = json_field(at, end, name);
    if (at && *at == '"')
        for (at++; at < end && *at != '"' && length + 1 < size; at++) {
            to[length++] = *at;
            if (*at == '\\' && at + 1 < end && length + 1 < size) to[length++] = *++at;
        }
    to[length] = 0;
}
