/* Sends a file of stereo float32 through the bridge in the render contract, as a plug-in would.
 *
 *     through ADDRESS QUERY IN OUT
 *
 * IN and OUT are raw, interleaved, at 48 kHz; OUT begins with the latency and ends with the tail.
 */

#include "audiosep_client.h"

#include <stdio.h>

enum { BLOCK = 480 };

int main(int count, char **given) {
    float frames[2 * BLOCK], channels[2][BLOCK], *out[] = {channels[0], channels[1]};
    const float *in[] = {channels[0], channels[1]};
    const char *queries[] = {count == 5 ? given[2] : ""};
    audiosep_config config = audiosep_defaults(48000, 2);
    FILE *from, *to;
    if (count != 5 || !(from = fopen(given[3], "rb")) || !(to = fopen(given[4], "wb"))) return 2;
    config.address = given[1];
    config.queries = queries;
    config.query_count = 1;
    config.contract = AUDIOSEP_CONTRACT_RENDER;
    audiosep_client *client = audiosep_open(&config);
    if (!client) return 3;
    long left = (long)audiosep_latency(client);
    for (size_t read; (read = fread(frames, 8, BLOCK, from)) || left > 0;) {
        size_t size = read ? read : left < BLOCK ? (size_t)left : BLOCK;
        for (size_t at = 0; at < size; at++)
            for (int channel = 0; channel < 2; channel++)
                channels[channel][at] = at < read ? frames[2 * at + channel] : 0;
        if (!read) left -= (long)size;
        audiosep_process(client, in, out, (uint32_t)size);
        for (size_t at = 0; at < size; at++)
            for (int channel = 0; channel < 2; channel++)
                frames[2 * at + channel] = channels[channel][at];
        fwrite(frames, 8, size, to);
    }
    audiosep_stats stats = audiosep_statistics(client);
    printf("%u %llu %llu\n", audiosep_latency(client), (unsigned long long)stats.dry,
           (unsigned long long)stats.failed);
    audiosep_close(client);
    fclose(from);
    return fclose(to);
}
