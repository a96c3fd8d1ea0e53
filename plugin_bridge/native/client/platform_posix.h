/* Sockets, threads, clocks and files of POSIX systems. */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

#define NO_SOCKET (-1)

typedef int net_socket;
typedef pthread_t thread_handle;
typedef pthread_mutex_t mutex;
typedef struct {
    int ends[2];
} waker;

typedef struct {
    int port; /* TCP; 0 for a Unix-domain socket */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char token[512]; /* path of the file with the token */
} address;

/* Where anybody can make folders, somebody else may have made it first: then another one stands
 * for it. */
static int folder(char *text, size_t size) {
    const char *runtime = getenv("XDG_RUNTIME_DIR"), *home = getenv("HOME");
    struct stat status;
    int length;
    if (runtime && *runtime) {
        length = snprintf(text, size, "%s/audiosep", runtime);
    } else {
        length = snprintf(text, size, "/tmp/audiosep-%lu", (unsigned long)getuid());
        if (home && *home && !lstat(text, &status) &&
            (!S_ISDIR(status.st_mode) || status.st_uid != getuid() || status.st_mode & 077))
            length = snprintf(text, size, "%s/.audiosep", home);
    }
    return length > 0 && (size_t)length < size ? 0 : -1;
}

static int address_parse(address *to, const char *text) {
    char where[480], *end;
    int length;
    memset(to, 0, sizeof *to);
    if (text && !strncmp(text, "tcp:", 4)) {
        long port = strtol(text + 4, &end, 10);
        if (*end || port < 1 || port > 65535 || folder(where, sizeof where)) return -1;
        to->port = (int)port;
        length = snprintf(to->token, sizeof to->token, "%s/bridge-%ld.token", where, port);
        return length > 0 && (size_t)length < sizeof to->token ? 0 : -1;
    }
    if (text && *text) {
        length = snprintf(to->path, sizeof to->path, "%s", text);
    } else {
        if (folder(where, sizeof where)) return -1;
        length = snprintf(to->path, sizeof to->path, "%s/bridge.sock", where);
    }
    return length > 0 && (size_t)length < sizeof to->path ? 0 : -1;
}

/* The token of the server on this machine; empty where there is none, or it is a link or somebody
 * else's. */
static void address_token(const address *from, char token[65]) {
    int file = open(from->token, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat status;
    ssize_t length = 0;
    if (file >= 0 && !fstat(file, &status) && S_ISREG(status.st_mode) &&
        (status.st_uid == getuid() || status.st_uid == 0))
        length = read(file, token, 64);
    if (file >= 0) close(file);
    token[length < 0 ? 0 : length] = 0;
    token[strspn(token, "0123456789abcdefABCDEF")] = 0;
}

/* Bytes that nobody can guess. */
static int random_bytes(uint8_t *to, size_t size) {
    int file = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, to, size);
    if (file >= 0) close(file);
    return length == (ssize_t)size ? 0 : -1;
}

static void set_options(int fd) {
    int one = 1;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
#ifdef SO_NOSIGPIPE
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one);
#endif
}

/* Whether a path is this user's or the system's, and nobody else's. */
static int owned(const char *path) {
    struct stat status;
    errno = 0;
    return !lstat(path, &status) && (status.st_uid == getuid() || status.st_uid == 0);
}

/* Whether only this user or the system can have put a socket there, and nobody can swap it. */
static int socket_trusted(const char *path) {
    char parent[sizeof(((address *)0)->path)];
    char *slash;
    memcpy(parent, path, sizeof parent);
    slash = strrchr(parent, '/');
    if (slash) slash[slash == parent] = 0;
    return owned(slash ? parent : ".") && owned(path);
}

/* A connection, perhaps not yet made: sending waits until it is. */
static net_socket net_connect(const address *to) {
    struct sockaddr_un local = {0};
    struct sockaddr_in loopback = {0};
    const struct sockaddr *name = (const struct sockaddr *)&local;
    socklen_t size = sizeof local;
    int fd;
    if (!to->port && !socket_trusted(to->path)) {
        if (errno != ENOENT) errno = EACCES;
        return NO_SOCKET;
    }
    fd = socket(to->port ? AF_INET : AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return NO_SOCKET;
    set_options(fd);
    if (to->port) {
        loopback.sin_family = AF_INET;
        loopback.sin_port = htons((uint16_t)to->port);
        loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        name = (const struct sockaddr *)&loopback;
        size = sizeof loopback;
    } else {
        local.sun_family = AF_UNIX;
        memcpy(local.sun_path, to->path, sizeof local.sun_path);
    }
    if (connect(fd, name, size) && errno != EINPROGRESS) {
        int cause = errno;
        close(fd);
        errno = cause;
        return NO_SOCKET;
    }
    return fd;
}

static int net_error(void) { return errno; }

static void net_close(net_socket fd) { close(fd); }

/* Bytes sent or received; 0 if there is nothing to be done now; -1 for the end. */
static long net_result(ssize_t count) {
    if (count > 0) return (long)count;
    if (count == 0) return -1;
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ENOTCONN ? 0 : -1;
}

static long net_send(net_socket fd, const uint8_t *data, size_t size) {
    return net_result(send(fd, data, size, MSG_NOSIGNAL));
}

static long net_receive(net_socket fd, uint8_t *data, size_t size) {
    return net_result(recv(fd, data, size, 0));
}

/* Wait until the connection can do what is asked of it, or somebody wakes the thread. */
static void net_wait(net_socket fd, int receives, int sends, const waker *woken,
                     double seconds) {
    struct pollfd on[2] = {{woken->ends[0], POLLIN, 0}, {fd, 0, 0}};
    char rest[64];
    on[1].events = (short)((receives ? POLLIN : 0) | (sends ? POLLOUT : 0));
    poll(on, fd >= 0 && on[1].events ? 2 : 1, (int)(seconds * 1e3 + 0.5));
    while (read(woken->ends[0], rest, sizeof rest) == (ssize_t)sizeof rest) {
    }
}

static int waker_open(waker *w) {
    if (pipe(w->ends)) return -1;
    set_options(w->ends[0]);
    set_options(w->ends[1]);
    return 0;
}

static void waker_wake(const waker *w) {
    ssize_t written = write(w->ends[1], "", 1); /* a full pipe wakes as well */
    (void)written;
}

static void waker_close(const waker *w) {
    close(w->ends[0]);
    close(w->ends[1]);
}

static void mutex_open(mutex *m) { pthread_mutex_init(m, NULL); }
static void mutex_take(mutex *m) { pthread_mutex_lock(m); }
static void mutex_give(mutex *m) { pthread_mutex_unlock(m); }
static void mutex_close(mutex *m) { pthread_mutex_destroy(m); }

/* The host's signals are not for this thread. */
static int thread_start(thread_handle *thread, void *(*task)(void *), void *argument) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(thread, NULL, task, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

static void thread_join(thread_handle thread) { pthread_join(thread, NULL); }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void pause_for(double seconds) {
    struct timespec time = {0, (long)(seconds * 1e9)};
    nanosleep(&time, NULL);
}

/* Memory whose pages are there already: the audio thread must not fault them in. */
static void *memory(size_t size) {
    volatile char *data = calloc(1, size);
    for (size_t at = 0; data && at < size; at += 4096) data[at] = 0;
    return (void *)data;
}
