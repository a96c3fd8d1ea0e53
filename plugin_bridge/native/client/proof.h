/* HMAC-SHA-256 (FIPS 180-4, RFC 2104) of short texts: proofs that both sides know a token. */

typedef struct {
    uint32_t state[8];
    uint8_t block[64];
    uint64_t length; /* bytes taken in */
} sha256;

static uint32_t rotated(uint32_t word, int by) { return word >> by | word << (32 - by); }

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t sha256_rounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static void sha256_block(sha256 *h) {
    uint32_t w[64], s[8];
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)h->block[4 * t] << 24 | (uint32_t)h->block[4 * t + 1] << 16 |
               (uint32_t)h->block[4 * t + 2] << 8 | h->block[4 * t + 3];
    for (int t = 16; t < 64; t++) {
        uint32_t near = w[t - 15], far = w[t - 2];
        w[t] = w[t - 16] + w[t - 7] + (rotated(near, 7) ^ rotated(near, 18) ^ near >> 3) +
               (rotated(far, 17) ^ rotated(far, 19) ^ far >> 10);
    }
    memcpy(s, h->state, sizeof s);
    for (int t = 0; t < 64; t++) {
        uint32_t one = s[7] + (rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25)) +
                       ((s[4] & s[5]) ^ (~s[4] & s[6])) + sha256_rounds[t] + w[t];
        uint32_t two = (rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22)) +
                       ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (int at = 0; at < 8; at++) h->state[at] += s[at];
}

static void sha256_take(sha256 *h, const void *data, size_t size) {
    const uint8_t *bytes = data;
    for (size_t at = 0; at < size; at++) {
        h->block[h->length++ % 64] = bytes[at];
        if (h->length % 64 == 0) sha256_block(h);
    }
}

static sha256 sha256_begin(void) {
    sha256 h = {{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
                 0x5be0cd19},
                {0},
                0};
    return h;
}

static void sha256_end(sha256 *h, uint8_t digest[32]) {
    uint64_t bits = 8 * h->length;
    sha256_take(h, "\x80", 1);
    while (h->length % 64 != 56) sha256_take(h, "", 1);
    for (int at = 0; at < 8; at++) {
        uint8_t byte = (uint8_t)(bits >> (56 - 8 * at));
        sha256_take(h, &byte, 1);
    }
    for (int at = 0; at < 32; at++) digest[at] = (uint8_t)(h->state[at / 4] >> (24 - 8 * (at % 4)));
}

/* The 64 digits of 32 bytes, and the zero behind them. */
static void put_hex(char hex[65], const uint8_t bytes[32]) {
    for (int at = 0; at < 32; at++) {
        hex[2 * at] = "0123456789abcdef"[bytes[at] >> 4];
        hex[2 * at + 1] = "0123456789abcdef"[bytes[at] & 15];
    }
    hex[64] = 0;
}

/* HMAC of a text under a key of at most 64 characters. */
static void hmac(char hex[65], const char *key, const char *text) {
    uint8_t pad[64], digest[32];
    sha256 h = sha256_begin();
    for (size_t at = 0; at < sizeof pad; at++)
        pad[at] = 0x36 ^ (uint8_t)(at < strlen(key) ? key[at] : 0);
    sha256_take(&h, pad, sizeof pad);
    sha256_take(&h, text, strlen(text));
    sha256_end(&h, digest);
    h = sha256_begin();
    for (size_t at = 0; at < sizeof pad; at++) pad[at] ^= 0x36 ^ 0x5c;
    sha256_take(&h, pad, sizeof pad);
    sha256_take(&h, digest, sizeof digest);
    sha256_end(&h, digest);
    put_hex(hex, digest);
}

/* What a side proves its knowledge of the token with; `theirs` is the server's challenge. */
static void prove(char hex[65], const char *token, const char *side, const char *ours,
                  const char *theirs) {
    char text[256];
    snprintf(text, sizeof text, "audiosep bridge %s %s %s", side, ours, theirs);
    hmac(hex, token, text);
}

/* In a time that does not tell how much of them is the same. */
static int same_digits(const char left[65], const char right[65]) {
    unsigned char differs = 0;
    for (int at = 0; at < 65; at++) differs |= (unsigned char)(left[at] ^ right[at]);
    return !differs;
}
