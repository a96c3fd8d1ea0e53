/* Sockets, threads, clocks and files of Windows, where the bridge is reached over TCP alone. */

#include <winsock2.h>
#include <ws2tcpip.h>

#include <windows.h>

#include <bcrypt.h>
#include <mmsystem.h>

/* Words that its headers take. */
#undef near
#undef far
#undef ERROR
#undef OPTIONAL

#define NO_SOCKET INVALID_SOCKET

typedef SOCKET net_socket;
typedef HANDLE thread_handle;
typedef CRITICAL_SECTION mutex;
/* A datagram to itself: what WSAPoll waits for must be a socket. */
typedef struct {
    SOCKET end;
} waker;

typedef struct {
    int port;
    char token[MAX_PATH + 64]; /* path of the file with the token */
} address;

/* Where the server leaves its token: Python's folder for temporary files. */
static int folder(char *text, size_t size) {
    const char *names[] = {"XDG_RUNTIME_DIR", "TMPDIR", "TEMP", "TMP"}, *found = NULL;
    for (int at = 0; at < 4 && !(found && *found); at++) found = getenv(names[at]);
    if (!found || !*found) return -1;
    int length = snprintf(text, size, "%s\\audiosep", found);
    return length > 0 && (size_t)length < size ? 0 : -1;
}

static int address_parse(address *to, const char *text) {
    char where[MAX_PATH], *end = NULL;
    memset(to, 0, sizeof *to);
    long port = AUDIOSEP_PORT;
    if (text && *text) {
        if (strncmp(text, "tcp:", 4)) return -1;
        port = strtol(text + 4, &end, 10);
        if (*end) return -1;
    }
    if (port < 1 || port > 65535 || folder(where, sizeof where)) return -1;
    to->port = (int)port;
    int length = snprintf(to->token, sizeof to->token, "%s\\bridge-%ld.token", where, port);
    return length > 0 && (size_t)length < sizeof to->token ? 0 : -1;
}

/* The token of the server on this machine; empty where there is none. The folder is the user's. */
static void address_token(const address *from, char token[65]) {
    DWORD length = 0, links = FILE_FLAG_OPEN_REPARSE_POINT;
    HANDLE file = CreateFileA(from->token, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                              OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL | links, NULL);
    if (file != INVALID_HANDLE_VALUE) {
        if (!ReadFile(file, token, 64, &length, NULL)) length = 0;
        CloseHandle(file);
    }
    token[length] = 0;
    token[strspn(token, "0123456789abcdefABCDEF")] = 0;
}

/* Bytes that nobody can guess. */
static int random_bytes(uint8_t *to, size_t size) {
    return BCryptGenRandom(NULL, to, (ULONG)size, BCRYPT_USE_SYSTEM_PREFERRED_RNG) ? -1 : 0;
}

static void set_options(SOCKET fd) {
    u_long yes = 1;
    BOOL one = TRUE;
    ioctlsocket(fd, FIONBIO, &yes);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, (const char *)&one, sizeof one);
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in name = {0};
    name.sin_family = AF_INET;
    name.sin_port = htons((uint16_t)port);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return name;
}

/* A connection, perhaps not yet made: sending waits until it is. */
static net_socket net_connect(const address *to) {
    struct sockaddr_in name = loopback(to->port);
    SOCKET fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd == INVALID_SOCKET) return NO_SOCKET;
    set_options(fd);
    if (connect(fd, (const struct sockaddr *)&name, sizeof name) &&
        WSAGetLastError() != WSAEWOULDBLOCK) {
        int cause = WSAGetLastError();
        closesocket(fd);
        WSASetLastError(cause);
        return NO_SOCKET;
    }
    return fd;
}

static int net_error(void) { return WSAGetLastError(); }

static void net_close(net_socket fd) { closesocket(fd); }

/* Bytes sent or received; 0 if there is nothing to be done now; -1 for the end. */
static long net_result(int count) {
    if (count > 0) return count;
    if (count == 0) return -1;
    int cause = WSAGetLastError();
    return cause == WSAEWOULDBLOCK || cause == WSAEINTR || cause == WSAENOTCONN ? 0 : -1;
}

static int net_size(size_t size) { return size < INT_MAX ? (int)size : INT_MAX; }

static long net_send(net_socket fd, const uint8_t *data, size_t size) {
    return net_result(send(fd, (const char *)data, net_size(size), 0));
}

static long net_receive(net_socket fd, uint8_t *data, size_t size) {
    return net_result(recv(fd, (char *)data, net_size(size), 0));
}

/* Wait until the connection can do what is asked of it, or somebody wakes the thread. */
static void net_wait(net_socket fd, int receives, int sends, const waker *woken,
                     double seconds) {
    WSAPOLLFD on[2] = {{woken->end, POLLRDNORM, 0}, {fd, 0, 0}};
    char rest[64];
    on[1].events = (short)((receives ? POLLRDNORM : 0) | (sends ? POLLWRNORM : 0));
    WSAPoll(on, fd != NO_SOCKET && on[1].events ? 2 : 1, (int)(seconds * 1e3 + 0.5));
    while (recv(woken->end, rest, sizeof rest, 0) > 0) {
    }
}

static int waker_open(waker *w) {
    struct sockaddr_in name = loopback(0);
    int size = sizeof name;
    WSADATA data;
    if (WSAStartup(MAKEWORD(2, 2), &data)) return -1;
    w->end = socket(AF_INET, SOCK_DGRAM, 0);
    if (w->end != INVALID_SOCKET && !bind(w->end, (struct sockaddr *)&name, sizeof name) &&
        !getsockname(w->end, (struct sockaddr *)&name, &size) &&
        !connect(w->end, (struct sockaddr *)&name, size)) {
        set_options(w->end);
        return 0;
    }
    if (w->end != INVALID_SOCKET) closesocket(w->end);
    WSACleanup();
    return -1;
}

static void waker_wake(const waker *w) { send(w->end, "", 1, 0); }

static void waker_close(const waker *w) {
    closesocket(w->end);
    WSACleanup();
}

static void mutex_open(mutex *m) { InitializeCriticalSection(m); }
static void mutex_take(mutex *m) { EnterCriticalSection(m); }
static void mutex_give(mutex *m) { LeaveCriticalSection(m); }
static void mutex_close(mutex *m) { DeleteCriticalSection(m); }

typedef struct {
    void *(*task)(void *);
    void *argument;
} thread_task;

static DWORD WINAPI thread_run(LPVOID given) {
    thread_task task = *(thread_task *)given;
    free(given);
    /* Waits are counted in ticks, of 16 ms unless somebody asks for finer ones. */
    timeBeginPeriod(1);
    task.task(task.argument);
    timeEndPeriod(1);
    return 0;
}

static int thread_start(thread_handle *thread, void *(*task)(void *), void *argument) {
    thread_task *given = malloc(sizeof *given);
    if (!given) return -1;
    *given = (thread_task){task, argument};
    *thread = CreateThread(NULL, 0, thread_run, given, 0, NULL);
    if (*thread) return 0;
    free(given);
    return -1;
}

static void thread_join(thread_handle thread) {
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}

static double now(void) {
    LARGE_INTEGER ticks, frequency;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&ticks);
    return (double)ticks.QuadPart / (double)frequency.QuadPart;
}

static void pause_for(double seconds) { Sleep((DWORD)(seconds * 1e3 + 0.5)); }

/* Memory whose pages are there already: the audio thread must not fault them in. */
static void *memory(size_t size) {
    volatile char *data = calloc(1, size);
    for (size_t at = 0; data && at < size; at += 4096) data[at] = 0;
    return (void *)data;
}
