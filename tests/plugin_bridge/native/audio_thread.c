/* An audio thread under guard: it dies at a system call, and at a call that allocates or locks.
 *
 * audio_thread ADDRESS BLOCKS [SIN]: process so many blocks while another thread turns all knobs;
 * print the statistics. Built with GUARD, the audio thread is guarded; without it the program suits
 * the sanitizers. With the SIN "wait" or "allocate" it does what it must not. */
#define _GNU_SOURCE
#include "audiosep_client.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RATE = 48000, CHANNELS = 2, MOST = 1500 };

static audiosep_client *client;
static const char *sin = "";
static int blocks, ticks, done;

#ifdef GUARD
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static __thread int guarded;

/* The linker sends the client's calls here: -Wl,--wrap=NAME. */
#define WRAP(result, name, parameters, arguments) \
    result __real_##name parameters;              \
    result __wrap_##name parameters {             \
        if (guarded) __builtin_trap();            \
        return __real_##name arguments;           \
    }
WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t count, size_t size), (count, size))
WRAP(void *, realloc, (void *old, size_t size), (old, size))
WRAP(void, free, (void *old), (old))
WRAP(int, pthread_mutex_lock, (pthread_mutex_t *lock), (lock))

static void guard(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) || syscall(SYS_getppid) != -1) {
        perror("seccomp");
        exit(77);
    }
    guarded = 1;
}
#else
static void guard(void) {}
#endif

/* Sizes differ from block to block; the host's clock is the other thread's. */
static void *play(void *unused) {
    static float left[MOST], right[MOST];
    const float *in[] = {left, right};
    float *out[] = {left, right};
    unsigned random = 1;
    (void)unused;
    guard();
    if (!strcmp(sin, "wait")) audiosep_set_contract(client, AUDIOSEP_CONTRACT_RENDER);
    if (!strcmp(sin, "allocate")) audiosep_set_slot(client, 0, &(audiosep_query){.text = "Dog"}, 1);
    for (int block = 0; block < blocks; block++) {
        while (__atomic_load_n(&ticks, __ATOMIC_ACQUIRE) < block) {
        }
        random = random * 1664525u + 1013904223u;
        uint32_t frames = 1 + (random >> 8) % MOST;
        for (uint32_t frame = 0; frame < frames; frame++)
            left[frame] = right[frame] = (float)((random >> 4) % 1000 + frame % 97) / 2000;
        if (block % 97 == 96) audiosep_reset(client);
        if (block % 31 == 30) audiosep_select(client, (random >> 5) % 3);
        if (block % 17 == 16) audiosep_set_levels(client, (float)(block % 3) / 2, 0.25f);
        audiosep_set_strength(client, block % 50 < 25 ? 1.0f : 2.0f);
        audiosep_process(client, in, out, frames);
        (void)audiosep_latency(client);
        (void)audiosep_statistics(client);
    }
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
#ifdef GUARD
    for (;;) { /* even its end would be a system call */
    }
#endif
    return NULL;
}

int main(int count, char **arguments) {
    static const char *const queries[] = {"Drum kit", "Speech", "Rain"};
    pthread_t audio;
    if (count < 3) return 2;
    if (count > 3) sin = arguments[3];
    blocks = atoi(arguments[2]);
    audiosep_config config = audiosep_defaults(RATE, CHANNELS);
    config.address = arguments[1];
    config.queries = queries;
    config.query_count = 3;
    config.open_timeout_ms = 60000;
    client = audiosep_open(&config);
    if (!client || pthread_create(&audio, NULL, play, NULL)) return 2;
    struct timespec pause = {0, 2000000};
    for (int tick = 0; !__atomic_load_n(&done, __ATOMIC_ACQUIRE); tick++) {
        audiosep_query both[] = {{"Dog", -3, 0, 0, 0}, {"Bird", 0, 0, 0, tick & 1}};
        char text[100];
        nanosleep(&pause, NULL);
        __atomic_store_n(&ticks, tick, __ATOMIC_RELEASE);
        if (tick % 40 == 39) audiosep_set_slot(client, 2, both, 2);
        if (tick == 250) audiosep_set_mode(client, AUDIOSEP_MODE_TRACK);
        audiosep_error(client, text, sizeof text);
    }
    /* On a busy machine the stream of the other mode may still be on its way. */
    while (audiosep_statistics(client).connections < 2) nanosleep(&pause, NULL);
    audiosep_stats stats = audiosep_statistics(client);
    printf("%u %llu %llu\n", stats.connections, (unsigned long long)stats.frames,
           (unsigned long long)stats.dry);
    fflush(stdout);
#ifdef GUARD
    _exit(0);
#else
    pthread_join(audio, NULL);
    audiosep_close(client);
    return 0;
#endif
}
